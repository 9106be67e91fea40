#!/bin/sh
# The scripts for System V's init, runit and procd, with a stand-in for ublkd that
# holds its lock and tells which signals came: start, stop, restart, reload and
# status; and when the package for Debian can be removed. openrc.sh and systemd.sh of
# the VM tests are for the other two.
#
# runit's is run by runit where that is there; procd is a stand-in as well.
set -eu
export LC_ALL=C

top=${srcdir:-.}
work=$(mktemp -d "${TMPDIR:-/tmp}/test_services.XXXXXX")
export UBLKD_PROGRAM="$work/ublkd" UBLKD_SOCKET="$work/ublk.sock"
export UBLKD_OPTIONS="--keep-going --hot=no"
lock=$UBLKD_SOCKET.lock
runsv=

clean_up()
{
	[ -z "$runsv" ] || kill -TERM "$runsv" 2>/dev/null || true
	end_keeper
	rm -rf "$work"
}

end_keeper()
{
	[ ! -s "$lock" ] || kill -9 "$(cat "$lock")" 2>/dev/null || true
	rm -f "$lock"
}

trap clean_up EXIT

fail()
{
	echo "$*"
	cat "$work/said" 2>/dev/null || true
	exit 1
}

# wait_for COMMAND...: 30 s at most
wait_for()
{
	left=300
	until "$@"; do
		left=$((left - 1))
		[ $left -gt 0 ] || return 1
		sleep 0.1
	done
}

# The keeper is a shell whose sleep has not its descriptors. TERM is the end of
# everything, and the lock goes; after USR2 the file stays.
cat >"$work/keeper" <<END
#!/bin/sh
exec 9>>"$lock"
trap 'echo TERM >>"$work/signals"; rm -f "$lock"; exit 0' TERM
trap 'echo USR2 >>"$work/signals"; exit 0' USR2
trap 'echo HUP >>"$work/signals"' HUP
echo \$\$ >"$lock"
while :; do sleep 0.1 9>&-; done
END
cat >"$work/ublkd" <<END
#!/bin/sh
echo "\$*" >>"$work/arguments"
[ ! -e "$work/refuse" ] || exit 1
case "\$*" in
*--foreground*) exec sh "$work/keeper" ;;
esac
: >"$lock"
sh "$work/keeper" >/dev/null 2>&1 </dev/null &
until [ -s "$lock" ]; do sleep 0.1; done
END
chmod +x "$work/ublkd"

# has FILE LINE...: these are its lines, and none other; it is empty from then on
has()
{
	file=$1
	shift
	for each; do echo "$each"; done | diff - "$work/$file" ||
		fail "$file: others than wanted (left)"
	: >"$work/$file"
}

: >"$work/signals"
: >"$work/arguments"

# ---- System V

# service STATUS WORD
service()
{
	status=0
	$shell "$work/sysv" "$2" >"$work/said" 2>&1 || status=$?
	[ $status = "$1" ] || fail "'$2' of sysv: status $status, not $1"
}

sysv()
{
	sed -e 's|/etc/default/ublkd|/nowhere|' -e '/^PATH=/d' \
		-e "s|modprobe -q|true|" "$top/contrib/sysv/ublkd" >"$work/sysv"
	service 3 status
	service 0 try-restart
	service 0 start
	has arguments "--socket=$UBLKD_SOCKET --keep-going --hot=no"
	service 0 status
	first=$(cat "$lock")
	service 0 start
	has arguments
	service 0 reload
	wait_for test -s "$work/signals" || fail "no signal for reload"
	has signals HUP
	service 0 restart
	has signals USR2
	has arguments "--socket=$UBLKD_SOCKET --keep-going --hot=no"
	[ "$(cat "$lock")" != "$first" ] || fail "the same keeper"
	service 0 try-restart
	has signals USR2
	kill -9 "$(cat "$lock")"
	# Its number may be another process's, which has not the lock.
	echo $$ >"$lock"
	service 1 status
	service 1 reload
	service 0 restart
	service 0 status
	: >"$work/signals"
	service 0 stop
	has signals TERM
	service 3 status
	service 0 stop
	has signals
	: >"$work/refuse"
	service 1 start
	service 1 restart
	rm "$work/refuse"
	service 2 nonsense
	: >"$work/arguments"
}

