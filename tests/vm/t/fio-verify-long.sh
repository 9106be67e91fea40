#!/bin/sh
# fio-verify with many rounds.
#
# needs: binaries fio
# needs: cpus 4
# needs: files tests/vm/t/fio-verify.sh:/t/tests/fio-verify.sh
# time: 3600
# size: long:ram
export ROUNDS=4
# shellcheck source=tests/vm/t/fio-verify.sh
. /t/tests/fio-verify.sh
