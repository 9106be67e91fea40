# The tests' helpers; a test begins with ". /t/lib.sh" and runs with -eu.
# When it exits, the daemon that it started is stopped and must have left
# nothing: exit status 0, no socket, no device, no stuck task, no sanitizer's
# report. A server that ends in the midst of it, by itself or killed, is a failure,
# but for those that the test kills with "kill -9" or announces with expect_kill or
# expect_log, see lib-state.sh.
#
# shellcheck shell=sh
set -eu
# shellcheck source=tests/vm/lib-state.sh
. /t/lib-state.sh

SOCK=/run/ublk.sock
LOG=/tmp/t/ublkd.log
KEEPER=''
REPLY=''
STATUS=''
# Not there if the daemon is of another build.
ASKER=$(command -v ask-ublkd) || true
NEWLINE='
'

# fail MESSAGE...: the test has failed.
fail()
{
	echo "FAIL: $*"
	exit 1
}

# skip REASON...: the test cannot be done here.
skip()
{
	echo "$*" >/tmp/t/skip
	exit 77
}

# requires PROGRAM...: skips the test if one is not there.
requires()
{
	for program; do
		command -v "$program" >/dev/null || skip "no $program"
	done
}

# requires_kernel GLOB: skips the test on other kernels, e.g. '7.*'.
requires_kernel()
{
	# shellcheck disable=SC2254 # a pattern is wanted
	case $(uname -r) in
	$1) ;;
	*) skip "not for this kernel" ;;
	esac
}

# sanitized: the daemon is a build with AddressSanitizer.
sanitized()
{
	grep -q libasan "$(command -v ublkd)"
}

# wait_for SECONDS CONDITION: 1 if the shell condition does not come true. What
# takes that long on a host with nothing else to do gets three times as long.
wait_for()
{
	within $(($1 * 3)) "$2"
}

# within SECONDS CONDITION: the same, where the time is what is tested.
within()
{
	looks=$(($1 * 10))
	until eval "$2"; do
		[ $looks -gt 0 ] || return 1
		looks=$((looks - 1))
		sleep 0.1
	done
}

# alive PID: it runs, and is more than a zombie.
alive()
{
	[ -d "/proc/$1" ] && ! grep -q ') Z ' "/proc/$1/stat" 2>/dev/null
}

# kill ARG...: the shell's own. Whom a test kills with -9 has not crashed.
kill()
{
	case $1 in
	-9 | -KILL) (shift; expect_kill "$@") ;;
	esac
	command kill "$@"
}

# as_user NAME COMMAND: `user`, or `member` of group ublk.
as_user()
{
	su "$1" -s /bin/sh -c "$2"
}

# ---- the daemon

# start_ublkd [ARG...]: returns when it answers. Sets $KEEPER.
# shellcheck disable=SC2120 # tests give it some
start_ublkd()
{
	rm -f /tmp/t/pid /tmp/t/status
	# Any shell can read a status that stands in a file.
	(
		status=0
		sh -c 'echo $$ >/tmp/t/pid; exec ublkd "$@"' ublkd --foreground \
			--socket "$SOCK" "$@" </dev/null >>"$LOG" 2>&1 || status=$?
		echo $status >/tmp/t/status
	) &
	wait_for 30 '[ -e /tmp/t/status ] || ublkd_answers' ||
		fail "no answer from ublkd"
	[ ! -e /tmp/t/status ] || fail "ublkd has ended: $(tail -n 3 "$LOG")"
	KEEPER=$(cat /tmp/t/pid)
}

# ublkd_answers: the server of this keeper, not one that it takes over from.
ublkd_answers()
{
	[ -S "$SOCK" ] && [ -s /tmp/t/pid ] && ask version 2>/dev/null |
		grep -q "keeper-pid=$(cat /tmp/t/pid)\$"
}

