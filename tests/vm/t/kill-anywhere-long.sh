#!/bin/sh
# kill-anywhere, at as many system calls as there is time for: 14 times a minute
# and a half. The first call of each name comes first.
#
# A server that is killed during an add fails the kernel's look for partitions:
# expect-kernel: Buffer I/O error on dev(ice)? ublkb5,
# needs: binaries fio strace
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# needs: files tests/vm/t/kill-anywhere.sh:/t/tests/kill-anywhere.sh
# time: 2400
# size: long:survive
export SAMPLE=all SPEND=90 PHASES="add del recover takeover start term shutdown"
# shellcheck source=tests/vm/t/kill-anywhere.sh
. /t/tests/kill-anywhere.sh
