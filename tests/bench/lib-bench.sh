# Comparing servers. A comparison calls "race [OPTION]... SERVER...":
#
#   -j JOBS     what is run on each ('randread/4k/1')
#   -q QUEUES   of each device (1)
#   -r ROUNDS   at least so many, of what does not repeat
#   -t          devices are added one after the other, not all at once
#
# A server is a word or several:
#
#   ublkd [DAEMON-OPTION]... TARGET [OPTION]...     as "add" takes it
#   other ...                       the same of a second build (UBLKD_OTHER)
#   kublk [OPTION]... TYPE [FILE]   as "kublk add" takes it
#   loop [OPTION]... FILE           what the kernel has, as losetup takes it
#   brd, null_blk, nbd              the same; nbd: of @nbdkit
#
# FILE is @tmpfs, @ext4 or @xfs, a file of its own there; @sparse, one on ext4
# that is all hole before each run; or @disk, a disk of its own. @nbdkit is the URI of
# memory that nbdkit serves, one for all: it is no part of those who ask it. "16x ublkd ..."
# has 16 devices. A job is RW/BLOCK-SIZE/DEPTH[/JOBS][/rate=IOPS], depth and rate being
# those of all devices and jobs together.
#
# The first server is the one that the others are compared with. One that cannot
# be had is left out, which is said. Every figure goes to the log as a line
# "row COMPARISON JOB SERVER ROUND FIGURE NUMBER", between tabs.
#
# shellcheck shell=sh
# shellcheck source=tests/vm/lib.sh
. /t/lib.sh

ROUNDS=${ROUNDS:-3}
MS=${MS:-300}                   # of guest time, a run
jobs='randread/4k/1'
queues=1
size=64M                        # of what has a size
adding=at-once                  # or in-turn
next_id=0
comparison=$(basename "$0" .sh)

# row JOB SERVER ROUND FIGURE NUMBER
row()
{
	printf 'row\t%s\t%s\t%s\t%s\t%s\t%s\n' "$comparison" "$@"
}

# left_out SERVER REASON
left_out()
{
	echo "left out: $1: $2"
	printf 'out\t%s\t%s\t%s\n' "$comparison" "$1" "$2"
	return 1
}

# settle: when the kernel has booted it still tests its ciphers for seconds.
settle()
{
	wait_for 60 '! grep -qs cryptomgr_test /proc/[0-9]*/comm' ||
		fail "the kernel does not come to rest"
}

# ---- servers. Each has a folder: name, disks, pids, kernel (it works there)

# file_on PLACE NUMBER: a file or disk of $size, with every block there unless it
# is @sparse; prints its name.
file_on()
{
	[ "$1" != @nbdkit ] || { nbdkit_uri; return; }
	case $1 in
	@tmpfs | @ext4 | @xfs) place=/tmp/t/${1#@} ;;
	@sparse) place=/tmp/t/ext4 ;;
	@disk) place=/dev ;;
	*) fail "no place '$1'" ;;
	esac
	[ "$place" = /dev ] || mounted "$place" ||
		mount_"${place##*/}" "$place" >&2
	name=$place/$2
	if [ "$1" = @disk ]; then
		name=$(null_disk "disk$2" "${size%M}")
	fi
	if [ "$1" = @sparse ]; then
		rm -f "$name"
		truncate -s "$size" "$name"
		echo "$name" >"$here/sparse"
	else
		dd if=/dev/zero of="$name" bs=1M count="${size%M}" 2>/dev/null
		sync
	fi
	echo "$name"
}

# nbdkit_uri: it runs from the first time on.
nbdkit_uri()
{
	[ -S /tmp/t/nbdkit ] ||
		nbdkit -f -U /tmp/t/nbdkit memory "$size" \
			>/tmp/t/nbdkit.log 2>&1 </dev/null &
	wait_for 20 '[ -S /tmp/t/nbdkit ]' ||
		fail "nbdkit: $(cat /tmp/t/nbdkit.log)"
	echo 'nbd+unix:///?socket=/tmp/t/nbdkit'
}

mounted()
{
	grep -q " $1 " /proc/mounts
}

mount_tmpfs()
{
	mkdir "$1"
	mount -t tmpfs -o size=1G tmpfs "$1"
}

mount_ext4()
{
	disk=$(null_disk ext4 1024)
	mkdir "$1"
	mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$disk"
	mount -t ext4 "$disk" "$1"
}

mount_xfs()
{
	disk=$(null_disk xfs 1024)
	mkdir "$1"
	mkfs.xfs -q "$disk"
	mount -t xfs "$disk" "$1"
}

