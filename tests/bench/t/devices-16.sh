#!/bin/sh
# 16 devices added at once: the time and the memory.
#
# needs: binaries fio stopwatch
# wants: binaries kublk ublkd-b
# needs: files tests/bench/lib-bench.sh:/t/lib-bench.sh
# needs: memory 2048
# needs: icount
# time: 600
. /t/lib-bench.sh

race -j 'randread/4k/16' \
	'16x kublk null' '16x ublkd null' '16x ublkd ram size=4M'
