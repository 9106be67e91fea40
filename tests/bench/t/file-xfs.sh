#!/bin/sh
# A file on xfs through the page cache, beside loop.
#
# needs: binaries fio stopwatch
# wants: binaries kublk ublkd-b
# needs: files tests/bench/lib-bench.sh:/t/lib-bench.sh
# needs: memory 2048
# needs: icount
# needs: modules loop null_blk xfs
# needs: binaries losetup mkfs.xfs
# time: 1500
. /t/lib-bench.sh

race -r 5 -j 'randread/4k/1 randread/4k/32 randwrite/4k/1 randwrite/4k/32 read/128k/8' \
	'loop @xfs' \
	'kublk --auto_zc loop @xfs' \
	'ublkd file path=@xfs'
