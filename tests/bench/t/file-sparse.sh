#!/bin/sh
# Writes into the holes of a file on ext4.
#
# needs: binaries fio stopwatch
# wants: binaries kublk ublkd-b
# needs: files tests/bench/lib-bench.sh:/t/lib-bench.sh
# needs: memory 2048
# needs: icount
# needs: modules loop null_blk ext4
# needs: binaries losetup mkfs.ext4 fallocate
# time: 1500
. /t/lib-bench.sh

race -r 5 -j 'randwrite/4k/1 randwrite/4k/32' \
	'loop @sparse' \
	'kublk --auto_zc loop @sparse' \
	'ublkd file path=@sparse' \
	'ublkd file path=@sparse direct=yes'