# start_in_group GROUP [MEMORY]: ublkd and whatever it starts in a new cgroup,
# with a limit if there is one, and nobody else.
start_in_group()
{
	echo +memory >/sys/fs/cgroup/cgroup.subtree_control
	mkdir "$1"
	[ $# = 1 ] || echo "$2" >"$1/memory.max"
	echo $$ >"$1/cgroup.procs"
	# shellcheck disable=SC2119 # none are wanted
	start_ublkd
	while read -r pid; do
		case $(cat "/proc/$pid/comm" 2>/dev/null) in
		ublkd*) ;;
		*) echo "$pid" >/sys/fs/cgroup/cgroup.procs || true ;;
		esac
	done <"$1/cgroup.procs"
	[ "$(wc -l <"$1/cgroup.procs")" = 2 ] || fail "not two processes"
}

# stop_ublkd: SIGTERM; it must end within 20 s with status 0 and leave nothing.
stop_ublkd()
{
	[ -n "$KEEPER" ] || return 0
	kill -TERM "$KEEPER" || fail "ublkd has ended by itself"
	forget_ublkd
	[ "$(cat /tmp/t/status)" = 0 ] ||
		fail "ublkd ended with status $(cat /tmp/t/status)"
	[ ! -e "$SOCK" ] || fail "ublkd left its socket"
	no_devices
}

# forget_ublkd: the test has ended it by other means. Its status is then in
# /tmp/t/status.
forget_ublkd()
{
	wait_for 20 '[ -e /tmp/t/status ]' || {
		dump_state
		fail "ublkd does not end"
	}
	case $(cat /tmp/t/status) in
	# 128 and SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGXFSZ, SIGSYS
	13[2-6] | 139 | 153 | 159) fail "ublkd crashed: $(cat /tmp/t/status)" ;;
	esac
	KEEPER=''
}

keeper_pid()
{
	echo "$KEEPER"
}

# server_pid: the keeper's child.
server_pid()
{
	children "$KEEPER" | head -n 1
}

# ---- the next server, the next keeper

# is_live ID...: those devices are served.
is_live()
{
	for id; do
		ask list 2>/dev/null | grep -q "^dev id=$id .*state=live" ||
			return 1
	done
}

# await_live ID...: they are, soon. A driver that does not abort on close may need
# its I/O timeouts for that.
await_live()
{
	wait_for 60 "is_live $*" || {
		dump_state
		fail "not live: $(ask list)"
	}
}

# await_live_count COUNT: so many are, soon.
await_live_count()
{
	wait_for 60 "[ \"\$(ask list | grep -c 'state=live')\" = $1 ]" || {
		dump_state
		fail "$1 are not live: $(ask list)"
	}
}

# has_next: $server has been replaced, and disk 0 is live.
has_next()
{
	next=$(server_pid)
	[ -n "$next" ] && [ "$next" != "$server" ] && is_live 0
}

# kill_server: returns when the next one serves disk 0. One that lived for less
# than a second would be replaced later. Sets $server.
kill_server()
{
	sleep 1.1
	server=$(server_pid)
	kill -9 "$server"
	wait_for 30 has_next || fail "there is no next server, or no device"
	grep -q "process $server, was killed by signal 9 " "$LOG" ||
		fail "the log does not say that the server was killed"
}

# kill_keeper, kill_both: in one call, so that neither sees the other die before
kill_keeper()
{
	kill -9 "$KEEPER"
	forget_ublkd
}

kill_both()
{
	kill -9 "$KEEPER" "$(server_pid)"
	forget_ublkd
}

# keeper_killed [ARG...], both_killed [ARG...]: and the next ublkd is started.
keeper_killed()
{
	kill_keeper
	start_ublkd "$@"
}

both_killed()
{
	kill_both
	start_ublkd "$@"
}

# restarted: the keeper leaves the server to the next one.
restarted()
{
	kill -USR2 "$KEEPER"
	forget_ublkd
	[ "$(cat /tmp/t/status)" = 0 ] || fail "status $(cat /tmp/t/status)"
	# shellcheck disable=SC2119 # none are wanted
	start_ublkd
}

