#!/bin/sh
# Keeper and server are killed with -9 at their system calls, one kill at a
# time, while they start, take over, add, delete and stop: strace tells which
# calls there are, and kills before the one that is chosen. Whatever the moment,
# what was live is live again, with its data, as soon as there are two processes
# again; its users go on; what is gone is gone whole, and its users get an error.
#
# sanitizers: long
# A server that is killed during an add fails the kernel's look for partitions:
# expect-kernel: Buffer I/O error on dev(ice)? ublkb5,
# needs: binaries fio strace
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# time: 480
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

requires fio strace
! sanitized || skip "a sanitizer has its own calls, and threads"

# kill-anywhere-long asks for more: so many kills of a phase and a process, spread
# over all calls there are; or as many as there is time for, in seconds. A call
# that is not made again kills nobody, and the next one is tried.
: "${SAMPLE:=1}" "${SPEND:=3600}"
: "${PHASES:=add del recover takeover start term}"
STATE=/run/ublkd
SETTLES=15 # s, until everything is as it should be
users=0
RECOVERY='' # what disk 5 is added with
# What serves requests is not counted: kill-server.sh is about that.
IO=epoll_wait,epoll_pwait,pread64,pwrite64,read,write

# ---- disks: 1 outlives both processes, 2 one of them; 5 and 6 come and go

# make ID OPTION
make()
{
	expect_ok "add ram id=$1 size=4M queues=2 $2"
	dd if=/tmp/t/data of=/dev/ublkb"$1" bs=1M oflag=direct 2>/dev/null ||
		fail "disk $1 cannot be written"
}

# learn_driver: while somebody can tell
learn_driver()
{
	OLD=no
	! ask features | grep -q '^feature name=update-size have=no' || OLD=yes
}

is_old_driver()
{
	[ $OLD = yes ]
}

# is_listed ID
is_listed()
{
	ask list | grep -q "^dev id=$1 "
}

# user ID: writes and reads the second half of it, slowly, until there is an
# error; then leaves a file, whose name /tmp/t/user.ID tells.
user()
{
	! has_user "$1" || has_ended "$1" || return 0
	users=$((users + 1))
	echo "/tmp/t/ended.$users" >"/tmp/t/user.$1"
	(
		fio --name=u --filename="/dev/ublkb$1" --rw=randrw --bs=4k \
			--offset=2M --size=2M --direct=1 --ioengine=libaio \
			--iodepth=2 --rate_iops=20,20 --time_based \
			--runtime=7200 >"/tmp/t/fio.$1" 2>&1 || true
		touch "/tmp/t/ended.$users"
	) &
	moves "$1"
}

has_user()
{
	[ -e "/tmp/t/user.$1" ]
}

has_ended()
{
	[ -e "$(cat "/tmp/t/user.$1")" ]
}

# moves ID: its user's requests are completed.
moves()
{
	goes_on "ublkb$1" || {
		dump_state
		fail "$CASE: disk $1 does not go on: $(cat "/tmp/t/fio.$1")"
	}
}

# world: ublkd runs, with disks 1 and 2 and no other.
world()
{
	[ -n "$KEEPER" ] || start_ublkd
	is_listed 1 || make 1 keep=yes
	is_listed 2 || make 2 ""
	! is_listed 5 || expect_ok "del id=5 force=yes"
	# The driver has the number until nobody has the disk open any more.
	! has_user 5 || wait_for 10 "has_ended 5" || fail "5's user does not end"
	rm -f /tmp/t/user.5
	user 1
}

# ---- phases: what is to be ready, and how it begins. $1 is who is to die, and
# strace's further arguments follow.

# trace PID ARG...: sets $TRACER.
trace()
{
	pid=$1
	shift
	strace -q -o /tmp/t/strace "$@" -p "$pid" 2>/tmp/t/strace.said &
	TRACER=$!
	# It may be killed as soon as it is traced.
	wait_for 10 "! alive $pid || grep -q 'TracerPid:.*[1-9]' /proc/$pid/status" ||
		fail "$CASE: no trace: $(cat /tmp/t/strace.said)"
}

untrace()
{
	kill -INT "$TRACER" 2>/dev/null || true
	wait "$TRACER" || true
}

# trace_victim WHO ARG...: one that runs.
trace_victim()
{
	VICTIM=$("$1_pid")
	shift
	trace "$VICTIM" "$@"
}

