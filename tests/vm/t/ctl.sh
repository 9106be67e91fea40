#!/bin/sh
# ublkctl: commands and their exit status; what it says of a server that is
# stopped, frozen or killed, in time; and doctor with and without the driver. The
# same daemon's metrics, in the file for node_exporter.
#
# needs: binaries ublkctl jq
# needs: files contrib/completion/ublkd-words:/t/ublkd-words
# needs: files contrib/prometheus/ublkd-metrics:/t/ublkd-metrics
# size: default long:sight
# time: 120
. /t/lib.sh

requires ublkctl

FREEZER=/sys/fs/cgroup/ublkd-frozen

# ctl STATUS WORD...: ublkctl ends with that within 3 s, or on a busy host within
# three times as long, as with wait_for; sets $OUT and $ERRORS.
ctl()
{
	wanted=$1
	shift
	status=0
	begun=$(cut -d . -f 1 /proc/uptime)
	ublkctl "$@" >/tmp/t/out 2>/tmp/t/errors || status=$?
	took=$(($(cut -d . -f 1 /proc/uptime) - begun))
	OUT=$(cat /tmp/t/out)
	ERRORS=$(cat /tmp/t/errors)
	echo "ublkctl $*: $status after $took s"
	printf '%s\n' "$OUT" "$ERRORS"
	[ $status = "$wanted" ] || fail "status $status, not $wanted"
	[ $took -le 9 ] || fail "it took $took s"
}

# says TEXT WHERE: it begins a line there.
says()
{
	printf '%s\n' "$2" | grep -qF "$1" || fail "'$1' is not said: $2"
}

without_daemon()
{
	echo "- without a daemon"
	ctl 3 list
	says "no daemon runs" "$ERRORS"
	ctl 3 inspect
	[ "$OUT" = "no daemon runs" ] || fail "$OUT"
	ctl 2
	says "which command" "$ERRORS"
	ctl 2 --nonsense
}

commands()
{
	echo "- commands"
	ctl 0 add null size=16M id=0 "name=a-disk"
	says "OK id=0 dev=/dev/ublkb0 name=a-disk" "$OUT"
	ctl 0 list
	says "ID  NAME    DEV          STATE  TARGET  SIZE  RO" "$OUT"
	says " 0  a-disk  /dev/ublkb0  live   null     16M  no" "$OUT"
	ctl 0 list -nbo name,size
	[ "$OUT" = "a-disk  16777216" ] || fail "$OUT"
	ctl 2 list -o nothing
	says "there is no column 'nothing'" "$ERRORS"
	ctl 1 del 7
	[ -z "$OUT" ] || fail "$OUT"
	says "ublkctl: " "$ERRORS"
	ctl 1 add file "path=/no such \"file\""
	says '/no such "file"' "$ERRORS"
}

# offers WORD LINE: completion has it there
offers()
{
	/bin/sh /t/ublkd-words ublkctl "$2" >/tmp/t/words
	cut -f 1 /tmp/t/words | grep -qxF "$1" ||
		fail "'$2': $1 is not offered: $(cat /tmp/t/words)"
}

completion()
{
	echo "- completion"
	offers list li
	offers doctor ""
	offers null "add nu"
	offers size= "add null si"
	offers a-disk "del a"
	offers a-disk "-s $SOCK del "
}

# The device that serves a file, by each of its names; and ublksrv's words.
others_words()
{
	echo "- find, and other tools' words"
	truncate -s 1M /tmp/t/img
	ln -s img /tmp/t/link
	cd /tmp/t || fail "no folder"
	ctl 0 add file path=img id=4
	ctl 0 find link
	says " 4  ublkb4" "$OUT"
	ctl 0 -j /tmp/t/img
	says " 4  ublkb4" "$OUT"
	ctl 1 find /tmp/t/out
	says "no device serves /tmp/t/out" "$ERRORS"
	ctl 0 del -n 4
	ctl 0 add -t loop -f img -q 1 -d 64 -n 5
	ctl 0 list -n 5
	says " 5  ublkb5" "$OUT"
	ctl 1 list -n 4
	ctl 0 del -n 5
	cd /
}

# told TEXT FILE: it comes there
told()
{
	wait_for 10 "grep -q '$1' $2" || fail "'$1' is not told: $(cat "$2")"
}

# Changes as they come, also those of the next server; an interrupt is no failure.
# Its list as JSON.
watching()
{
	echo "- watch"
	ublkctl watch dev >/tmp/t/watch 2>/tmp/t/lost &
	watch=$!
	told '^OK seq=' /tmp/t/watch
	ctl 0 add null id=9
	told '^EVENT seq=[0-9]* dev id=9 .*state=live' /tmp/t/watch
	ctl 0 upgrade
	told 'waiting for the next server' /tmp/t/lost
	told 'another server answers now' /tmp/t/lost
	await_live 9
	ctl 0 list name=ublkb9 --json
	[ "$(echo "$OUT" | jq -c '[.id, (.depth | type), .frame]' |
		tr '\n' ' ')" = '[9,"number",null] [null,"null","OK"] ' ] ||
		fail "as JSON: $OUT"
	ctl 0 del 9
	told '^EVENT seq=[0-9]* dev id=9 .*state=gone' /tmp/t/watch
	kill -INT $watch
	wait $watch || fail "watch: status $?"
}

# A reader of the disk waits for the server.
read_disk()
{
	dd if=/dev/ublkb0 of=/dev/null bs=4096 count=1 iflag=direct \
		2>/dev/null &
	reader=$!
	wait_for 10 'grep -q "[1-9]" /sys/block/ublkb0/inflight' ||
		fail "no request is in flight"
}

