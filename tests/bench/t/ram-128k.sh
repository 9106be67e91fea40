#!/bin/sh
# RAM disks with large requests, and with each byte moved twice.
#
# needs: binaries fio stopwatch
# wants: binaries kublk ublkd-b
# needs: files tests/bench/lib-bench.sh:/t/lib-bench.sh
# needs: memory 2048
# needs: icount
# needs: modules brd
# time: 900
. /t/lib-bench.sh

race -j 'randread/128k/8 randwrite/128k/8 read/128k/8' \
	'ublkd ram mode=copy' 'ublkd ram' brd
