#!/bin/sh
# Times in the statistics are those that fio measures: of a disk that takes 2 ms to
# 6 ms (dm-delay), p50 and p99 of reads and writes are within 10 % of fio's own.
#
# needs: binaries fio dmsetup
# needs: modules brd dm-mod dm-delay
# needs: icount
# size: long:sight
# time: 200
. /t/lib.sh

requires fio dmsetup

# of_fio OP PERCENTILE: us
of_fio()
{
	awk -v op="\"$1\"" -v percentile="\"$2\"" '
	$1 == op { inside = 1 }
	inside && $1 == "\"clat_ns\"" { times = 1 }
	inside && times && $1 == percentile {
		gsub(/,/, "")
		printf "%d\n", $3 / 1000
		exit
	}' /tmp/t/json
}

# of_ublkd OP KEY: us
of_ublkd()
{
	ask "stats 0" | sed -n "s/.* op=$1 .* $2=\([0-9]*\)us .*/\1/p"
}

# near WHAT OURS THEIRS
near()
{
	echo "$1: $2 us, by fio $3 us"
	if [ $(($2 * 100)) -lt $(($3 * 90)) ] || [ $(($2 * 100)) -gt $(($3 * 110)) ]
	then
		fail "$1 is another"
	fi
}

make_ram_disks 1 65536
echo "0 131072 delay /dev/ram0 0 2 /dev/ram0 0 6" |
	dmsetup create --noudevsync slow0
dmsetup mknodes slow0
# shellcheck disable=SC2119 # none are wanted
start_ublkd
expect_ok "add file id=0 path=/dev/mapper/slow0 queues=1"
sleep 2
expect_ok "stats reset"
for depth in 1 8; do
	for op in read write; do
		expect_ok "stats reset"
		fio --name=l --filename=/dev/ublkb0 --rw="rand$op" --bs=4k \
			--direct=1 --ioengine=libaio --iodepth=$depth --size=64M \
			--number_ios=1000 --output-format=json >/tmp/t/json ||
			fail "fio: $(tail -n 5 /tmp/t/json)"
		near "$op, depth $depth, p50" "$(of_ublkd $op p50)" \
			"$(of_fio $op 50.000000)"
		near "$op, depth $depth, p99" "$(of_ublkd $op p99)" \
			"$(of_fio $op 99.000000)"
	done
done
expect_ok "del 0"
dmsetup remove --noudevsync slow0
