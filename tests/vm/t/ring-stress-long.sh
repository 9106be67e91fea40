#!/bin/sh
# ring-stress, ten minutes each.
#
# needs: binaries ring-stress
# needs: files tests/vm/t/ring-stress.sh:/t/tests/ring-stress.sh
# needs: cpus 4
# size: long:hot
# time: 1500
export STRESS_SECONDS=600
# shellcheck source=tests/vm/t/ring-stress.sh
. /t/tests/ring-stress.sh
