#!/bin/sh
# RAM disks beside null of the same server, and brd, the limit of any.
#
# needs: binaries fio stopwatch
# wants: binaries kublk ublkd-b
# needs: files tests/bench/lib-bench.sh:/t/lib-bench.sh
# needs: memory 2048
# needs: icount
# needs: modules brd
# time: 900
. /t/lib-bench.sh

race -j 'randread/4k/32 randwrite/4k/32 randread/4k/1 randwrite/4k/1' \
	'ublkd null' 'ublkd ram' brd
