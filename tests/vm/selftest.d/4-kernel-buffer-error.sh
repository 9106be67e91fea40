# One line of a kernel's log that is a fault.
. /t/lib.sh
echo "Buffer I/O error on dev planted1, logical block 0, async page read" >/dev/kmsg
