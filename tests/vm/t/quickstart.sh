# The main job, as contrib/quickstart shows it: a real tree on a RAM disk.
# needs: binaries mkfs.ext4 e2fsck
# needs: modules ext4
# needs: files contrib/quickstart-job:/job/quickstart-job
# needs: files /usr/include:/tree/include /usr/share/perl:/tree/perl
# needs: memory 2048
# size: quick
# time: 400
. /t/lib.sh

[ "$(find /tree -type f | wc -l)" -ge 2000 ] || fail "the tree is too small"
sh /job/quickstart-job ublkd /tree
no_devices
