#!/bin/sh
# What ublk-trace prints of traces that were recorded on real kernels: the folder
# tests/unit/ublk-trace has NAME.trace, as the kernel has written it, and
# NAME.screen, which fits a terminal of 80 columns. A trace begins with what
# ublk-trace knows besides: the variables of its awk program, and the disks.
# "lost" is made by hand: what two recorders tell again, too late, or not at all;
# so is "dropped": there was no room for some events, and one disk has a request in
# flight.
#
# "test_trace_screen.sh --write" makes the screens anew, to be looked at.
set -eu
export LC_ALL=C

top=${srcdir:-.}
folder=$top/tests/unit/ublk-trace
work=$(mktemp -d "${TMPDIR:-/tmp}/test_trace_screen.XXXXXX")
trap 'rm -rf "$work"' EXIT

sed -n "/<<'AWK'\$/,/^AWK\$/p" "$top/contrib/ublk-trace" | sed '1d;$d' \
	>"$work/awk"
[ "$(wc -l <"$work/awk")" -gt 200 ] || {
	echo "contrib/ublk-trace: there is no awk program"
	exit 1
}

# Where the kernel says which request it hands over, no list of them grows.
echo 'END { if (has_dispatch) for (i in order) print "it keeps " order[i] }' \
	>"$work/kept"

# screen NAME AWK...: what is printed, and which tasks and disks the script looks at
# then
screen()
{
	trace=$folder/$1.trace
	shift
	sed -n 's/^# disk //p' "$trace" >"$work/disks"
	: >"$work/askers"
	: >"$work/stuck"
	sed -n 's/^# losses //p' "$trace" >"$work/losses"
	sed -n 's/^# variable //p' "$trace" >"$work/variables"
	set -- "$@" -v disks="$work/disks" -v askers="$work/askers" \
		-v stuck="$work/stuck" -v losses="$work/losses"
	while read -r variable; do
		set -- "$@" -v "$variable"
	done <"$work/variables"
	status=0
	"$@" -f "$work/kept" -f "$work/awk" <"$trace" || status=$?
	echo "status $status"
	sort "$work/askers" | sed 's/^/asks of task /'
	sed 's/^/asks of disk /' "$work/stuck"
}

count=0
for trace in "$folder"/*.trace; do
	name=$(basename "$trace" .trace)
	if [ "${1:-}" = --write ]; then
		screen "$name" awk >"$folder/$name.screen"
		continue
	fi
	! grep '^.\{81\}' "$folder/$name.screen" || {
		echo "$name.screen: wider than 80 columns"
		exit 1
	}
	for awk in awk mawk gawk "busybox awk"; do
		command -v "${awk% *}" >/dev/null || continue
		# shellcheck disable=SC2086 # words are wanted
		screen "$name" $awk >"$work/screen"
		diff "$folder/$name.screen" "$work/screen" || {
			echo "$name.trace: $awk prints another screen (right)"
			exit 1
		}
		count=$((count + 1))
	done
done
[ "${1:-}" = --write ] || [ $count -ge 4 ] || {
	echo "only $count screens were compared"
	exit 1
}
