# One line of a kernel's log that is a fault.
. /t/lib.sh
echo "XFS (planted1): Corruption of in-memory data detected." >/dev/kmsg
