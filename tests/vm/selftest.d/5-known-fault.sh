# A WARNING that the test expects.
# expect-kernel: WARNING: .*planted_and_expected
. /t/lib.sh
echo "WARNING: at planted_and_expected+0x1/0x2" >/dev/kmsg
echo "Call Trace:" >/dev/kmsg
echo "---[ end trace 0 ]---" >/dev/kmsg
