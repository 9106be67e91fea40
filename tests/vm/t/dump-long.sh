#!/bin/sh
# dump with 300 devices.
#
# needs: files tests/vm/t/dump.sh:/t/tests/dump.sh
# needs: memory 2048
# time: 900
# size: long:admin
export COUNT=300
# shellcheck source=tests/vm/t/dump.sh
. /t/tests/dump.sh