# upgraded [ARG]: the old server, $server, has ended, and the next one answers.
upgraded()
{
	server=$(server_pid)
	expect_ok "upgrade${1:+ $1}"
	wait_for 10 "! alive $server" || fail "the old server stays"
	wait_for 10 ublkd_answers || fail "the next server does not answer"
}

# ---- the socket

# ask COMMAND: one request; prints the reply without greeting and waits.
ask()
{
	if [ -n "$ASKER" ]; then
		"$ASKER" "$SOCK" "$1" || true
		return
	fi
	printf '%s\n' "$1" | socat -t 60 - "UNIX-CONNECT:$SOCK" |
		sed -e '/^HELLO /d' -e '/^WAIT/d'
}

# request COMMAND: sets $REPLY (all lines) and $STATUS (the last one).
request()
{
	REPLY=$(ask "$1") || true
	STATUS=${REPLY##*"$NEWLINE"}
}

# expect_ok COMMAND
expect_ok()
{
	request "$1"
	case $STATUS in
	OK | 'OK '*) ;;
	*) fail "'$1' was answered: $REPLY" ;;
	esac
}

# expect_err SYMBOL COMMAND
expect_err()
{
	request "$2"
	case $STATUS in
	"ERR $1" | "ERR $1 "* | "ERR @"*" $1 "*) ;;
	*) fail "'$2' was answered, not ERR $1: $REPLY" ;;
	esac
}

# has_target NAME: this build has it.
has_target()
{
	ask targets | grep "name=$1 " | grep -qv 'left out of this build'
}

# field KEY: its value in $REPLY, the first one there is.
field()
{
	echo "$REPLY" | sed -n -e "s/.* $1=\"\([^\"]*\)\".*/\1/p; t" \
		-e "s/.* $1=\([^ \"]*\).*/\1/p" | head -n 1
}

# config: the command that makes disk 0 again
config()
{
	ask "show 0" | sed -n 's/^config text="\(.*\)"$/\1/p'
}

# ---- what must hold

# no_d_state SECONDS: no task stays in D state for so long.
no_d_state()
{
	stuck=$(lasting_d_tasks "$1")
	[ -n "$stuck" ] || return 0
	for task in $stuck; do show_task "$task"; done
	dump_state
	fail "in D state for $1 s: $stuck"
}

# no_devices: no ublk device is left (udev's part takes a moment).
no_devices()
{
	wait_for 3 '! ls -d /dev/ublk[bc]* >/dev/null 2>&1' ||
		fail "left:" /dev/ublk[bc]*
}

# no_sanitizer_report: in what the daemon wrote.
no_sanitizer_report()
{
	[ -e "$LOG" ] || return 0
	! grep -E -A 40 "ERROR: AddressSanitizer|runtime error:|LeakSanitizer" \
		"$LOG" || fail "a sanitizer has complained"
}

# no_crash: each server that ended in the midst of it did so because of the test.
no_crash()
{
	ends=$(unexpected_ends "$LOG")
	[ -z "$ends" ] || fail "not announced (see expect_log): $ends"
}

# ---- file systems, and disks of the kernel's own

# make_ram_disks COUNT KIB: /dev/ram0 and so on. Nothing is left of those of a test
# before, which may still be mounted, or be closed a little later.
make_ram_disks()
{
	awk '$1 ~ /^\/dev\/ram/ { print $2 }' /proc/mounts |
		while read -r point; do umount "$point"; done
	wait_for 5 "! grep -q '^brd ' /proc/modules || rmmod brd 2>/dev/null" ||
		fail "brd is in use"
	modprobe brd rd_nr="$1" rd_size="$2"
}

# mount_ext4 DISK FOLDER: a new one
mount_ext4()
{
	mkfs.ext4 -q "$1" || fail "mkfs.ext4 $1"
	mkdir -p "$2"
	mount "$1" "$2"
}

