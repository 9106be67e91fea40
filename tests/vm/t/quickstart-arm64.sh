#!/bin/bash
# The quickstart's job on an arm64 kernel, with the cross build of ublkd.
#
# needs: host
# needs: binaries qemu-system-aarch64
# needs: files contrib/quickstart-job
# size: long:arm64
# time: 900
set -euo pipefail
kernel=$1 work=$2
here=$(dirname "$(readlink -f "$0")")/..
top=$here/../..
ublkd=$UBLKD_BUILD/arm64/src/ublkd

fail()
{
	echo "FAIL: $*"
	exit 1
}

# make_tree: some thousands of this host's files, for an emulated CPU.
make_tree()
{
	mkdir "$work/tree"
	(cd /usr && find include share/perl -type f | sort | sed -n 1,3000p |
		cpio -pdm --quiet "$work/tree")
	[ "$(find "$work/tree" -type f | wc -l)" -ge 2000 ] ||
		fail "the tree is too small"
}

[ -x "$ublkd" ] || {
	echo "no build for arm64 in $ublkd"
	exit 77
}
folder=$("$here/fetch-kernel" --arm64 "$kernel") || fail "no kernel"
programs=$("$here/fetch-tree" arm64) || fail "no programs"
make_tree
cat >"$work/script" <<'END'
[ "$(uname -m)" = aarch64 ] || exit 1
sh /job/quickstart-job ublkd /tree || exit 1
! dmesg | grep -E 'WARNING|BUG|Oops|blocked .*for more than'
END
"$here/vm" -k "$folder" -A "$programs" -m 2048 -t 800 -M ext4 -b "$ublkd" \
	-f "$top/contrib/quickstart-job:/job/quickstart-job" \
	-f "$work/tree:/tree" "$work/script" | tee "$work/log" ||
	fail "status $?"
grep -q '^result: ok, ' "$work/log" || fail "no result"
