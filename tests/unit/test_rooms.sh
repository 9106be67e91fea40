#!/bin/sh
# The rooms of src/ stand on each other: a file includes what its own room has,
# and what lies in the rooms below, never above. Nor do files of one room go in a
# circle: a name (NAME.c and NAME.h are one) that includes another is not included
# by that, however long the way.
set -eu
export LC_ALL=C

# From above to below. main.c is a room of its own. So is ctl/, a program beside the
# daemon, from which nobody else includes.
rooms='
main
keeper
server
admin
device
layer
target
io
ctl
base
'

top=${srcdir:-.}
cd "$top/src"

# "FILE HEADER" for each header of ours, both from src/.
includes()
{
	for file in *.c ./*/*.c ./*/*.h; do
		file=${file#./}
		sed -n 's/^#include "\(.*\)"$/\1/p' "$file" |
			while read -r header; do
				case $header in
				*/*) ;;
				*) header=$(dirname "$file")/$header ;;
				esac
				echo "$file $header"
			done
	done
}

includes | awk -v rooms="$rooms" '
function room(file) { return file ~ "/" ? substr(file, 1, index(file, "/") - 1) : "main" }
function bare(file) { sub(/\.[ch]$/, "", file); return file }
function wrong(text) { print text; failed = 1 }

BEGIN {
	count = split(rooms, row)
	for (i = 1; i <= count; i++)
		height[row[i]] = count - i + 1
}

{
	from = room($1)
	to = room($2)
	if (!(from in height))
		wrong($1 ": its room is not in the table of test_rooms.sh")
	else if (!(to in height) || height[to] > height[from])
		wrong($1 ": includes " $2 ", which lies above")
	else if (to == "ctl" && from != to)
		wrong($1 ": includes " $2 ", which is of another program")
	else if (from == to && bare($1) != bare($2) && !((bare($1), bare($2)) in edge)) {
		edge[bare($1), bare($2)] = 1
		ways[bare($1)] = ways[bare($1)] " " bare($2)
		names[bare($1)] = 1
	}
	seen++
}

# Whether `name` is on a circle; `path` is the way to it.
function follow(name, path,    next_ones, n, i)
{
	if (state[name] == 2)
		return
	if (state[name] == 1) {
		sub(".*  " name " ->", name " ->", path)
		wrong("a circle: " path " " name)
		return
	}
	state[name] = 1
	n = split(ways[name], next_ones)
	for (i = 1; i <= n; i++)
		follow(next_ones[i], path "  " name " ->")
	state[name] = 2
}

END {
	for (name in names)
		follow(name, "")
	if (seen < 100)
		wrong("only " seen + 0 " includes were found")
	exit failed
}'
