#!/bin/sh
# resume, with fifty kills of each kind.
#
# needs: binaries fio kill-probe
# needs: icount
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# needs: files tests/vm/t/resume.sh:/t/tests/resume.sh
# time: 400
# size: long:survive
export KILLS=50
# shellcheck source=tests/vm/t/resume.sh
. /t/tests/resume.sh
