#!/bin/sh
# pressure, for a minute.
#
# needs: binaries mkfs.ext4 e2fsck
# needs: modules ext4
# needs: files tests/vm/t/pressure.sh:/t/tests/pressure.sh
# needs: memory 640
# time: 600
# size: long:survive
export LASTS=60
# shellcheck source=tests/vm/t/pressure.sh
. /t/tests/pressure.sh
