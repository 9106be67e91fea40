#!/bin/sh
# restarts, a hundred times.
#
# needs: binaries fio
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# needs: files tests/vm/t/restarts.sh:/t/tests/restarts.sh
# time: 1800
# size: long:survive
export KILLS=100 CHANGES=30 SPEED=
# shellcheck source=tests/vm/t/restarts.sh
. /t/tests/restarts.sh
