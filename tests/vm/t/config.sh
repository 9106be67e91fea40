#!/bin/sh
# The configuration file: its devices are there when the daemon is ready; a
# mistake names file, line and column, and ends it with nothing left, or ends
# nothing; files that it includes; what --check-config and check say of it.
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
grep -q '/tmp/t/bad:3:14: .*size=16 ' /tmp/t/err || fail "$(cat /tmp/t/err)"
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
grep -q '/tmp/t/bad:3:14: .*size=16 ' /tmp/t/err || fail "$(cat /tmp/t/err)"
ublkd -s "$SOCK" -c /tmp/t/good
expect_ok list
[ "$(echo "$REPLY" | grep -c 'state=live')" = 2 ] || fail "$REPLY"
# Nobody is at /dev/log.
dmesg | grep -q "ublkd\[[0-9]*\]: ready on $SOCK" ||
	fail "the kernel's log has nothing of it"
if ublkd -f -s "$SOCK" 2>/tmp/t/err; then
	fail "two on one socket"
fi
grep -q 'another ublkd is running' /tmp/t/err || fail "$(cat /tmp/t/err)"
expect_ok shutdown
wait_for 10 '! pidof ublkd >/dev/null' || fail "it does not end"
no_devices

# Nothing is done, and every mistake told.
mkdir /tmp/t/d
echo "add null id=5 size=1M" >/tmp/t/d/a.conf
echo "add null id=5 size=1000" >/tmp/t/d/b.conf
cat >/tmp/t/many <<'EOF'
add null id=3
include d/*.conf
frobnicate
EOF
ublkd --check-config /tmp/t/good || fail "what is wrong with it?"
if ublkd --check-config /tmp/t/many 2>/tmp/t/err; then
	fail "it finds no mistake"
fi
cat >/tmp/t/expected <<'EOF'
/tmp/t/d/b.conf:1:15: size=1000 is not a multiple of the block size of 512 bytes
/tmp/t/many:3:1: there is no such command; 'help' lists them: "frobnicate"
EOF
diff /tmp/t/expected /tmp/t/err || fail "other mistakes"
no_devices

start_ublkd --config /tmp/t/many --keep-going
expect_ok list
[ "$(echo "$REPLY" | grep -c 'state=live')" = 2 ] || fail "$REPLY"
grep -q '/tmp/t/many:3:1: ' "$LOG" || fail "it does not say where"
expect_err arg check
[ "$(echo "$REPLY" | grep -c '^mistake ')" = 2 ] || fail "$REPLY"
echo "$REPLY" | grep -q 'line=1 column=15 word="size=1000" ' || fail "$REPLY"
rm /tmp/t/d/b.conf
sed -i '/frob/d' /tmp/t/many
expect_ok check
# The program before an upgrade has told the next one where it is.
upgraded
expect_ok check

# What there is becomes the file, with the mode that it had.
expect_ok "add ram size=1M name=new"
expect_err state save
chmod 640 /tmp/t/many
expect_ok "save flat=yes"
[ "$(stat -c %a:%u /tmp/t/many)" = 640:0 ] || fail "$(ls -l /tmp/t/many)"
grep -q '^include' /tmp/t/many.old || fail "what it was is gone"
ask dump | grep '^add' >/tmp/t/dump
grep '^add' /tmp/t/many | diff - /tmp/t/dump || fail "this is no dump"
stop_ublkd
start_ublkd --config /tmp/t/many
ask dump | grep '^add' | diff - /tmp/t/dump || fail "this is another dump"
mv /tmp/t/many /tmp/t/away
expect_err notfound check
stop_ublkd
no_devices