# hold_write FOLDER: the file system on which disk 0 has its file stands still, and
# a write of the disk stays in a worker until release_write.
hold_write()
{
	fsfreeze --freeze "$1"
	dd if=/dev/urandom of=/dev/ublkb0 bs=4096 count=1 oflag=direct \
		2>/dev/null &
	writer=$!
	wait_for 5 'ask "show 0" | grep -q " waiting=1 "' ||
		fail "no write is in a worker: $(ask "show 0")"
}

# release_write FOLDER: 1 if the write has failed
release_write()
{
	fsfreeze --unfreeze "$1"
	wait "$writer"
}

# ---- figures

# fds PID: how many descriptors it has open.
fds()
{
	find "/proc/$1/fd" -type l | wc -l
}

# rss PID, pss PID: KiB
rss()
{
	awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"
}

pss()
{
	awk '/^Pss:/ { print $2 }' "/proc/$1/smaps_rollup"
}

# pss_of_both: KiB, of keeper and server together
pss_of_both()
{
	echo $(($(pss "$KEEPER") + $(pss "$(server_pid)")))
}

# mapped PID: KiB. Here a leak shows before it is touched.
mapped()
{
	awk '/^VmSize:/ { print $2 }' "/proc/$1/status"
}

# shmem: of the guest, KiB: what RAM disks hold, among others
shmem()
{
	awk '/^Shmem:/ { print $2 }' /proc/meminfo
}

# mem_available: of the guest, KiB
mem_available()
{
	awk '/^MemAvailable:/ { print $2 }' /proc/meminfo
}

# inflight DISK: how many requests of ublkb0, say, the driver has
inflight()
{
	awk '{ print $1 + $2 }' "/sys/block/$1/inflight"
}

# goes_on DISK: it completes requests; 1 if it has not within 10 s.
goes_on()
{
	stat_before=$(cat "/sys/block/$1/stat")
	wait_for 10 "[ \"\$(cat /sys/block/$1/stat)\" != '$stat_before' ]"
}

# figure NAME WHEN: from /tmp/t/figures.WHEN, a name and a number a line
figure()
{
	sed -n "s/^$1 //p" "/tmp/t/figures.$2"
}

# grown NAME LIMIT: fails if it is that much more at the end than it was at the
# start, when things had warmed up.
grown()
{
	more=$(($(figure "$1" end) - $(figure "$1" start)))
	echo "$1: $(figure "$1" start), then $(figure "$1" end)"
	[ "$more" -le "$2" ] || fail "$1 has grown by $more"
}

# now: milliseconds since boot
now()
{
	awk '{ printf "%d\n", $1 * 1000 }' /proc/uptime
}

# ---- the end

# end_test: runs whenever the test exits, and may turn success into failure.
end_test()
{
	ended=$?
	trap - EXIT
	# In a subshell: fail's exit must not skip the rest.
	(
		[ $ended = 0 ] || release_all
		stop_ublkd
	) || ended=1
	(no_d_state 5) || ended=1
	(no_sanitizer_report) || ended=1
	(no_crash) || ended=1
	if [ $ended != 0 ] && [ $ended != 77 ] && [ -e "$LOG" ]; then
		echo "ublkd's log ends:"
		tail -n 40 "$LOG" | sed 's/^/    /'
	fi
	exit $ended
}

# release_all: what a failed test leaves mounted, mapped or stopped would keep the
# daemon from ending, and its devices' numbers from the next test.
release_all()
{
	for pid in $(pidof ublkd ublkd-server); do
		kill -CONT "$pid" || true
	done
	awk '$1 ~ /^\/dev\/ublkb/ { print $2 }' /proc/mounts |
		while read -r point; do umount "$point" || true; done
	! command -v dmsetup >/dev/null || dmsetup remove_all --force || true
}

trap end_test EXIT