stopped()
{
	echo "- stopped"
	server=$(server_pid)
	kill -STOP "$server"
	read_disk
	for command in inspect stuck; do
		ctl 3 $command
		says "the server (pid $server) is stopped by a signal" "$OUT"
		says "ublkb0: 1 in flight, served by process $server" "$OUT"
		says "ublkb0: 1 request is in the kernel and not delivered to \
the server; 1 task in D: dd, process $reader, in " "$OUT"
	done
	ctl 3 list
	says "the server (pid $server) is stopped by a signal" "$ERRORS"
	ctl 2 doctor
	says "FAIL daemon    the server (pid $server) is stopped" "$OUT"
	kill -CONT "$server"
	wait "$reader" || fail "the reader has an error"
	ctl 0 list
}

# The limit lets nothing pass: where the request waits is in the file of sight.
frozen()
{
	echo "- frozen"
	ctl 0 add ram size=16M id=1 limit-iops=1
	cat /dev/ublkb1 >/dev/null &
	reader=$!
	wait_for 10 'grep -q "[1-9]" /sys/block/ublkb1/inflight' ||
		fail "no request is in flight"
	sleep 1
	mkdir $FREEZER
	echo "$server" >$FREEZER/cgroup.procs
	echo 1 >$FREEZER/cgroup.freeze
	wait_for 5 "grep -qx 'frozen 1' $FREEZER/cgroup.events" ||
		fail "the server is not frozen"
	ctl 3 inspect
	says "the server (pid $server) is frozen: 'echo 0 >$FREEZER/cgroup.freeze'" "$OUT"
	echo "$OUT" | grep -q '^ublkb1: .* for the layer limit, .*: a read of .*set 1 limit-iops=0' ||
		fail "it does not say where the request waits"
	echo 0 >$FREEZER/cgroup.freeze
	ctl 0 set 1 limit-iops=0
	wait "$reader" || fail "the reader has an error"
	ctl 0 del 1
}

# collected STATUS LINE...: the collector ends so, and its file has these lines
collected()
{
	wanted=$1 status=0
	shift
	sh /t/ublkd-metrics /tmp/t/prom >/tmp/t/out 2>&1 || status=$?
	cat /tmp/t/out
	[ $status = "$wanted" ] || fail "status $status, not $wanted"
	for line; do
		grep -qxF "$line" /tmp/t/prom/ublkd.prom ||
			fail "not '$line': $(cat /tmp/t/prom/ublkd.prom)"
	done
	[ "$(ls -A /tmp/t/prom)" = ublkd.prom ] || fail "$(ls -A /tmp/t/prom)"
}

# In a file system with room for two pages: the second and the third file of two
# pages each do not fit beside the first.
metrics()
{
	echo "- metrics"
	info='ublkd_info{device="ublkb0",name="a-disk",target="null"} 1'
	mkdir /tmp/t/prom
	mount -t tmpfs -o size=12k tmpfs /tmp/t/prom
	collected 0 "ublkd_up 1" "$info"
	for id in 10 11 12 13; do ctl 0 add null id=$id; done
	collected 1 "ublkd_up 1" "$info"
	for id in 10 11 12 13; do ctl 0 del $id; done
	kill -STOP "$server"
	collected 0 "ublkd_up 0"
	says "the server (pid $server) is stopped by a signal" "$(cat /tmp/t/out)"
	kill -CONT "$server"
	collected 0 "ublkd_up 1" "$info"
}

# Two killed processes leave a disk, which the next ublkd takes over: one without
# data, as that of a RAM disk would be gone.
killed()
{
	echo "- killed"
	kill_both
	wait_for 10 "rmdir $FREEZER 2>/dev/null" || fail "$FREEZER is in use"
	ctl 3 inspect
	says "no daemon runs; ublkb0 is quiesced" "$OUT"
	collected 0 "ublkd_up 0"
	umount /tmp/t/prom
	ctl 2 doctor
	says "FAIL devices   ublkb0 is quiesced" "$OUT"
	start_ublkd
	await_live 0
	ctl 0 del 0
}

# In a guest WARNs may stand, of its kernel and of its folders.
doctor()
{
	echo "- doctor"
	status=0
	ublkctl doctor >/tmp/t/out || status=$?
	cat /tmp/t/out
	[ $status -le 1 ] || fail "status $status on a host that is fit"
	says "OK   driver    /dev/ublk-control is there" "$(cat /tmp/t/out)"
	says "OK   daemon    ublkd " "$(cat /tmp/t/out)"
	! grep -q '^.\{81\}' /tmp/t/out || fail "a line is too long"
	case $(uname -r) in
	6.12.*) grep -q io_fallback_tw /tmp/t/out ;;
	*) ! grep -q io_fallback_tw /tmp/t/out ;;
	esac || fail "wrong faults for this kernel"
}

without_driver()
{
	echo "- without the driver"
	module=$(find /vm/modules /mod /lib/modules -name '*ublk_drv*' \
		2>/dev/null | head -n 1) || true
	stop_ublkd
	rmmod ublk_drv || fail "the driver cannot be removed"
	ctl 2 doctor
	says "FAIL driver " "$OUT"
	[ -n "$module" ] ||
		module=$(find / -xdev -name '*ublk_drv*.ko*' | head -n 1)
	insmod "$module"
	status=0
	ublkctl doctor >/tmp/t/out || status=$?
	[ $status -le 1 ] || fail "status $status with the driver"
}

without_daemon
# shellcheck disable=SC2119 # none are wanted
start_ublkd
commands
completion
others_words
watching
doctor
stopped
frozen
metrics
killed
without_driver
