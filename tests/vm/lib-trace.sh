# For the tests of ublk-trace. $handed is the step by which the server gets a
# request.
#
# shellcheck shell=sh
# shellcheck disable=SC2034 # used by the tests

TRACING=/sys/kernel/tracing

# trace ARGUMENT...: what ublk-trace prints, and its status
trace()
{
	STATUS=0
	sh /t/ublk-trace "$@" >/tmp/t/trace 2>&1 </dev/null || STATUS=$?
	cat /tmp/t/trace
	[ "$1" = -n ] || ! grep '^.\{81\}' /tmp/t/trace ||
		fail "a line of ublk-trace is too long"
}

# left: what there is of traces
left()
{
	cat $TRACING/kprobe_events
	ls $TRACING/instances
}

# says REGEX: of a line, or one that is folded
says()
{
	sed -e ':again' -e '$!N' -e 's/\n#   / /' -e 't again' -e P -e D \
		/tmp/t/trace | grep -q "$1" || fail "ublk-trace does not say: $1"
}

# status NUMBER
status()
{
	[ "$STATUS" = "$1" ] || fail "exit status $STATUS, not $1"
}

# timeline: without what dd prints
timeline()
{
	grep '^ *[0-9]*\.[0-9]\{6\} ' /tmp/t/trace
}

# steps: of the request in the kernel, in their order, in one line
steps()
{
	timeline | awk '$2 != "ublkd" { print $3 }' | tr '\n' ' '
}

# way DEVICE READ WRITE: one read and one write of dd, which go these ways
way()
{
	trace -d "$1" -- dd if="/dev/ublkb$1" of=/dev/null bs=4096 count=1 \
		skip=3 iflag=direct
	status 0
	says "queue .*read 4096 at 12288$"
	says "commit .*result=4096$"
	says "block layer: 1; begun by the driver: 1;"
	says "delivered to .*: 1; committed: 1; done: 1$"
	[ "$(steps)" = "$2 " ] || fail "a read's way: $(steps)"
	trace -d "/dev/ublkb$1" -- dd if=/dev/zero of="/dev/ublkb$1" bs=4096 \
		count=1 seek=5 oflag=direct
	status 0
	says "queue .*write 4096 at 20480$"
	[ "$(steps)" = "$3 " ] || fail "a write's way: $(steps)"
}

case $(uname -r) in
6.12.*) handed=deliver ;;
*) handed=dispatch ;;
esac
