#!/bin/sh
# A file on ext4 past the page cache, beside kublk, which always does that.
#
# needs: binaries fio stopwatch
# wants: binaries kublk ublkd-b
# needs: files tests/bench/lib-bench.sh:/t/lib-bench.sh
# needs: memory 2048
# needs: icount
# needs: modules loop null_blk ext4
# needs: binaries losetup mkfs.ext4
# time: 1500
. /t/lib-bench.sh

race -r 5 -j 'randread/4k/1 randread/4k/32 randwrite/4k/1 randwrite/4k/32 read/128k/8' \
	'kublk --auto_zc loop @ext4' \
	'kublk loop @ext4' \
	'loop --direct-io=on @ext4' \
	'ublkd file path=@ext4 direct=yes'