# ask_beside TEXT: when it has ended, /tmp/t/answered has the answer.
ask_beside()
{
	rm -f /tmp/t/answered
	(
		ask "$1" >/tmp/t/answer 2>&1 || true
		mv /tmp/t/answer /tmp/t/answered
	) &
}

# A server is stopped before it begins, and traced from there on: only it calls
# sendto, to tell that it has left the keeper's descriptors (keeper/spawn.c). $1 is
# the keeper; it is not stopped by then.
trace_next_server()
{
	kill -CONT "$1"
	wait_for 20 'grep -q -e "--- SIGSTOP" /tmp/t/strace' ||
		fail "$CASE: no next server: $(cat /tmp/t/strace)"
	untrace
	VICTIM=$(server_pid)
	shift
	trace "$VICTIM" "$@"
	kill -CONT "$VICTIM"
}

STOP_CHILD="-f -e trace=sendto -e inject=sendto:signal=SIGSTOP"

# A driver without update-size reads the partition table inside START. Is the
# server killed then, and the device one that waits for the next server, START
# holds what the driver needs to give up the read: neither ends until a reboot.
prepare_add()
{
	world
	! is_old_driver || RECOVERY=recovery=no
}
begin_add()
{
	trace_victim "$@"
	ask_beside "add ram id=5 size=4M queues=2 keep=yes $RECOVERY"
}

prepare_del()
{
	world
	make 5 keep=yes
	user 5
}
begin_del()
{
	trace_victim "$@"
	ask_beside "del id=5 force=yes"
}

prepare_shutdown() { world; }
begin_shutdown()
{
	trace_victim "$@"
	ask_beside "shutdown force=yes"
}

prepare_term() { world; }
begin_term()
{
	trace_victim "$@"
	kill -TERM "$KEEPER" || true # it may be dead already
}

# The server is killed, and another one takes over.
prepare_recover()
{
	world
	sleep 1.1
}
begin_recover()
{
	server=$(server_pid)
	if [ "$1" = keeper ]; then
		trace_victim "$@"
		kill -9 "$server"
	else
		shift
		# shellcheck disable=SC2086 # words
		trace "$KEEPER" $STOP_CHILD
		kill -9 "$server"
		trace_next_server "$KEEPER" "$@"
	fi
}

# Both were killed, and the next ublkd starts.
prepare_start()
{
	world
	kill -9 "$KEEPER" "$(server_pid)"
	forget_ublkd
}
begin_start() { begin_stopped "$@"; }

# The keeper was killed, and the next one takes over from the server.
prepare_takeover()
{
	world
	kill -9 "$KEEPER"
	forget_ublkd
}
begin_takeover() { begin_stopped "$@"; }

# begin_stopped WHO ARG...: as start_ublkd does, but traced from the beginning.
begin_stopped()
{
	rm -f /tmp/t/pid /tmp/t/status
	(
		status=0
		sh -c 'echo $$ >/tmp/t/pid; kill -STOP $$; exec ublkd "$@"' \
			ublkd --foreground --socket "$SOCK" </dev/null \
			>>"$LOG" 2>&1 || status=$?
		echo $status >/tmp/t/status
	) &
	wait_for 10 'grep -q ") T " "/proc/$(cat /tmp/t/pid)/stat"' 2>/dev/null ||
		fail "it does not start"
	KEEPER=$(cat /tmp/t/pid)
	if [ "$1" = keeper ]; then
		trace_victim "$@"
		kill -CONT "$KEEPER"
	else
		shift
		# shellcheck disable=SC2086 # words
		trace "$KEEPER" $STOP_CHILD
		trace_next_server "$KEEPER" "$@"
	fi
}

# is_over PHASE: nothing more is to come of it.
is_over()
{
	case $1 in
	add | del) [ -e /tmp/t/answered ] ;;
	shutdown | term) [ -e /tmp/t/status ] ;;
	*) [ -e /tmp/t/status ] || { ublkd_answers && all_is_well; } ;;
	esac
}

# ---- afterwards

# ids FILE...: the numbers in the names of those that there are, sorted.
ids()
{
	for name; do
		[ ! -e "$name" ] || echo "${name##*/}"
	done | tr -cd '0-9\n' | sort
}

