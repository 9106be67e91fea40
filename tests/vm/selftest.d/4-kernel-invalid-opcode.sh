# One line of a kernel's log that is a fault.
. /t/lib.sh
echo "traps: planted[1] trap invalid opcode ip:1 sp:1 error:0 in planted" >/dev/kmsg
