# The main job, as contrib/quickstart shows it: a real tree on a RAM disk.
# needs: binaries mkfs.ext4 e2fsck
# needs: modules ext4
# needs: files contrib/quickstart-job:/job/quickstart-job
# needs: files /usr/include:/tree/include /usr/share/perl:/tree/perl
# needs: memory 2048
# size: quick
# sanitizers: long
# time: 400
. /t/lib.sh

# quickstart-long takes all that the host has, which can be four times as much.
: "${FILES:=2000}"

count=$(find /tree -type f | wc -l)
[ "$count" -ge 2000 ] || fail "the tree is too small"
find /tree -type f | awk -v each=$((count / FILES)) 'each && NR % each' |
	xargs rm -f
[ "$(find /tree -type f | wc -l)" -ge 2000 ] || fail "too few are left"
sh /job/quickstart-job ublkd /tree
no_devices
