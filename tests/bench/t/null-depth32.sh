#!/bin/sh
# null at one queue, depth 32, beside kublk.
#
# needs: binaries fio stopwatch
# wants: binaries kublk ublkd-b
# needs: files tests/bench/lib-bench.sh:/t/lib-bench.sh
# needs: memory 2048
# needs: icount
# time: 900
. /t/lib-bench.sh

race -j 'randread/4k/32 randwrite/4k/32' \
	'kublk null' 'kublk --batch null' 'ublkd null' 'ublkd null fill=no' \
	'ublkd null fill=no batch=yes'
