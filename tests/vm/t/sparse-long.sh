#!/bin/sh
# sparse with larger disks, and every command in every mode.
#
# needs: binaries blkdiscard fallocate
# needs: files tests/vm/t/sparse.sh:/t/tests/sparse.sh
# needs: memory 2048
# time: 600
# size: long:ram
export HOLES=1024 FULL=64 EACH=yes NOISE=1024
# shellcheck source=tests/vm/t/sparse.sh
. /t/tests/sparse.sh
