#!/bin/sh
# recover, with a hundred kills.
#
# needs: binaries fio mkfs.ext4 e2fsck kill-probe
# needs: modules ext4
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# needs: memory 1536
# needs: files tests/vm/t/recover.sh:/t/tests/recover.sh
# time: 1200
# size: long:survive
export KILLS_FIO=35 KILLS_TAGS=15 KILLS_MOUNTED=20 KILLS_NULL=10 KILLS_LAYERS=10
# shellcheck source=tests/vm/t/recover.sh
. /t/tests/recover.sh
