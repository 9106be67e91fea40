#!/bin/sh
# A file on xfs past the page cache, beside kublk, which always does that.
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
	'kublk --auto_zc loop @xfs' \
	'kublk loop @xfs' \
	'loop --direct-io=on @xfs' \
	'ublkd file path=@xfs direct=yes'
