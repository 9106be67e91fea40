# How many requests of a load are slow, for tests that compare that with and without
# something else going on. A guest that counts instructions (# needs: icount) knows
# nothing of how busy its host is. A test that uses this has
#
#   # needs: binaries fio jq
#   # needs: files tests/vm/lib-slow.sh:/t/lib-slow.sh
#
# shellcheck shell=sh

SLOW=10000000 # ns

# load FILE SECONDS DISK...: 500 requests a second for each; FILE is what fio tells,
# which runs as nice as $NICE.
load()
{
	result=$1 time=$2
	shift 2
	for disk; do
		set -- "$@" "--name=$disk" "--filename=/dev/$disk"
		shift
	done
	fio --nice="${NICE:-0}" --rw=randrw --bs=4k --direct=1 --ioengine=libaio --iodepth=4 \
		--rate_iops=250,250 --time_based --runtime="$time" \
		--output-format=json+ --output="$result" "$@" >/tmp/t/fio.log 2>&1 ||
		fail "$(cat /tmp/t/fio.log "$result")"
}

# slow FILE: how many requests took longer than SLOW
slow()
{
	jq "[.jobs[] | .read, .write | .clat_ns.bins // {} | to_entries[] |
		select((.key | tonumber) > $SLOW) | .value] | add // 0" <"$1"
}

# tell FILE: what a person wants to know of it; of several disks the worst
tell()
{
	jq -r '[.jobs[] | .read, .write] |
		"\(map(.total_ios) | add) requests, p99 " +
		"\(map(.clat_ns.percentile["99.000000"]) | max / 1000) us, longest " +
		"\(map(.clat_ns.max) | max / 1000) us"' <"$1"
}
