#!/bin/sh
# cycles, a thousand times.
#
# needs: files tests/vm/t/cycles.sh:/t/tests/cycles.sh
# time: 1800
# size: long:ram
export CYCLES=1000
# shellcheck source=tests/vm/t/cycles.sh
. /t/tests/cycles.sh
