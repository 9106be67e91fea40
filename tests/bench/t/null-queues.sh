#!/bin/sh
# 4 queues of one device on 4 CPUs, by time and not by instructions.
#
# needs: binaries fio stopwatch
# wants: binaries kublk ublkd-b
# needs: files tests/bench/lib-bench.sh:/t/lib-bench.sh
# needs: memory 2048
# needs: cpus 4
# time: 300
. /t/lib-bench.sh

race -q 4 -j 'randread/4k/64/4' \
	'kublk null' 'ublkd null' 'ublkd null fill=no'
