# A WARNING in the kernel's log.
. /t/lib.sh
echo "WARNING: CPU: 0 PID: 1 at planted.c:1 planted+0x1/0x2" >/dev/kmsg
echo "Call Trace:" >/dev/kmsg
