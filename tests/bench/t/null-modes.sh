#!/bin/sh
# null in every mode of both, and null_blk, the limit of any.
#
# needs: binaries fio stopwatch
# wants: binaries kublk ublkd-b
# needs: files tests/bench/lib-bench.sh:/t/lib-bench.sh
# needs: memory 2048
# needs: icount
# needs: modules null_blk
# time: 1800
. /t/lib-bench.sh

race -j 'randread/4k/1 randread/4k/32 randread/4k/128' \
	'kublk null' 'kublk --user_copy null' 'kublk --get_data null' \
	'kublk --zero_copy null' 'kublk --auto_zc null' 'kublk --batch null' \
	'kublk --batch --auto_zc null' 'ublkd null' 'ublkd null fill=no' \
	'ublkd null batch=yes' 'ublkd null fill=no batch=yes' \
	'ublkd --hot=no null' null_blk
