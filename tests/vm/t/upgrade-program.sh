#!/bin/sh
# What "upgrade" starts. Without program= it is the path that was started,
# whatever lies there now: where its last link leads, or what has replaced it;
# be it started by a whole path, a relative one or through PATH. A program that
# leaves a child behind with its socket is told as what it is, and nobody who
# has its number by then is killed.
#
# kernels: 6.12
# time: 120
. /t/lib.sh

FOLDER=/tmp/t/versions

# goes_on_as PROGRAM: after "upgrade"
goes_on_as()
{
	expect_ok upgrade
	wait_for 10 ublkd_answers || fail "the new one does not answer"
	is=$(readlink "/proc/$KEEPER/exe")
	[ "$is" = "$1" ] || fail "it has become $is, not $1"
}

# start_as COMMAND: as start_ublkd does
start_as()
{
	rm -f /tmp/t/pid /tmp/t/status
	(
		cd "$FOLDER" || exit
		status=0
		PATH=$FOLDER:$PATH sh -c "echo \$\$ >/tmp/t/pid
			exec $1 --foreground" </dev/null >>"$LOG" 2>&1 ||
			status=$?
		echo $status >/tmp/t/status
	) &
	wait_for 30 ublkd_answers || fail "no answer from ublkd"
	KEEPER=$(cat /tmp/t/pid)
}

mkdir -p $FOLDER
cp "$(command -v ublkd)" $FOLDER/one
cp $FOLDER/one $FOLDER/two
for command in $FOLDER/ublkd ./ublkd ublkd; do
	echo "- $command"
	ln -sfn one $FOLDER/ublkd
	start_as "$command"
	ln -sfn two $FOLDER/ublkd
	goes_on_as $FOLDER/two
	# And so does the next one.
	ln -sfn one $FOLDER/ublkd
	goes_on_as $FOLDER/one
	stop_ublkd
done

echo "- moved, and replaced"
rm $FOLDER/ublkd
mv $FOLDER/one $FOLDER/ublkd
start_as $FOLDER/ublkd
mv $FOLDER/ublkd $FOLDER/old
expect_err arg upgrade
cp $FOLDER/two $FOLDER/ublkd
goes_on_as $FOLDER/ublkd

echo "- a child is left"
cat >/tmp/t/leaves-child <<'END'
#!/bin/sh
echo $$ >/tmp/t/number
sleep 300 &
echo $! >/tmp/t/child
END
chmod +x /tmp/t/leaves-child
ask "upgrade program=/tmp/t/leaves-child" >/tmp/t/answer &
asker=$!
wait_for 10 '[ -s /tmp/t/child ]' || fail "the program does not run"
number=$(cat /tmp/t/number)
wait_for 10 "! alive $number" || fail "the program does not end"
# Somebody else gets its number.
for _ in $(seq 100); do
	echo $((number - 1)) >/proc/sys/kernel/ns_last_pid
	sleep 300 &
	stranger=$!
	[ "$stranger" != "$number" ] || break
	kill "$stranger"
done
[ "$stranger" = "$number" ] || fail "nobody got number $number"
wait $asker
cat /tmp/t/answer
alive "$stranger" || fail "a stranger was killed"
grep -q '^ERR arg .*ended before' /tmp/t/answer || fail "no such answer"
kill "$stranger" "$(cat /tmp/t/child)"
goes_on_as $FOLDER/ublkd

# The keepers before they left a table to the next one had descriptors go along.
echo "- what a keeper of an earlier build has left open"
stop_ublkd
: >/tmp/t/carried
start_as "env UBLKD_CARRIED='1 9:device-0-0' ublkd --continue 9</tmp/t/carried"
server=$(server_pid)
for pid in "$KEEPER" "$server"; do
	! find "/proc/$pid/fd" -lname /tmp/t/carried | grep . ||
		fail "process $pid has it open"
done
! tr '\0' '\n' <"/proc/$server/environ" | grep UBLKD_CARRIED ||
	fail "the server is told of it"
stop_ublkd