# null_disk NAME MIB: a null_blk that remembers, so that it costs little to store;
# prints its node. Its name is the folder's; once it was a number.
null_disk()
{
	disk=/sys/kernel/config/nullb/$1
	mounted /sys/kernel/config ||
		mount -t configfs configfs /sys/kernel/config
	if [ ! -d "$disk" ]; then
		mkdir "$disk"
		echo 1 >"$disk/memory_backed"
		echo "$2" >"$disk/size"
		echo 1 >"$disk/power"
	fi
	[ ! -b "/dev/$1" ] || { echo "/dev/$1"; return; }
	echo "/dev/nullb$(cat "$disk/index")"
}

# start_server NUMBER SERVER: its folder is /tmp/t/s.NUMBER; 1: left out
start_server()
{
	here=/tmp/t/s.$1
	mkdir "$here"
	: >"$here/disks"
	: >"$here/pids"
	echo "$2" >"$here/name"
	# shellcheck disable=SC2086 # words
	set -- $2
	devices=1
	case $1 in
	[0-9]*x)
		devices=${1%x}
		shift
		;;
	esac
	kind=$1
	shift
	case $kind in
	ublkd) start_ublkd_as ublkd "$@" ;;
	other) start_ublkd_as ublkd-b "$@" ;;
	*) "start_$kind" "$@" ;;
	esac
}

# expand WORD...: with a file for @tmpfs and the others; sets $expanded.
expand()
{
	expanded=''
	for word; do
		case $word in
		*@*) word=${word%%@*}$(file_on "@${word#*@}" "${here##*.}") ;;
		esac
		expanded="$expanded $word"
	done
}

# start_ublkd_as PROGRAM [DAEMON-OPTION]... TARGET [OPTION]...
start_ublkd_as()
{
	program=$1 options=''
	shift
	while [ "${1#--}" != "$1" ]; do
		options="$options $1"
		shift
	done
	# shellcheck disable=SC2086 # words
	LD_LIBRARY_PATH=/nbd "$program" --foreground --socket "$here/sock" $options \
		>"$here/log" 2>&1 </dev/null &
	keeper=$!
	wait_for 20 '[ -S "$here/sock" ] || ! alive $keeper'
	alive $keeper || {
		left_out "$(cat "$here/name")" "$(tail -n 1 "$here/log")"
		return
	}
	echo $keeper >"$here/keeper"
	expand "$@"
	case " $expanded " in
	*" ram "*"size="*) ;;
	*" ram "*) expanded="$expanded size=$size" ;;
	esac
	{
		echo $keeper
		children $keeper
	} >"$here/pids"
	add_to_ublkd "$expanded"
}

# add_to_ublkd ARGUMENTS: $devices of them
add_to_ublkd()
{
	at_once=-a
	[ $adding = at-once ] || at_once=''
	last_id=$((next_id + devices - 1))
	# shellcheck disable=SC2046,SC2086 # words; the pattern is for one line
	eval "stopwatch -s $here/sock $at_once $(for id in \
		$(seq $next_id $last_id); do
			echo "'add$1 id=$id queues=$queues depth=128'"
		done | tr '\n' ' ')" >"$here/added" || {
		left_out "$(cat "$here/name")" \
			"$(sed -n 's/^one [0-9]* ERR/ERR/p' "$here/added" | head -n 1)"
		return
	}
	added "$(sed -n 's/^one \([0-9]*\) .*/\1/p' "$here/added" | median)"
}

