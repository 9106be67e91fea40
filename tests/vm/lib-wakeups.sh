# The loads under which no wakeup may be lost; for wakeups.sh and its long
# form. They need what lib-sampler.sh needs, and fio.
#
# shellcheck shell=sh
# shellcheck source=tests/vm/lib-sampler.sh
. /t/lib-sampler.sh

CLIENTS=64

# job NUMBER ENGINE DEPTH DISK: a client, for fio's job file.
job()
{
	echo "[client$1]"
	echo "ioengine=$2"
	echo "iodepth=$3"
	echo "filename=/dev/$4"
}

# A client that sends nothing new before all that it sent has come back, then
# pauses: what a lost wakeup leaves lying is not hidden by what comes after.
in_lock_step()
{
	echo "iodepth_batch=$1"
	echo "iodepth_batch_complete_min=$1"
	echo "thinktime=$2"
	echo "thinktime_blocks=$1"
}

# sync_job NUMBER DISK: half of them pause, so that the server sleeps.
sync_job()
{
	job "$1" psync 1 "$2"
	[ $(($1 % 2)) = 0 ] || echo "thinktime=$(($1 * 500))"
}

# async_job NUMBER DISK: depths 1 to 64, libaio and io_uring.
async_job()
{
	engine=libaio
	[ $(($1 % 2)) = 0 ] || engine=io_uring
	depth=$((1 << $1 / 2 % 7))
	job "$1" $engine $depth "$2"
	[ $(($1 % 4)) -lt 2 ] || in_lock_step $depth $(($1 * 300))
}

# clients KIND SECONDS DISK...: 64 of them, spread over the disks.
clients()
{
	kind=$1 seconds=$2
	shift 2
	{
		for number in $(seq 0 $((CLIENTS - 1))); do
			"${kind}_job" "$number" "$1"
			# The next one gets the next disk.
			set -- "$@" "$1"
			shift
		done
	} >/tmp/t/jobs
	run_jobs "$seconds"
}

# alone SECONDS DISK: one client that fills all of a queue at once: more than
# the server takes in one turn.
alone()
{
	{
		job 0 libaio 128 "$2"
		in_lock_step 128 2000
	} >/tmp/t/jobs
	run_jobs "$1"
}

# run_jobs SECONDS: those in /tmp/t/jobs; they must end, and without an error.
run_jobs()
{
	rm -f /tmp/t/done
	cat >/tmp/t/fio.ini - /tmp/t/jobs <<-EOF2
		[global]
		thread
		rw=randrw
		direct=1
		bs=4k
		norandommap
		time_based
		runtime=$1
		group_reporting
	EOF2
	(
		status=0
		fio --eta=never --output=/tmp/t/fio.log /tmp/t/fio.ini 2>&1 || status=$?
		echo $status >/tmp/t/done
	) &
	wait_for $(($1 + 30)) '[ -e /tmp/t/done ]' || {
		dump_state
		cat /tmp/t/sampler
		fail "the clients hang"
	}
	[ "$(cat /tmp/t/done)" = 0 ] || fail "fio: $(tail /tmp/t/fio.log)"
	grep -E '^ *(read|write):' /tmp/t/fio.log
}

# wakeups SECONDS [ARG...]: all loads, which share the time, on a ublkd with
# these arguments.
wakeups()
{
	each=$(($1 / 5))
	shift
	start_ublkd "$@"
	start_sampler
	expect_ok "add ram id=20 size=64M queues=4"
	[ "$(field queues)" = 4 ] || fail "not 4 queues: $REPLY"
	clients sync $each ublkb20
	clients async $each ublkb20
	expect_ok "add ram id=21 size=64M queues=1 depth=128"
	alone $each ublkb21
	disks=''
	for id in 0 1 2 3 4 5 6 7; do
		expect_ok "add ram id=$id size=16M"
		disks="$disks ublkb$id"
	done
	# shellcheck disable=SC2086 # words
	clients sync $each $disks
	# shellcheck disable=SC2086
	clients async $each $disks
	# 5 looks a second, and fio takes a while to begin.
	stop_sampler
	no_stall $((each * 5 * 3))
}
