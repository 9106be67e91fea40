# It fails and leaves a mount behind, which the next test does not get to see.
. /t/lib.sh
mkdir /tmp/t/mnt
mount -t tmpfs tmpfs /tmp/t/mnt
false