# added [NS-EACH]: notes disks $next_id to $last_id, and how long it took.
added()
{
	server=$(cat "$here/name")
	for id in $(seq $next_id "$last_id"); do
		echo "ublkb$id" >>"$here/disks"
		[ -b "/dev/ublkb$id" ] || fail "$server has made no /dev/ublkb$id"
	done
	next_id=$((last_id + 1))
	row - "$server" 0 add-all-ms \
		"$(awk '/^all / { printf "%.2f", $2 / 1e6 }' "$here/added")"
	[ $# = 0 ] ||
		row - "$server" 0 add-ms "$(echo "$1" | awk '{ print $1 / 1e6 }')"
}

# median: of the numbers on standard input
median()
{
	sort -n | awk '{ n[NR] = $1 } END { print n[int((NR + 1) / 2)] }'
}

# start_kublk [OPTION]... TYPE [FILE]: it makes a process for each device.
start_kublk()
{
	command -v kublk >/dev/null ||
		{ left_out "$(cat "$here/name")" "no kublk"; return; }
	options=''
	while [ "${1#-}" != "$1" ]; do
		options="$options $1"
		shift
	done
	type=$1
	shift
	expand "$@"
	last_id=$((next_id + devices - 1))
	and='&'
	[ $adding = at-once ] || and=';'
	for id in $(seq $next_id $last_id); do
		echo "kublk add -t $type -n $id -q $queues -d 128 $options" \
			"$expanded $and"
	done >"$here/script"
	echo wait >>"$here/script"
	stopwatch sh "$here/script" >"$here/added" 2>&1 </dev/null ||
		echo "(it has failed)" >>"$here/added"
	sed -n 's/.* daemon pid \([0-9]*\) .*/\1/p' "$here/added" >"$here/pids"
	[ "$(wc -l <"$here/pids")" = "$devices" ] || {
		left_out "$(cat "$here/name")" "$(head -n 1 "$here/added")"
		return
	}
	if [ "$devices" = 1 ]; then
		added "$(sed -n 's/^all //p' "$here/added")"
	else
		added
	fi
}

# in_kernel DISK
in_kernel()
{
	echo "$1" >"$here/disks"
	: >"$here/kernel"
}

# Not busybox's losetup and fallocate, which have fewer options.
start_loop()
{
	expand "$@"
	loop=$(/usr/local/bin/losetup -f)
	# shellcheck disable=SC2086 # words
	/usr/local/bin/losetup "$loop" $expanded
	in_kernel "${loop#/dev/}"
}

start_brd()
{
	modprobe -r brd
	modprobe brd rd_nr=1 rd_size=$((${size%M} * 1024))
	in_kernel ram0
}

start_null_blk()
{
	in_kernel nullb0
}

start_nbd()
{
	for program in nbdkit nbd-client; do
		command -v $program >/dev/null ||
			{ left_out nbd "no $program"; return; }
	done
	nbdkit_uri >/dev/null
	nbd-client -unix /tmp/t/nbdkit /dev/nbd0 -b 512 >>"$here/log" 2>&1 ||
		fail "nbd-client: $(cat "$here/log")"
	in_kernel nbd0
}

# prepare NUMBER: the scheduler is the kernel's choice, or SCHEDULER; what holds
# data has all of its blocks.
prepare()
{
	here=/tmp/t/s.$1
	while read -r disk; do
		scheduler=/sys/block/$disk/queue/scheduler
		[ -z "${SCHEDULER:-}" ] || [ ! -e "$scheduler" ] ||
			echo "$SCHEDULER" >"$scheduler"
		case " $(cat "$here/name") " in
		*' ram '* | *' brd '* | *' nbd '*)
			dd if=/dev/zero of="/dev/$disk" bs=1M count="${size%M}" \
				oflag=direct 2>/dev/null || true
			;;
		esac
	done <"$here/disks"
}

# stop_server NUMBER
stop_server()
{
	here=/tmp/t/s.$1
	[ -d "$here" ] || return 0
	case " $(cat "$here/name") " in
	*' kublk '*)
		sed -n 's/ublkb//p' "$here/disks" | while read -r id; do
			kublk del -n "$id" >/dev/null 2>&1 || true
		done
		;;
	' nbd ') nbd-client -d /dev/nbd0 >/dev/null 2>&1 || true ;;
	*' loop '*) /usr/local/bin/losetup -d "/dev/$(cat "$here/disks")" || true ;;
	esac
	[ ! -e "$here/keeper" ] || kill "$(cat "$here/keeper")" || true
	wait_for 60 '! any_alive' || fail "$(cat "$here/name") does not end"
	rm -rf "$here"
}

any_alive()
{
	while read -r pid; do
		! alive "$pid" || return 0
	done <"$here/pids"
	return 1
}

# ---- figures

# task_files NAME: of all tasks of the server in $here, kernel workers if it
# is one that works there.
task_files()
{
	while read -r pid; do
		echo "/proc/$pid/task/"*"/$1"
	done <"$here/pids"
	[ ! -e "$here/kernel" ] ||
		grep -lsE '^(kworker|loop|nbd)' /proc/[0-9]*/comm |
		sed "s|/proc/\([0-9]*\)/.*|/proc/\1/task/\1/$1|"
}

# snapshot: "TASK CPU-NS VOLUNTARY-SWITCHES" of each task
snapshot()
{
	# shellcheck disable=SC2046 # names
	awk '{ split(FILENAME, part, "/"); task = part[5] }
	FILENAME ~ /schedstat$/ { cpu[task] = $1 }
	/^voluntary_ctxt_switches/ { switches[task] = $2 }
	END { for (task in cpu) print task, cpu[task], switches[task] }' \
		$(task_files schedstat) $(task_files status) 2>/dev/null
}

