#!/bin/sh
# null at one queue, depth 1, beside kublk: with the recorder and without, which
# kublk has not; and in the plain loop.
#
# needs: binaries fio stopwatch
# wants: binaries kublk ublkd-b
# needs: files tests/bench/lib-bench.sh:/t/lib-bench.sh
# needs: memory 2048
# needs: icount
# time: 1200
. /t/lib-bench.sh

race -r 5 -j 'randread/4k/1 randwrite/4k/1' \
	'kublk null' 'ublkd null' 'ublkd null fill=no' \
	'ublkd --recorder=no null' 'ublkd --recorder=no --hot=no null'
