#!/bin/sh
# What dump writes makes the same devices again, of all targets, with layers and
# changed by set and resize; and as a configuration file it does, too.
#
# size: default
. /t/lib.sh

COUNT=${COUNT:-24} # devices

# line N: an add, another one for each number.
line()
{
	set -- "$1" "$(($1 % 7))"
	case $(($1 % 3)) in
	0) printf 'add null size=%dM fill=%s' $(($1 + 1)) "$(yes_or_no "$1" 2)" ;;
	1) printf 'add ram size=%dK overcommit=yes' $((4 * $1 + 64)) ;;
	2)
		truncate -s 4M "/tmp/t/f $1"
		printf 'add file "path=/tmp/t/f %d" offset=%dK discard=no' \
			"$1" $((4 * $2))
		;;
	esac
	[ $(($1 % 2)) = 0 ] || printf ' name=disk-%d' "$1"
	[ $(($1 % 5)) != 1 ] || printf ' queues=1 depth=%d max-io=64K' $((8 + $1))
	[ $(($1 % 7)) != 2 ] || printf ' recovery=queue ro=yes stuck-after=5s'
	[ $(($1 % 4)) != 3 ] || printf ' delay-time=%dus delay-op=flush' "$1"
	[ $(($1 % 6)) != 5 ] || printf ' error-rate=1%% error-op=discard,flush'
	printf ' limit-iops=%d\n' $((100000 + $1))
}

yes_or_no()
{
	[ $(($1 % $2)) = 0 ] && echo yes || echo no
}

# run FILE: its commands, each answered with OK
run()
{
	socat -t 120 - "UNIX-CONNECT:$SOCK" <"$1" >/tmp/t/answers
	! grep '^ERR' /tmp/t/answers || fail "an answer is no OK"
	[ "$(grep -c '^OK' /tmp/t/answers)" = "$(grep -c . "$1")" ] ||
		fail "$(tail -n 3 /tmp/t/answers)"
}

# dump FILE: what there is now, which are $COUNT devices
dump()
{
	expect_ok dump
	echo "$REPLY" | grep '^add ' >"$1"
	[ "$(grep -c . "$1")" = "$COUNT" ] || fail "$REPLY"
	# Without what the memory of a RAM disk does by itself.
	ask list | grep '^dev ' | sed 's/ used=[^ ]*//' >"$1.list"
}

start_ublkd
i=0
while [ $i -lt "$COUNT" ]; do
	line $i
	i=$((i + 1))
done >/tmp/t/lines
run /tmp/t/lines
cat >/tmp/t/changes <<-END
	set 0 delay-time=1500us limit-iops=0
	set 1 error-every=1000 limit-bandwidth=1G
END
run /tmp/t/changes
dump /tmp/t/first
grep 'id=0 .*delay-time=1500us' /tmp/t/first || fail "set is not in it"
sed 's/^add [a-z]* id=\([0-9]*\).*/del \1/' /tmp/t/first >/tmp/t/dels
run /tmp/t/dels
no_devices
run /tmp/t/first
dump /tmp/t/second
diff /tmp/t/first /tmp/t/second || fail "another dump"
diff /tmp/t/first.list /tmp/t/second.list || fail "other devices"
stop_ublkd
no_devices

start_ublkd --config /tmp/t/first
dump /tmp/t/third
diff /tmp/t/first /tmp/t/third || fail "another dump after a start"
diff /tmp/t/first.list /tmp/t/third.list || fail "other devices after a start"
stop_ublkd
no_devices