# used BEFORE AFTER: "CPU-NS SWITCHES"; a task may be new.
used()
{
	awk 'FNR == NR { cpu[$1] = $2; switches[$1] = $3; next }
	{ c += $2 - cpu[$1]; s += $3 - switches[$1] }
	END { printf "%.0f %.0f\n", c, s }' "$1" "$2"
}

# memory: "PSS-KIB RSS-KIB TASKS" of the server in $here
memory()
{
	while read -r pid; do
		cat "/proc/$pid/smaps_rollup"
		echo "Tasks: $(find "/proc/$pid/task" -mindepth 1 -maxdepth 1 |
			wc -l)"
	done <"$here/pids" | awk '/^Pss:/ { p += $2 } /^Rss:/ { r += $2 }
		/^Tasks:/ { t += $2 } END { print p + 0, r + 0, t + 0 }'
}

# memory_rows JOB SERVER idle|loaded
memory_rows()
{
	[ ! -e "$here/kernel" ] || return 0
	# shellcheck disable=SC2046 # numbers
	set -- "$1" "$2" "$3" $(memory)
	row "$1" "$2" 0 "pss-$3" "$4"
	row "$1" "$2" 0 "rss-$3" "$5"
	row "$1" "$2" 0 "tasks-$3" "$6"
}

# ---- jobs

# block_kib JOB
block_kib()
{
	echo "$1" | sed 's|^[^/]*/\([0-9]*\)k/.*|\1|'
}

# job_size DISK: $size, or the disk's own in bytes if that is less
job_size()
{
	own=$(($(cat "/sys/block/$1/size") * 512))
	if [ $own -lt $((${size%M} << 20)) ]; then
		echo $own
	else
		echo "$size"
	fi
}

# write_job JOB MS: for the disks of the server in $here
write_job()
{
	rw=${1%%/*}
	rest=${1#*/}
	rest=${rest#*/}/
	depth=${rest%%/*}
	count=1 rate=''
	for word in $(echo "${rest#*/}" | tr / ' '); do
		case $word in
		rate=*) rate=${word#rate=} ;;
		*) count=$word ;;
		esac
	done
	shares=$((count * $(wc -l <"$here/disks")))
	cat <<-EOF2
		[global]
		ioengine=io_uring
		direct=1
		norandommap
		group_reporting
		time_based
		runtime=${2}ms
		rw=$rw
		bs=$(block_kib "$1")k
		iodepth=$(((depth + shares - 1) / shares))
		numjobs=$count
	EOF2
	[ -z "$rate" ] || echo "rate_iops=$(((rate + shares - 1) / shares))"
	while read -r disk; do
		echo "[$disk]"
		echo "filename=/dev/$disk"
		echo "size=$(job_size "$disk")"
	done <"$here/disks"
}

# job_ms JOB: a slow one needs longer for its figures to mean something.
job_ms()
{
	case $1 in
	*/rate=*)
		long=$((60000 / ${1##*=}))
		[ $long -lt 1000 ] && long=1000
		echo $long
		;;
	*) echo "$MS" ;;
	esac
}

# run_fio JOB MS: prints "IOS MS MEAN-LATENCY-US"
run_fio()
{
	write_job "$1" "$2" >"$here/fio.ini"
	fio --eta=never --output-format=terse --terse-version=3 \
		--output="$here/fio.out" "$here/fio.ini" >"$here/fio.log" 2>&1 ||
		fail "fio: $(cat "$here/fio.log" "$here/fio.out")"
	awk -F ';' -v block="$(block_kib "$1")" '$1 == 3 {
		ms = $9 > $50 ? $9 : $50
		print ($6 + $47) / block, ms, $6 ? $40 : $81
	}' "$here/fio.out"
}

# one_run NUMBER JOB ROUND
one_run()
{
	here=/tmp/t/s.$1
	server=$(cat "$here/name")
	[ ! -e "$here/sparse" ] || {
		/usr/local/bin/fallocate -p -o 0 -l "$size" "$(cat "$here/sparse")"
	}
	sync # what earlier runs have left is not written beside this one
	snapshot >"$here/before"
	figures=$(run_fio "$2" "$(job_ms "$2")")
	snapshot >"$here/after"
	# shellcheck disable=SC2046,SC2086 # numbers
	set -- "$2" "$3" $figures $(used "$here/before" "$here/after")
	[ $# = 7 ] || fail "$server, $1: fio says '$figures'"
	echo "$1: $server: $3 requests in $4 ms, $6 ns of CPU, $7 switches"
	echo "$3 $4 $5 $6 $7 $(block_kib "$1")" | awk '{
		print "iops", $1 / $2 * 1000
		print "mib-s", $1 / $2 * 1000 * $6 / 1024
		print "latency-us", $3
		print "cpu-us", $4 / $1 / 1000
		print "switches", $5 / $1
	}' | while read -r figure number; do
		row "$1" "$server" "$2" "$figure" "$number"
	done
}

