#!/bin/sh
# null with large requests in sequence, and with 4 jobs.
#
# needs: binaries fio stopwatch
# wants: binaries kublk ublkd-b
# needs: files tests/bench/lib-bench.sh:/t/lib-bench.sh
# needs: memory 2048
# needs: icount
# needs: modules null_blk
# time: 900
. /t/lib-bench.sh

race -j 'read/128k/8 write/128k/8 randread/4k/32/4 randwrite/4k/32/4' \
	'kublk null' 'ublkd null' 'ublkd null fill=no' null_blk
