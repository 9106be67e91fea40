#!/bin/sh
# conversations in each way: all at once, one byte at a time, with carriage returns,
# a thousand commands at once, on a connection that stays open, and by ublkctl.
#
# needs: binaries ublkctl
# needs: files tests/conversations:/t/conversations
# needs: files tests/vm/conversation.awk:/t/conversation.awk
# needs: files tests/vm/t/conversations.sh:/t/tests/conversations.sh
# size: long:admin
# time: 600
export WAYS="at_once by_bytes with_carriage_returns pipelined open by_ublkctl"
# shellcheck source=tests/vm/t/conversations.sh
. /t/tests/conversations.sh
