# It takes the guest down, too, after all that a run may meet.
. /t/lib.sh
echo c >/proc/sysrq-trigger
sleep 5
