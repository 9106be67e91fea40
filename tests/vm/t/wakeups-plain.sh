#!/bin/sh
# wakeups.sh for the loop that sleeps in libev only.
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

! sanitized || skip "wakeups.sh is enough for a sanitizer"
wakeups 10 --hot=no
