#!/bin/sh
# Memory through nbd-client and nbdkit, beside a RAM disk.
#
# needs: binaries fio stopwatch
# wants: binaries kublk ublkd-b
# needs: files tests/bench/lib-bench.sh:/t/lib-bench.sh
# needs: memory 2048
# needs: icount
# needs: modules nbd
# wants: binaries nbdkit nbd-client
# wants: files /usr/lib/x86_64-linux-gnu/nbdkit/plugins/nbdkit-memory-plugin.so
# time: 600
. /t/lib-bench.sh

race -j 'randread/4k/1 randread/4k/32 randwrite/4k/32 read/128k/8' \
	nbd 'ublkd ram'
