#!/bin/sh
# 4 and 16 busy devices on one thread, of one queue each.
#
# needs: binaries fio stopwatch
# wants: binaries kublk ublkd-b
# needs: files tests/bench/lib-bench.sh:/t/lib-bench.sh
# needs: memory 2048
# needs: icount
# time: 900
. /t/lib-bench.sh

race -r 5 -j 'randread/4k/64' \
	'ublkd null' '4x ublkd null' '16x ublkd null' 'kublk null' \
	'4x kublk null' '16x kublk null'
