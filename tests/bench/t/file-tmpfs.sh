#!/bin/sh
# A file on tmpfs, beside the kernel's loop and kublk's.
#
# needs: binaries fio stopwatch
# wants: binaries kublk ublkd-b
# needs: files tests/bench/lib-bench.sh:/t/lib-bench.sh
# needs: memory 2048
# needs: icount
# needs: modules loop
# time: 900
. /t/lib-bench.sh

race -j 'randread/4k/1 randread/4k/32 randwrite/4k/32 read/128k/8' \
	'loop @tmpfs' 'kublk loop @tmpfs' 'kublk --auto_zc loop @tmpfs' \
	'kublk --batch loop @tmpfs' 'ublkd file path=@tmpfs'
