#!/bin/bash
# The machine is killed again and again while programs write to a file's device
# and sync: after the next boot, all is there that had been acknowledged. The
# file lies in ext4 on the machine's disk, of which the host keeps what the
# machine's kernel has sent there; what was in its memory alone is lost.
#
# needs: host
# needs: binaries fio mkfs.ext4 e2fsck sync-writer cow-check
# needs: files tests/vm/guest-crash
# sanitizers: long
# kernels: 7.x
# time: 240
set -euo pipefail
kernel=$1 work=$2
here=$(dirname "$(readlink -f "$0")")/..

# crash-long asks for more, cow-crash-long for another target.
: "${KILLS:=3}" "${TARGET:=file}"
# Each life has another one of these.
options=("mode=copy" "direct=yes" "mode=user-copy" "mode=need-get-data" ""
	"direct=yes mode=copy" "direct=yes mode=need-get-data")
[ "$TARGET" = file ] ||
	options=("mode=copy" "mode=user-copy" "mode=need-get-data" "")

fail()
{
	echo "FAIL: $*"
	exit 1
}

# begin LIFE NAME=VALUE...: a machine; its lines can be read from $from.
begin()
{
	local name arguments=()
	for name in ublkd fio sync-writer cow-check socat; do
		arguments+=(-b "$(find_binary $name)")
	done
	for name in lib.sh lib-state.sh; do
		arguments+=(-f "$here/$name:/t/$name")
	done
	for name in virtio_pci virtio_blk ext4; do arguments+=(-M "$name"); done
	for name in "LIFE=$1" "TARGET=$TARGET" "${@:2}"; do arguments+=(-e "$name"); done
	rm -f "$work/pid"
	exec {from}< <(exec "$here/vm" -k "$kernel" -t 600 -L "$work/serial" \
		-q -pidfile -q "$work/pid" -q -drive \
		-q "if=none,id=disk,format=raw,file=$work/disk" \
		-q -device -q virtio-blk-pci,drive=disk \
		"${arguments[@]}" "$here/guest-crash" 2>&1)
	vm=$!
}

find_binary()
{
	case $1 in
	ublkd) echo "$UBLKD" ;;
	sync-writer | cow-check) echo "$UBLKD_BUILD/tests/vm/$1" ;;
	*) command -v "$1" ;;
	esac
}

# kill_later: at some moment of the next seconds.
kill_later()
{
	sleep "$((RANDOM % 4)).$((RANDOM % 10))"
	kill -KILL "$(cat "$work/pid")"
}

# no_kernel_fault: in what the machine's kernel has said.
no_kernel_fault()
{
	tr -d '\r' <"$work/serial" | awk -v mark="ublkd-test: begin" \
		-v known=/dev/null -f "$here/kernel-log.awk" ||
		fail "kernel log of this life"
}

# live LIFE ROUND: until it is killed; $2 is what the life before had synced. Sets
# $synced, in this one.
live()
{
	local line
	synced=0
	begin "$1" "BEFORE=$2" "OPTIONS=${options[$1 % ${#options[@]}]}"
	while IFS= read -r line <&"$from"; do
		case $line in
		"synced "*)
			synced=${line#synced }
			if [ "$synced" = 1 ]; then kill_later & fi
			;;
		vm:\ *) break ;; # it tells that the guest is dead
		*) echo "$line" ;;
		esac
	done
	cat <&"$from" >/dev/null
	exec {from}<&-
	if wait "$vm"; then fail "it has ended by itself"; fi
	[ "$synced" -gt 0 ] || {
		tail -n 40 "$work/serial"
		fail "life $1 has not come to its first sync"
	}
	no_kernel_fault
	rounds=$((rounds + synced))
	echo "life $1, ${options[$1 % ${#options[@]}]:-auto}: killed after" \
		"$synced syncs"
}

rounds=0
truncate -s 128M "$work/disk"
mkfs.ext4 -q "$work/disk"
synced=0
for life in $(seq "$KILLS"); do
	live "$life" "$synced"
done
# The last one looks, and ends in order.
begin $((KILLS + 1)) "BEFORE=$synced" "OPTIONS=" LAST=yes
cat <&"$from"
wait "$vm" || fail "what the last one found"
no_kernel_fault
e2fsck -fn "$work/disk" || fail "the file system"
echo "$KILLS kills, $rounds acknowledged syncs, 0 lost"
