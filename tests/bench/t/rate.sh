#!/bin/sh
# Few requests a second: what a wake costs.
#
# needs: binaries fio stopwatch
# wants: binaries kublk ublkd-b
# needs: files tests/bench/lib-bench.sh:/t/lib-bench.sh
# needs: memory 2048
# needs: icount
# time: 900
. /t/lib-bench.sh

race -j 'randread/4k/1/rate=10 randread/4k/1/rate=100 randread/4k/1/rate=1000' \
	'ublkd --hot=no null' 'ublkd null' 'kublk null'
