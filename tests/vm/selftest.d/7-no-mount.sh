# Nothing of what the test before it has mounted is there.
. /t/lib.sh
! grep ' /tmp/t/' /proc/mounts
