# A server that was killed by the keeper.
. /t/lib.sh
echo "ublkd: the server, process 6, hangs: it has done nothing for 10 s" >"$LOG"
