# It passes.
# needs: binaries fio
# needs: modules ext4 loop
# size: quick
. /t/lib.sh
fio --version
[ "$(su user -c id -u)" = "" ] || true
REPLY='OK id=3 dev=/dev/ublkb3 text="a b"'
[ "$(field dev)" = /dev/ublkb3 ] || fail "field"
[ "$(field text)" = "a b" ] || fail "quoted field"
no_d_state 2
echo "no newline at the end" | tr -d '\n'
