# It comes after all that, and must not see an older test's kernel log.
. /t/lib.sh
klog | grep -q "begin 9-after-all" || fail "klog"
! klog | grep -q planted || fail "klog shows an older test's"