# trace_calls on|off: counts every task's system calls.
trace_calls()
{
	trigger=/sys/kernel/tracing/events/raw_syscalls/sys_enter/trigger
	case $1 in
	on) echo 'hist:keys=common_pid:size=4096' >$trigger ;;
	off) echo '!hist:keys=common_pid:size=4096' >$trigger ;;
	esac
}

# calls: how many the tasks of the server in $here have made.
calls()
{
	sed -n 's/^{ common_pid: *\([0-9]*\) } hitcount: *\([0-9]*\).*/\1 \2/p' \
		/sys/kernel/tracing/events/raw_syscalls/sys_enter/hist |
		awk 'FNR == NR { mine[$1]; next } $1 in mine { n += $2 }
		END { print n + 0 }' "$here/after" -
}

# counting_run NUMBER JOB: the system calls, and the memory halfway, which would
# disturb the other figures.
counting_run()
{
	here=/tmp/t/s.$1
	server=$(cat "$here/name")
	[ ! -e "$here/kernel" ] || return 0
	ms=$(job_ms "$2")
	[ "$ms" -gt 1000 ] || ms=100
	(
		sleep "$(echo "$ms" | awk '{ print ($1 / 2 + 150) / 1000 }')"
		memory_rows "$2" "$server" loaded
	) &
	sampler=$!
	trace_calls on
	figures=$(run_fio "$2" "$ms")
	wait $sampler
	snapshot >"$here/after"
	calls=$(calls)
	trace_calls off
	row "$2" "$server" 0 calls \
		"$(echo "$calls $figures" | awk '{ print $1 / $2 }')"
}

# ---- the race

# with_other SERVER...: each of ublkd with its other build behind it
with_other()
{
	for server; do
		echo "$server"
		case $server in
		ublkd\ * | [0-9]*x\ ublkd\ *)
			! command -v ublkd-b >/dev/null ||
				echo "$server" | sed 's/ublkd /other /'
			;;
		esac
	done
}

# run_rounds: one server after the other, again and again, so that what changes
# with time befalls all of them.
run_rounds()
{
	for round in $(seq 1 "$ROUNDS"); do
		for job in $jobs; do
			for number in $numbers; do
				one_run "$number" "$job" "$round"
			done
		done
	done
}

# run_alone NUMBER: what takes memory is shared by servers of one program.
run_alone()
{
	start_server "$1" "$(sed -n "$1p" /tmp/t/servers)" || return 0
	memory_rows - "$(cat "$here/name")" idle
	prepare "$1"
	for job in $jobs; do
		counting_run "$1" "$job"
	done
	stop_server "$1"
}

# race [OPTION]... SERVER...: SERVERS, a line each, and JOBS come from the
# command line of tests/bench/bench.
race()
{
	OPTIND=1
	while getopts j:q:r:t option; do
		case $option in
		j) jobs=$OPTARG ;;
		q) queues=$OPTARG ;;
		r) [ "$ROUNDS" -ge "$OPTARG" ] || ROUNDS=$OPTARG ;;
		t) adding=in-turn ;;
		*) fail "race has no such option" ;;
		esac
	done
	shift $((OPTIND - 1))
	jobs=${JOBS:-$jobs}
	if [ -n "${SERVERS:-}" ]; then
		echo "$SERVERS"
	else
		with_other "$@"
	fi >/tmp/t/servers
	settle
	numbers=''
	number=0
	while read -r server; do
		number=$((number + 1))
		if start_server $number "$server"; then
			numbers="$numbers $number"
		fi
	done </tmp/t/servers
	[ -n "$numbers" ] || fail "there is no server"
	for number in $numbers; do
		prepare "$number"
	done
	run_rounds
	for number in $(seq 1 "$(wc -l </tmp/t/servers)"); do
		stop_server "$number"
	done
	for number in $numbers; do
		run_alone "$number"
	done
	umount /tmp/t/ext4 /tmp/t/xfs /tmp/t/tmpfs 2>/dev/null || true
	no_devices
}
