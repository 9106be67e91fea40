#!/bin/sh
# fio-verify with all of the data, four times over.
#
# needs: binaries fio
# needs: cpus 4
# needs: files tests/vm/t/fio-verify.sh:/t/tests/fio-verify.sh
# time: 3600
# size: long:ram
export ROUNDS=4 ALL=yes
# shellcheck source=tests/vm/t/fio-verify.sh
. /t/tests/fio-verify.sh
