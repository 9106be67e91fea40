#!/bin/bash
# crash, with twenty kills.
#
# needs: host
# needs: binaries fio mkfs.ext4 e2fsck sync-writer
# needs: files tests/vm/t/crash.sh
# size: long:file
# time: 1200
export KILLS=20
exec "$(dirname "$0")/crash.sh" "$@"
