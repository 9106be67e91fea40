#!/bin/sh
# idle, for most of a minute in each place.
#
# needs: binaries fio
# needs: files tests/vm/t/idle.sh:/t/tests/idle.sh
# time: 400
# size: long:ram
export LASTS=50
# shellcheck source=tests/vm/t/idle.sh
. /t/tests/idle.sh
