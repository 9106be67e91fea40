# One line of a kernel's log that is a fault.
. /t/lib.sh
echo "EXT4-fs error (device planted1): planted:1: inode #2" >/dev/kmsg
