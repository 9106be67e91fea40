# It does not end.
# time: 6
. /t/lib.sh
sleep 1000
