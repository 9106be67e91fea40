#!/bin/sh
# Memory of nbdkit through the kernel's nbd and ublkd's, by one socket.
#
# needs: binaries fio stopwatch
# wants: binaries kublk ublkd-b
# needs: files tests/bench/lib-bench.sh:/t/lib-bench.sh
# needs: memory 2048
# needs: icount
# needs: modules nbd
# wants: binaries nbdkit nbd-client
# wants: files /usr/lib/x86_64-linux-gnu/libnbd.so.0:/nbd/libnbd.so.0
# wants: files /usr/lib/x86_64-linux-gnu/nbdkit/plugins/nbdkit-memory-plugin.so
# time: 600
. /t/lib-bench.sh

race -j 'randread/4k/1 randread/4k/32 randwrite/4k/32 read/128k/8' \
	nbd 'ublkd nbd uri=@nbdkit' 'ublkd nbd uri=@nbdkit connections=4' \
	'ublkd ram'
