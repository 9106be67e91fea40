#!/bin/sh
# src/README names files and functions: each of them is there.
set -eu
export LC_ALL=C

top=${srcdir:-.}
page=$top/src/README
failed=0

# is_defined NAME: a function begins with its type in the first column.
is_defined()
{
	grep -qE "^[a-z].*[ *]$1\(" "$top"/src/*.c "$top"/src/*/*.c \
		"$top"/src/*/*.h
}

names=$(grep -oE '\b[a-z_]+\(\)' "$page" | tr -d '()' | sort -u)
files=$(grep -oE '[A-Za-z/_-]+\.(c|h|sh|inc|[78])\b' "$page" |
	grep -v NAME | sort -u)
for name in $names; do
	case $name in
	submit | open) continue ;; # of a target's table
	esac
	is_defined "$name" || {
		echo "src/README: there is no function $name()"
		failed=1
	}
done
for file in $files; do
	[ -e "$top/src/$file" ] || [ -e "$top/$file" ] || {
		echo "src/README: there is no file $file"
		failed=1
	}
done
# That they were found at all.
if [ "$(echo "$names" | wc -l)" -lt 20 ] || [ "$(echo "$files" | wc -l)" -lt 15 ]
then
	echo "src/README: names too few functions or files: $names $files"
	failed=1
fi
exit $failed
