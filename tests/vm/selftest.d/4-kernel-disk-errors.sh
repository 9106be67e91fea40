# Errors that file systems and the page cache tell: those that are expected.
# expect-kernel: Buffer I/O error on dev planted0
# expect-kernel: EXT4-fs error .device planted0
. /t/lib.sh
echo "Buffer I/O error on dev planted0, logical block 0" >/dev/kmsg
echo "EXT4-fs error (device planted0): planted" >/dev/kmsg
