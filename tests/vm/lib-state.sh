# Functions that look at the guest's state; for lib.sh and guest-runner.
# shellcheck shell=sh

EXPECTED=/tmp/t/expected # patterns, see expect_log

# d_tasks: the tasks that are in uninterruptible sleep now: /proc/PID/task/TID.
d_tasks()
{
	grep -l ') D ' /proc/[0-9]*/task/[0-9]*/stat 2>/dev/null |
		sed 's|/stat$||'
}

# lasting_d_tasks SECONDS: those that were in it each time that we looked;
# returns as soon as there are none.
lasting_d_tasks()
{
	newline='
'
	lasting=$(d_tasks)
	looks=$(($1 * 5))
	while [ -n "$lasting" ] && [ $looks -gt 0 ]; do
		sleep 0.2
		now=$(d_tasks)
		lasting=$(for task in $lasting; do
			case "$now$newline" in
			*"$task$newline"*) echo "$task" ;;
			esac
		done)
		looks=$((looks - 1))
	done
	[ -z "$lasting" ] || echo "$lasting"
}

# show_task /proc/PID/task/TID: its name, state and kernel stack.
show_task()
{
	[ -d "$1" ] || return 0
	echo "--- $1 $(sed 's/^[^(]*\(.*) .\).*/\1/' "$1/stat" 2>/dev/null)"
	sed 's/^/    /' "$1/stack" 2>/dev/null
}

# processes FIELD VALUE: those with that value there, counted behind the name
# in /proc/PID/stat (the name may have blanks): 2 parent, 4 session.
processes()
{
	sed -n 's/^\([0-9]*\) (.*) /\1 /p' /proc/[0-9]*/stat 2>/dev/null |
		awk -v field="$1" -v value="$2" '$(field + 1) == value { print $1 }'
}

# children PID
children()
{
	processes 2 "$1"
}

# session_of PID: the processes of the session that it leads or led.
session_of()
{
	processes 4 "$1"
}

# klog: the kernel's log since this test began.
klog()
{
	dmesg | awk '/ublkd-test: begin / { s = "" } { s = s $0 "\n" }
		END { printf "%s", s }'
}

# expect_log PATTERN...: ublkd's log may have such a line (grep -E) of the end of a
# server, because of what the test does.
expect_log()
{
	printf '%s\n' "$@" >>"$EXPECTED"
}

# expect_kill PID...: the test has these processes killed with -9.
expect_kill()
{
	printf 'process %s, was killed by signal 9 \n' "$@" >>"$EXPECTED"
}

# unexpected_ends LOG: what this log of ublkd's has of servers that crashed, ended
# by themselves or hung, and no test has announced.
unexpected_ends()
{
	[ -e "$1" ] || return 0
	# A pattern at least; no line is empty.
	expected=$(echo '^$' && cat "$EXPECTED" 2>/dev/null) || true
	grep -E ', (was killed by signal|exited with status|hangs:) ' "$1" |
		grep -vE "$expected" || true
}

# dump_state: what somebody needs to know who asks why it hangs.
dump_state()
{
	echo "=== processes"
	ps -o pid,ppid,stat,rss,args | awk '!/ \[.*\]$/'
	echo "=== tasks in D state"
	for task in $(d_tasks); do show_task "$task"; done
	echo "=== ublkd"
	for pid in $(pidof ublkd ublkd-server); do
		for task in "/proc/$pid/task"/*; do show_task "$task"; done
	done
	echo "=== requests in flight"
	for disk in /sys/block/ublkb*; do
		[ -d "$disk" ] || continue
		name=${disk##*/}
		echo "$name inflight: $(cat "$disk/inflight")"
		cat "/sys/kernel/debug/block/$name"/hctx*/busy 2>/dev/null | head -n 20
	done
	echo "=== ublkd's log"
	tail -n 30 /tmp/t/ublkd.log 2>/dev/null
	echo "=== kernel log"
	klog | tail -n 100
	echo "==="
}
