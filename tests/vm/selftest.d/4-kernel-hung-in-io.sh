# One line of a kernel's log that is a fault.
. /t/lib.sh
echo "INFO: task dd:456 blocked in I/O wait for more than 20 seconds." >/dev/kmsg
