#!/bin/sh
# wakeups.sh for 10 minutes.
#
# needs: binaries fio stall-sampler
# needs: files tests/vm/lib-sampler.sh:/t/lib-sampler.sh
# needs: files tests/vm/lib-wakeups.sh:/t/lib-wakeups.sh
# needs: cpus 4
# size: long:hot
# time: 1200
. /t/lib.sh
# shellcheck source=tests/vm/lib-wakeups.sh
. /t/lib-wakeups.sh

wakeups 600