for shell in sh bash "busybox sh"; do
	command -v "${shell% *}" >/dev/null || continue
	echo "- sysv, $shell"
	sysv
done

# ---- procd

# What it is told, as lines
export work script="$top/contrib/procd/ublkd"
cat >"$work/rc.common" <<'END'
config_load() { :; }
config_get() { eval "$1=--keep-going"; }
for each in open_instance set_param close_instance send_signal add_reload_trigger; do
	eval "procd_$each() { echo $each \"\$@\" >>\"$work/procd\"; }"
done
running() { [ -e "$work/running" ]; }
logger() { :; }
modprobe() { :; }
start() { start_service; }
reload() { reload_service; }
. "$script"
"$@"
END

# procd WORD
procd()
{
	: >"$work/procd"
	sh "$work/rc.common" "$1" ||
		fail "'$1' of procd has failed"
}

echo "- procd"
procd restart
has procd open_instance \
	"set_param command /usr/sbin/ublkd --foreground --keep-going" \
	"set_param respawn 3600 1 0" "set_param term_timeout 180" \
	"set_param limits memlock=unlimited unlimited nofile=65536 65536" \
	"set_param stderr 1" close_instance
: >"$work/running"
procd restart
has procd "send_signal ublkd * USR2"
procd reload
has procd "send_signal ublkd * HUP"
procd service_triggers
has procd "add_reload_trigger ublkd"

# ---- the package for Debian: when it can be removed

cat >"$work/ublkctl" <<END
#!/bin/sh
echo "\$*" >>"$work/arguments"
exit \$(cat "$work/status")
END
chmod +x "$work/ublkctl"
sed -e "s|/run/ublk.sock|$work/socket|" -e "s|/dev/ublkb|$work/disk|" \
	-e "s|/etc/default/ublkd|$work/default|" \
	"$top/contrib/debian/ublkd.prerm" >"$work/prerm"

# removes STATUS OF-UBLKCTL [HOW]
removes()
{
	status=0
	echo "$2" >"$work/status"
	PATH=$work:$PATH sh "$work/prerm" "${3:-remove}" >"$work/said" 2>&1 ||
		status=$?
	[ $status = "$1" ] || fail "prerm ${3:-remove}: status $status, not $1"
}

echo "- prerm"
: >"$work/arguments"
removes 0 1
has arguments
: >"$work/socket"
removes 0 1 upgrade
has arguments
removes 0 0
removes 1 1
removes 0 3
: >"$work/disk0"
removes 1 3
shuts="-s $work/socket shutdown"
has arguments "$shuts" "$shuts" "$shuts" "$shuts"
# The service listens elsewhere, where the default socket is not.
rm "$work/socket"
for option in "-s $work/own" "-s$work/own" "--socket $work/own" \
	"--socket=$work/own --keep-going"; do
	rm -f "$work/own"
	echo "#UBLKD_OPTIONS=
UBLKD_OPTIONS=\"--hot=no $option\"" >"$work/default"
	: >"$work/arguments"
	removes 0 1
	: >"$work/own"
	removes 1 1
	has arguments "-s $work/own shutdown"
done

# ---- runit

command -v runsv >/dev/null || {
	echo "no runit"
	exit 0
}
echo "- runit"
cp -r "$top/contrib/runit" "$work/sv"
rm -r "$work/sv/log"
end_keeper

# sv WORD
sv()
{
	command sv -w 20 "$1" "$work/sv" >"$work/said" 2>&1
}

keeper_is_new()
{
	[ -s "$lock" ] && [ "$(cat "$lock")" != "$first" ]
}

first=
runsv "$work/sv" >/dev/null 2>&1 &
runsv=$!
wait_for keeper_is_new || fail "runit does not start it"
first=$(cat "$lock")
has arguments "--foreground --keep-going --hot=no"
sv status || fail "status"
sv hup || fail "no HUP"
wait_for test -s "$work/signals" || fail "no signal for reload"
has signals HUP
sv restart || fail "restart"
wait_for keeper_is_new || fail "there is no new keeper"
has signals USR2
has arguments "--foreground --keep-going --hot=no"
sv stop || fail "stop"
has signals TERM
[ ! -e "$lock" ] || fail "it is back"
sv start || fail "start"
sv exit || fail "exit"
has signals TERM
wait "$runsv" || fail "runsv: status $?"
runsv=
