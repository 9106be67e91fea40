# Servers whose end the test is the cause of.
. /t/lib.sh
sleep 100 &
kill -9 $!
expect_log "process 5, exited with status 3"
cat >"$LOG" <<END
ublkd: the server, process $!, was killed by signal 9 (Killed); 1 of its devices
ublkd: the server, process 5, exited with status 3; 1 of its devices
END
