#!/bin/sh
# wakeups.sh for a minute: the stall sampler watches 64 clients with synchronous
# and asynchronous loads of mixed depths, on 4 queues and on 8 devices.
#
# needs: binaries fio stall-sampler
# needs: files tests/vm/lib-sampler.sh:/t/lib-sampler.sh
# needs: files tests/vm/lib-wakeups.sh:/t/lib-wakeups.sh
# needs: cpus 4
# size: long:ram
# time: 400
. /t/lib.sh
# shellcheck source=tests/vm/lib-wakeups.sh
. /t/lib-wakeups.sh

wakeups 60
