#!/bin/sh
# The configuration file: its devices are there when the daemon is ready; a
# mistake names file and line, and ends it with nothing left.
#
# size: quick
# kernels: 6.12
. /t/lib.sh

cat >/tmp/t/good <<'EOF'
# two disks

add ram id=3 size=16M name=fast   # with a comment
add null id=4 size=1T
EOF
start_ublkd --config /tmp/t/good
expect_ok list
[ "$(echo "$REPLY" | grep -c 'state=live')" = 2 ] || fail "$REPLY"
stop_ublkd

cat >/tmp/t/bad <<'EOF'
add ram id=3 size=16M

add ram id=4 size=16
EOF
if ublkd -f -s "$SOCK" -c /tmp/t/bad 2>/tmp/t/err; then
	fail "it runs in spite of a mistake"
fi
grep -q '/tmp/t/bad:3: .*size=16 ' /tmp/t/err || fail "$(cat /tmp/t/err)"
no_devices
[ ! -e "$SOCK" ] || fail "left its socket"
if ublkd -f -s "$SOCK" -c /tmp/t/none 2>/tmp/t/err; then
	fail "it runs without its file"
fi
grep -q '/tmp/t/none' /tmp/t/err || fail "$(cat /tmp/t/err)"

# As a daemon: the command returns when it is ready, or says why not.
if ublkd -s "$SOCK" -c /tmp/t/bad 2>/tmp/t/err; then
	fail "it runs in spite of a mistake"
fi
grep -q '/tmp/t/bad:3: .*size=16 ' /tmp/t/err || fail "$(cat /tmp/t/err)"
ublkd -s "$SOCK" -c /tmp/t/good
expect_ok list
[ "$(echo "$REPLY" | grep -c 'state=live')" = 2 ] || fail "$REPLY"
if ublkd -f -s "$SOCK" 2>/tmp/t/err; then
	fail "two on one socket"
fi
grep -q 'another ublkd is running' /tmp/t/err || fail "$(cat /tmp/t/err)"
expect_ok shutdown
wait_for 10 '! pidof ublkd >/dev/null' || fail "it does not end"
no_devices