# all_is_well: what is listed is live, and there is nothing else anywhere (the
# state folder has the recorder's file "sight" beside the devices'). Sets $WHY if
# not, and $LISTED.
all_is_well()
{
	ask list >/tmp/t/list 2>/dev/null || true
	WHY="'list' answers $(cat /tmp/t/list)"
	tail -n 1 /tmp/t/list | grep -q '^OK' || return 1
	! grep '^dev ' /tmp/t/list | grep -v ' state=live ' >/dev/null ||
		return 1
	LISTED=$(sed -n 's/^dev id=\([0-9]*\) .*/\1/p' /tmp/t/list | sort)
	for kind in /dev/ublkc /dev/ublkb /sys/class/ublk-char/ublkc; do
		there=$(ids "$kind"*)
		WHY="listed: $LISTED; $kind has $there"
		[ "$there" = "$LISTED" ] || return 1
	done
	WHY="listed: $LISTED; in $STATE: $(ls -A $STATE)"
	[ "$(ids $STATE/*.dev)" = "$LISTED" ] || return 1
	[ "$(find $STATE -type f ! -name sight | wc -l)" = \
		"$(ids $STATE/*.dev | wc -w)" ] || return 1
	WHY="listed: $LISTED; in /dev/shm: $(ls -A /dev/shm)"
	[ "$(find /dev/shm -type f | wc -l)" = \
		"$(echo "$LISTED" | grep -c '^[156]$')" ]
}

# has_to_end PHASE: the keeper knows that it is to end. A server that dies before
# it has told takes its client's "shutdown" along.
has_to_end()
{
	case $1 in
	term) return 0 ;;
	shutdown) ;;
	*) return 1 ;;
	esac
	wait_for $SETTLES '[ -e /tmp/t/status ] || ublkd_answers' ||
		fail "$CASE: no server answers, and it does not end"
	[ -e /tmp/t/status ] || grep -q \
		"ublkd\[$KEEPER\]: notice: shutdown was asked for" "$LOG"
}

# two_again PHASE: a keeper and a server, by what the manual says.
two_again()
{
	! has_to_end "$1" || forget_ublkd # now or by itself
	if [ -n "$KEEPER" ] && ! alive "$KEEPER"; then forget_ublkd; fi
	if [ -n "$KEEPER" ]; then
		wait_for $SETTLES '[ -e /tmp/t/status ] || ublkd_answers' ||
			fail "$CASE: no fresh server answers"
		# Nothing has been taken over: an old server goes on.
		[ ! -e /tmp/t/status ] || forget_ublkd
	fi
	[ -n "$KEEPER" ] || start_ublkd
}

# user_fares ID: it goes on, or has got an error if the disk is gone.
user_fares()
{
	has_user "$1" || return 0
	if is_listed "$1"; then
		! has_ended "$1" ||
			fail "$CASE: $1's user has ended: $(cat "/tmp/t/fio.$1")"
		moves "$1"
		return
	fi
	wait_for 10 "has_ended $1" || {
		dump_state
		fail "$CASE: disk $1 is gone, and its user waits"
	}
}

# disk_fares ID MUST: a disk that must be there is, and whichever is there has
# its data.
disk_fares()
{
	if ! is_listed "$1"; then
		[ "$2" = no ] || fail "$CASE: disk $1 is gone: $(ask list)"
		return 0
	fi
	dd if=/dev/ublkb"$1" of=/tmp/t/back bs=1M count=1 iflag=direct \
		2>/dev/null || fail "$CASE: disk $1 cannot be read"
	cmp -s /tmp/t/data /tmp/t/back || fail "$CASE: disk $1 has other data"
}

# answer_holds PHASE: what a client was told is so.
answer_holds()
{
	case $1 in
	add | del | shutdown) ;;
	*) return 0 ;;
	esac
	wait_for 10 '[ -e /tmp/t/answered ]' || {
		dump_state
		fail "$CASE: the client waits for its answer"
	}
	! grep -q '^OK' /tmp/t/answered || case $1 in
	add) [ -n "$RECOVERY" ] || is_listed 5 ||
		fail "$CASE: what was added is gone" ;;
	del) ! is_listed 5 || fail "$CASE: what was deleted is back" ;;
	esac
}

# the_rest_works: the next add and del.
the_rest_works()
{
	expect_ok "add ram id=6 size=1M keep=yes"
	dd if=/tmp/t/data of=/dev/ublkb6 bs=64k count=1 oflag=direct \
		2>/dev/null || fail "$CASE: a new disk cannot be written"
	expect_ok "del id=6"
}

