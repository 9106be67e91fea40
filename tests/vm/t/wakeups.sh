#!/bin/sh
# No lost wakeup: the stall sampler watches 64 clients with synchronous and
# asynchronous loads of mixed depths, on 4 queues and on 8 devices.
#
# sanitizers: long
# needs: binaries fio stall-sampler
# needs: files tests/vm/lib-sampler.sh:/t/lib-sampler.sh
# needs: files tests/vm/lib-wakeups.sh:/t/lib-wakeups.sh
# needs: cpus 4
# time: 200
. /t/lib.sh
# shellcheck source=tests/vm/lib-wakeups.sh
. /t/lib-wakeups.sh

wakeups 10
