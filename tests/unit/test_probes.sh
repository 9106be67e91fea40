#!/bin/sh
# What tracers find in the program, and PROBES in ublkd(8), are the same probes with
# the same number of arguments.
set -eu
export LC_ALL=C

top=${srcdir:-.}
program=src/ublkd

command -v readelf >/dev/null || {
	echo "no readelf"
	exit 77
}
work=$(mktemp -d "${TMPDIR:-/tmp}/test_probes.XXXXXX")
trap 'rm -rf "$work"' EXIT

# "name arguments" of each
readelf -nW $program | awk '
/Provider: / { is_ours = $NF == "ublkd" }
/^ *Name: / { name = $2 }
/^ *Arguments: / && is_ours { print name, NF - 1 }' | sort -u >"$work/program"
sed -n 's/^[.]It Li \([a-z_]*\) Ns Pq \(.*\)$/\1 \2/p' "$top/src/man/ublkd.8" |
	awk '{ name = $1; print name, gsub(/,/, ",") + 1 }' |
	sort >"$work/manual"
[ -s "$work/program" ] || {
	echo "$program has no probes"
	exit 1
}
diff -u "$work/manual" "$work/program"
