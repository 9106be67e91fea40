# A server that has crashed, and was replaced.
. /t/lib.sh
expect_log "process 6, was killed by signal 6 "
cat >"$LOG" <<'END'
ublkd: the server, process 6, was killed by signal 6 (Aborted); 1 of its devices
ublkd: the server, process 66, was killed by signal 6 (Aborted); 1 of its devices
END
