#!/bin/sh
# One device: how long until it can be used, and the memory.
#
# needs: binaries fio stopwatch
# wants: binaries kublk ublkd-b
# needs: files tests/bench/lib-bench.sh:/t/lib-bench.sh
# needs: memory 2048
# needs: icount
# time: 300
. /t/lib-bench.sh

race 'kublk null' 'ublkd null' 'ublkd ram'