# survived PHASE WHO CALL: everything that must hold after a kill.
survived()
{
	one=yes two=yes
	case $1 in
	start) two=no ;;
	shutdown | term) one=no two=no ;;
	# The server is dead, and only the keeper has it.
	recover) [ "$2" = server ] || two=no ;;
	esac
	# A driver without update-size cannot give out a disk again of which a
	# server died while it took it over: it is deleted, and its users told.
	case $1 in
	recover | takeover | start) ! is_old_driver || one=no two=no ;;
	esac
	two_again "$1"
	wait_for $SETTLES all_is_well || {
		dump_state
		fail "$CASE: $WHY"
	}
	disk_fares 1 $one
	disk_fares 2 $two
	answer_holds "$1"
	user_fares 1
	user_fares 5
	no_d_state 5
	the_rest_works
}

# ---- one phase

# list_calls PHASE WHO: in one run of it, undisturbed: the name of a system call
# and which of that name it is, a line each.
list_calls()
{
	CASE="$1, nobody is killed"
	"prepare_$1"
	skip=$IO
	[ "$2" = server ] || skip=gettimeofday # whatever comes
	"begin_$1" "$2" -e "trace=!$skip"
	wait_for 30 "is_over $1" || fail "$CASE: it does not end"
	sleep 0.3
	untrace
	# A loaded server's commits, and a look at all of /proc, go on for as
	# long as one likes.
	sed -n 's/^\([a-z0-9_]*\)(.*/\1/p' /tmp/t/strace |
		awk '++n[$1] <= ($1 == "io_uring_enter" ? 12 : 60) {
			print $1, n[$1] }' >/tmp/t/calls
	two_again "$1"
	wait_for $SETTLES all_is_well || fail "$CASE: $WHY"
}

# spread: each line of its input once, so that any number of the first ones are
# spread over all: in the order of their numbers' bits, read backwards, the middle
# one first.
spread()
{
	awk '{ line[NR] = $0 }
		END {
			for (size = 1; size < NR; size *= 2);
			for (i = 1; i <= size; i++) {
				at = 0
				for (bit = 1; bit < size; bit *= 2)
					at = 2 * at + int(i / bit) % 2
				if (at < NR) print line[at + 1]
			}
		}'
}

# choose: all of them, the first one of each name before the others.
choose()
{
	awk '$2 == 1' /tmp/t/calls | spread
	awk '$2 != 1' /tmp/t/calls | spread
}

# kill_at PHASE WHO CALL NUMBER
kill_at()
{
	CASE="$1, the $2 is killed at $3 $4"
	"prepare_$1"
	"begin_$1" "$2" -e "trace=$3" -e "inject=$3:signal=SIGKILL:when=$4"
	expect_kill "$VICTIM"
	wait_for 30 "! alive $VICTIM || is_over $1" ||
		fail "$CASE: nothing happens"
	wait_for 1 "! alive $VICTIM" || true
	untrace
	if grep -q '+++ killed by SIGKILL' /tmp/t/strace; then
		echo "$1 $2" >>/tmp/t/kills
		kills=$((kills + 1))
	else
		echo "$1 $2" >>/tmp/t/missed
	fi
	survived "$1" "$2" "$3"
}

# phase PHASE: with each of the two as the victim
phase()
{
	for who in server keeper; do
		list_calls "$1" $who
		echo "- at $(now) ms, $1: the $who makes" \
			"$(wc -l </tmp/t/calls) calls"
		choose >"/tmp/t/chosen"
		begun=$(now) kills=0
		while read -r name number; do
			[ $(($(now) - begun)) -lt $((SPEND * 1000)) ] || break
			[ $kills != "$SAMPLE" ] || break
			kill_at "$1" $who "$name" "$number"
		done <"/tmp/t/chosen"
		[ $kills != 0 ] || fail "$1: no $who was killed"
		echo "  at $kills of them it was killed"
	done
}

mkdir -p /dev/shm
grep -q ' /dev/shm ' /proc/mounts || mount -t tmpfs shm /dev/shm
dd if=/dev/urandom of=/tmp/t/data bs=1M count=1 2>/dev/null
: >/tmp/t/kills
: >/tmp/t/missed
start_ublkd
learn_driver
for name in $PHASES; do
	phase "$name"
done
echo "$(wc -l </tmp/t/kills) kills in $(sort -u /tmp/t/kills | wc -l) phases" \
	"and processes:"
sort /tmp/t/kills | uniq -c
echo "$(wc -l </tmp/t/missed) times the call was not made again"
stop_ublkd
[ -z "$(ls /dev/shm)" ] || fail "left in /dev/shm: $(ls /dev/shm)"
[ -z "$(ls -A $STATE 2>/dev/null)" ] || fail "left: $(ls -A $STATE)"
