#!/bin/sh
# takeover, with more of each: 10 kills of the keeper and of both processes, 50
# restarts, and 20 upgrades between two builds.
#
# needs: binaries fio ublkd-other
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# needs: files tests/vm/t/takeover.sh:/t/tests/takeover.sh
# needs: memory 1536
# time: 1200
# size: long:survive
export ROUNDS=10 RESTARTS=50 UPGRADES=20
# shellcheck source=tests/vm/t/takeover.sh
. /t/tests/takeover.sh
