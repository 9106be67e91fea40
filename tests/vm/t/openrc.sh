#!/bin/bash
# ublkd as a service of OpenRC, with the shells of Alpine and of Debian: started is
# ready, a start that fails leaves nothing, restart keeps the devices, stop deletes
# them, and a keeper that has died is told.
#
# needs: host
# needs: binaries dash
# needs: files contrib/openrc/ublkd
# time: 300
# kernels: 6.12
set -euo pipefail
kernel=$1 work=$2
here=$(dirname "$(readlink -f "$0")")/..
top=$here/../..
tree=$("$here/fetch-tree" openrc) || {
	echo "no OpenRC"
	exit 77
}
arguments=()

# take SRC:DEST...
take()
{
	local each
	for each; do arguments+=(-f "$each"); done
}

cat >"$work/script" <<'END'
set -eu
conf=/etc/conf.d/ublkd

fail()
{
	echo "FAIL: $*"
	cat /tmp/log
	exit 1
}

ask()
{
	echo "$1" | socat -t 60 - UNIX:/run/ublk.sock | grep -v -e ^HELLO -e ^WAIT
}

service()
{
	rc-service ublkd "$@" >>/tmp/log 2>&1
}

# options TEXT
options()
{
	echo "ublkd_program=/usr/local/bin/ublkd ublkd_options='$1'" >$conf
}

# processes NUMBER
processes()
{
	found=$(pidof ublkd ublkd-server | xargs -r -n 1 | sort -u | wc -l)
	[ "$found" = "$1" ] || fail "$found processes, not $1"
}

starts()
{
	echo "- start"
	echo "add ram size=8M name=first" >/tmp/conf
	options --config=/tmp/conf
	service start || fail "it does not start"
	# What is started is ready: nothing is waited for.
	ask list | grep -q '^dev id=0 name=first state=live' || fail "$(ask list)"
	processes 2
	service status || fail status
	service start || fail "once more"
	processes 2
	! ls -l /proc/"$(cat /run/ublk.sock.lock)"/fd | grep openrc ||
		fail "it holds what is OpenRC's"
}

restarts()
{
	echo "- restart"
	keeper=$(cat /run/ublk.sock.lock) server=$(pidof ublkd-server)
	service restart || fail "restart has failed"
	[ "$(cat /run/ublk.sock.lock)" != "$keeper" ] || fail "the same keeper"
	ask list | grep -q '^dev id=0 name=first state=live' || fail "$(ask list)"
	processes 2
	echo "- the keeper dies"
	kill -9 "$(cat /run/ublk.sock.lock)"
	sleep 1
	! service status || fail "status sees nothing"
	tail -n 1 /tmp/log | grep -q crashed || fail "status does not tell"
	service restart || fail "restart has failed"
	service status || fail status
	ask list | grep -q '^dev id=0 name=first state=live' || fail "$(ask list)"
	processes 2
}

stops()
{
	echo "- stop"
	service stop || fail "it does not stop"
	processes 0
	[ ! -e /dev/ublkb0 ] && [ ! -e /run/ublk.sock ] || fail "something is left"
	! service status || fail "status sees something"
}

fails()
{
	echo "- a start that fails"
	printf '%s\n' "add ram size=8M" "add ram size=nonsense" >/tmp/conf
	! service start || fail "it starts with nonsense"
	grep -q '/tmp/conf:2:9: ' /tmp/log || fail "it does not tell why"
	processes 0
	[ ! -e /dev/ublkb0 ] || fail "a device is left"
	options --nonsense
	! service start || fail "it starts with nonsense"
	processes 0
}

# No program of this name may be used: there are two, which have little in common.
for path in /bin /sbin /usr/bin /usr/sbin; do
	rm -f $path/start-stop-daemon
done
for folder in daemons exclusive failed hotplugged inactive options scheduled started \
	starting stopping tmp wasinactive; do
	mkdir -p /run/openrc/$folder
done
mkdir -p /etc/conf.d /etc/insserv.conf.d
: >/etc/insserv.conf
touch /run/openrc/softlevel
chmod 755 /etc/init.d/ublkd
for shell in busybox dash; do
	echo "shell $shell"
	ln -sf "$(command -v $shell)" /bin/sh
	: >/tmp/log
	starts
	restarts
	stops
	fails
done
! dmesg | grep -E 'WARNING|BUG|Oops|blocked for more than' || exit 1
echo "result: ok"
END

libraries=("$tree"/lib/*-linux-gnu "$tree"/usr/lib/*-linux-gnu)
for folder in "${libraries[@]}"; do take "$folder:${folder#"$tree"}"; done
take "$tree/lib/rc:/lib/rc" "$tree/sbin:/bin" "$tree/etc/rc.conf:/etc/rc.conf" \
	"$top/contrib/openrc/ublkd:/etc/init.d/ublkd"
"$here/vm" -k "$kernel" -t 250 -b "$UBLKD_BUILD/src/ublkd" -b socat -b dash \
	"${arguments[@]}" "$work/script" | tee "$work/log" || exit 1
grep -q '^result: ok' "$work/log"
