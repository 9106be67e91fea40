#!/bin/sh
# 256 devices, one after the other: the time and the memory.
#
# needs: binaries fio stopwatch
# wants: binaries kublk ublkd-b
# needs: files tests/bench/lib-bench.sh:/t/lib-bench.sh
# needs: memory 6144
# needs: icount
# time: 1800
. /t/lib-bench.sh

race -t -j 'randread/4k/256' \
	'256x kublk null' '256x ublkd null' '256x ublkd ram size=4M'
