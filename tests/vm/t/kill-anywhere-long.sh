#!/bin/sh
# kill-anywhere, at every system call.
#
# needs: binaries fio strace
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# needs: files tests/vm/t/kill-anywhere.sh:/t/tests/kill-anywhere.sh
# time: 18000
# size: long:survive
export SAMPLE=all PHASES="add del recover takeover start term shutdown"
# shellcheck source=tests/vm/t/kill-anywhere.sh
. /t/tests/kill-anywhere.sh
