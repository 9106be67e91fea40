#!/bin/sh
# idle, for longer in each place than the minute after which libev looks by
# itself, if it is let.
#
# needs: binaries fio
# needs: files tests/vm/t/idle.sh:/t/tests/idle.sh
# time: 400
# size: long:ram
export LASTS=65
# shellcheck source=tests/vm/t/idle.sh
. /t/tests/idle.sh
