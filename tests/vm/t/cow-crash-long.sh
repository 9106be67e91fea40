#!/bin/bash
# crash, of a base and a layer, with fifty kills; what the layer says is read by a
# program of the tests' own after each.
#
# needs: host
# needs: binaries fio mkfs.ext4 e2fsck sync-writer cow-check
# needs: files tests/vm/t/crash.sh
# size: long:network
# time: 3000
export KILLS="${KILLS:-50}" TARGET=cow
exec "$(dirname "$0")/crash.sh" "$@"
