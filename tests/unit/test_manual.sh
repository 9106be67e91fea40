#!/bin/sh
# What the program prints and what DIAGNOSTICS in ublkd(8) explains are the same:
#
#   - every text there is one that a string in src/ makes;
#   - every log_error() and log_warning() in src/ is there;
#   - so is every failure_set() in the files whose failures end a start.
#
# So are what verdicts are made of and what MY I/O HANGS explains: each of its items
# has a part of a sentence that is put together there, and each part is in an item.
#
# So are the tables of commands and of symbols and what ublkd-protocol(7) has; and
# the targets, their options, those of every device and of the layers, and what
# ublkd-targets(7) has.
#
# So are the options of ublkd, ublkctl and ublk-trace and what their manuals have, the
# steps that ublk-trace prints, and the events of "trace".
#
# So are the steps of a device that ublkd-protocol(7) explains, and those of the
# table in src/device/life.c.
#
# Both are compared without what varies: conversions in the one, the words of
# `varies` below in the other, and numbers in both.
set -eu
export LC_ALL=C

top=${srcdir:-.}
manual=$top/src/man/ublkd.8
of_start='/(keeper|listener|notify|state|takeover)[.]c:'
varies='[0-9]+|ublkbN|[NS]|ADDRESS|DISK|FILE|FOLDER|FUNCTION|GROUP|HOW|KIND|LINE'
varies=$varies'|NAME|PATH|PROCESS|PROGRAM|REASON|STATE|WHAT'
work=$(mktemp -d "${TMPDIR:-/tmp}/test_manual.XXXXXX")
trap 'rm -rf "$work"' EXIT

# strings FILE.c...: of each string that has words, whether it is the "first"
# argument of its call or a "later" one, the function called ("-" for none), its
# place and the text, with tabs between them.
strings()
{
	awk '
	FNR == 1 { end_file(); file = FILENAME }
	{ whole = whole $0 "\n" }
	END { end_file() }

	function end_file()
	{
		if (whole != "")
			scan(whole)
		whole = ""
	}

	# Calls lie in each other: a stack of them, each with the commas that it
	# has had, and the line where it begins. What stands between two strings
	# is a macro, which is taken for one that varies.
	function scan(text,  i, c, depth, word, piece, line)
	{
		depth = 0; word = ""; line = 1
		for (i = 1; i <= length(text); i++) {
			c = substr(text, i, 1)
			if (c == "\n")
				line++
			if (c == "/" && substr(text, i, 2) == "/*") {
				piece = substr(text, i)
				piece = substr(piece, 1, index(piece, "*/") + 1)
				i += length(piece) - 1
				line += gsub(/\n/, "", piece)
			} else if (c == "\047") {
				i += substr(text, i + 1, 1) == "\\" ? 3 : 2
				while (substr(text, i, 1) != "\047")
					i++
			} else if (c == "\"") {
				have = 1
				word = ""
				for (i++; (c = substr(text, i, 1)) != "\""; i++) {
					if (c == "\\")
						c = substr(text, ++i, 1) == "n" ? " " : substr(text, i, 1)
					str = str c
				}
			} else if (c ~ /[A-Za-z0-9_]/) {
				if (have && word == "")
					str = str "%s"
				word = word c
			} else if (c !~ /[ \t\n]/) {
				tell(name[depth], args[depth], start[depth])
				if (c == "(") {
					name[++depth] = word
					args[depth] = 0
					start[depth] = line
				}
				if (c == ")" && depth)
					depth--
				if (c == ",")
					args[depth]++
				word = ""
			} else if (!have)
				word = ""
		}
	}

	function tell(call, arg, line)
	{
		if (have && str ~ /[a-z][a-z]|%s:%u/)
			print (arg ? "later" : "first") "\t" \
				(call == "" ? "-" : call) "\t" \
				file ":" line "\t" str
		have = 0
		str = ""
	}' "$@"
}

# items MANUAL SECTION: place and text of each item in its lists of diagnostics.
items()
{
	awk -v section="$2" '
	/^\.Sh / { inside = index($0, section) }
	/^\.Bl / { diagnostics = /-diag/ }
	inside && diagnostics && /^\.It / {
		place = FILENAME ":" FNR
		text = substr($0, 5)
		while (text ~ /\\$/) {
			sub(/ *\\$/, " ", text)
			getline
			text = text $0
		}
		gsub(/\\&/, "", text)
		gsub(/\\-/, "-", text)
		print place "\t" text
	}' "$1"
}

# bare: lines whose last field has @ in place of what varies, the original
# behind it.
bare()
{
	awk -F '\t' -v OFS='\t' -v varies="$varies" '
	{
		text = $NF
		gsub(/%[-0-9.*]*(ll|l|z|h)?[a-z]/, "@", text)
		gsub(/%%/, "%", text)
		rest = text
		text = ""
		while (match(rest, /[A-Za-z0-9_]+/)) {
			word = substr(rest, RSTART, RLENGTH)
			text = text substr(rest, 1, RSTART - 1) \
				(word ~ ("^(" varies ")$") ? "@" : word)
			rest = substr(rest, RSTART + RLENGTH)
		}
		text = text rest
		sub(/ +$/, "", text)
		kept = $NF
		$NF = text
		print $0, kept
	}'
}

# same WHAT MANUAL: the lines of the files "table" and "manual" are, in any order
same()
{
	sort -u "$work/table" >"$work/table.sorted"
	sort -u "$work/manual" | diff "$work/table.sorted" - || {
		echo "$2: other $1 than in the source (left)"
		exit 1
	}
	[ -s "$work/table" ] || {
		echo "no $1 in the source"
		exit 1
	}
}

protocol=$top/src/man/ublkd-protocol.7
sed -n 's/^\t{ "\([a-z-]*\)", ACCESS_.*/\1/p' "$top/src/admin/command-table.c" \
	>"$work/table"
sed -n '/^\.Sh COMMANDS/,/^\.Sh /s/^\.Ss \([a-z-]*\).*/\1/p' "$protocol" \
	>"$work/manual"
same commands "$protocol"
sed -n 's/^\t\[SYMBOL_[A-Z]*\] = "\(.*\)",/\1/p' "$top/src/base/failure.c" |
	grep -vx none >"$work/table"
sed -n '/^\.It Cm syntax$/,/^\.El$/s/^\.It Cm //p' "$protocol" >"$work/manual"
same symbols "$protocol"

# options FILE...: of the tables there; a target's own name has one tab.
options()
{
	sed -nE '/^\t\.name/!s/.*\.name = "([a-z-]+)".*/\1/p' "$@"
}

# told FROM TO: options that the manual explains between these headings, or behind
# the one that matches FROM up to the end
told()
{
	awk -v from="$1" -v to="$2" '
	to != "" && $0 ~ to { inside = 0 }
	$0 ~ from { inside = 1 }
	/^\.Bl / { depth++ }
	/^\.El/ { depth-- }
	inside && depth == 1 && /^\.It Cm / {
		value = 0
		for (i = 3; i <= NF; i++) {
			if (!value && $i ~ /^[a-z-]+$/)
				print $i
			value = ($i == "Ns" || value) && $i != ","
		}
	}' "$targets"
}

targets=$top/src/man/ublkd-targets.7
sed -n 's/^\t\.name = "\(.*\)",/\1/p' "$top"/src/target/*.c | sort -u >"$work/names"
while read -r name; do
	options "$top/src/target/$name.c" >"$work/table"
	told "^[.]Ss $name\$" "^[.]S[hs] " >"$work/manual"
	same "options of $name" "$targets"
done <"$work/names"
[ "$(wc -l <"$work/names")" -ge 3 ] || {
	echo "src/target/: no targets"
	exit 1
}
options "$top/src/admin/add.c" "$top/src/layer/layer-options.h" >"$work/table"
{
	told "^[.]Ss Options of every" "^[.]S[hs] "
	told "^[.]Sh FAULTS" "^[.]Sh EXAMPLES"
} >"$work/manual"
same "options of devices and layers" "$targets"

# flags MANUAL: the options that it has items for, a letter or a word a line
flags()
{
	sed -n 's/^\.It Fl //p' "$top/src/man/$1" | sed 's/ , Fl /\n/g' |
		sed -E 's/^-?([A-Za-z][a-z-]*).*/\1/'
}

# letters FILE...: of what getopt() and getopts get
letters()
{
	sed -nE -e 's/.*getopt(_long)?\([^"]*"([^"]*)".*/\2/p' \
		-e 's/^while getopts ([a-z:]+) .*/\1/p' "$@" |
		tr -d ':+\n' | fold -w 1
	echo
}

# words FILE...: of their tables of long options, without the keeper's own
words()
{
	for file; do
		sed -n '/struct option [a-z_]*options\[/,/NULL, 0\|For the keeper/p' \
			"$file" | sed -n 's/^\t*{ "\([a-z-]*\)", .*/\1/p'
	done
}

{ letters "$top/src/main.c"; words "$top/src/main.c"; } >"$work/table"
flags ublkd.8 >"$work/manual"
same options "$top/src/man/ublkd.8"
set -- "$top/src/ctl/main.c" "$top/src/ctl/list.c"
{ letters "$@" "$top/src/ctl/top.c"; words "$@"; } >"$work/table"
flags ublkctl.8 >"$work/manual"
same options "$top/src/man/ublkctl.8"
trace=$top/contrib/ublk-trace
letters "$trace" | grep -v h >"$work/table"
flags ublk-trace.8 >"$work/manual"
same options "$top/src/man/ublk-trace.8"

# The steps that ublk-trace prints; and the events of the command "trace", of which
# "served" is told as two others.
{
	grep -oE '(block_event|given|say)\("[a-z]+"|channels\[[0-9]+\] = "[a-z]+"' \
		"$trace"
	sed -n '/^event == "batch"/,/say(event/p' "$trace" | grep -o '"[a-z]*"'
} | sed 's/.*"\([a-z]*\)"$/\1/' >"$work/table"
sed -n '/^The steps are:/,/^\.El/s/^\.It Cm //p' "$top/src/man/ublk-trace.8" |
	sed 's/ , /\n/g' >"$work/manual"
same steps "$top/src/man/ublk-trace.8"
sed -n '/^const char \*sight_what_name/,/^}/s/^.*\] = "\(.*\)",/\1/p' \
	"$top/src/base/sight.c" | grep -vx -e none -e served >"$work/table"
sed -n '/^\.Ss trace /,/^\.Ss upgrade/s/^\.It Cm //p' "$protocol" |
	sed 's/ , /\n/g' >"$work/manual"
same "events of trace" "$protocol"

sed -n 's/^\t\[DEVICE_[A-Z_]*\] = { "\([a-z-]*\)",.*/\1/p' \
	"$top/src/device/life.c" | sort -u >"$work/steps"
sed -n '/^\.It Cm step$/,/^\.It Cm target$/{s/^\.It Li //p;/^\.It Cm target$/q}' \
	"$top/src/man/ublkd-protocol.7" | sed 's/ , /\n/g' | sort -u |
	diff "$work/steps" - || {
	echo "ublkd-protocol.7: other steps than src/device/life.c (left)"
	exit 1
}
[ "$(wc -l <"$work/steps")" -gt 20 ] || {
	echo "src/device/life.c: no steps"
	exit 1
}

# records: the table of src/admin/records.c as RECORDS in the manual has it.
sed -n '/^const char record_table/,/^\t;$/s/^\t"\(.*\)"[;]*$/\1/p' \
	"$top/src/admin/records.c" | tr -d '\n' | sed 's/\\n/\n/g' |
	sed -e 's,/,[]/,g' -e 's/[,|<]/[]/g' -e 's/ *$//' >"$work/records"
sed -n '/^\.Sh RECORDS$/,/^\.Ed$/p' "$top/src/man/ublkd-protocol.7" |
	awk '/^\.Ed/ { print line }
	/^[A-Za-z]/ && begun { if (line) print line; line = "" }
	begun && !/^\./ { for (i = 1; i <= NF; i++) line = line (line ? " " : "") $i }
	/^\.Bd/ { begun = 1 }' | diff "$work/records" - || {
	echo "ublkd-protocol.7: RECORDS is not the table of src/admin/records.c"
	exit 1
}
[ "$(wc -l <"$work/records")" -gt 20 ] || {
	echo "src/admin/records.c: no records"
	exit 1
}

sed -n 's/^dev //p' "$work/records" | sed 's/[#~?]//g' >"$work/records.dev"

# And each key is told of elsewhere; backing-p50 and the like are as p50.
keys=$(cut -d ' ' -f 2- "$work/records" | tr ' ' '\n' | sed -e 's,[^a-z0-9-].*,,' \
	-e 's/^backing-\([pm]\)/\1/' | sort -u)
sed -e '/^\.Sh RECORDS$/,/^\.Ed$/d' "$top/src/man/ublkd-protocol.7" >"$work/rest"
for key in $keys; do
	grep -Eq "^\.(Cm|It Cm|Li|Op|Oo)( .*)? \[?$key\b|$key Ns =|[ ,]$key=" \
		"$work/rest" || {
		echo "ublkd-protocol.7: nothing tells of the key $key"
		exit 1
	}
done

# Every key that is printed is in the table: whatever describes a target in that of
# its device, a layer's in its own, others in that of the record that begins the
# format, or in any. A format has no words but key=value behind the first one.
strings "$top"/src/admin/*.c "$top"/src/device/*.c "$top"/src/layer/*.c \
	"$top"/src/target/*.c | awk -F '\t' -v top="$top" '
FILENAME != "-" {
	record = $0
	sub(/ .*/, "", record)
	gsub(/[^ A-Za-z0-9-]/, "")
	known[record] = $0 " "
	all = all $0 " "
	next
}
{
	n = split($4, words, " ")
	first = $4 ~ /^ / ? 1 : 2
	if (n < first || $4 !~ /[a-z]=%/)
		next
	for (i = first; i <= n; i++)
		if (words[i] !~ /=/)
			next
	keys = words[1] in known && first == 2 ? known[words[1]] : \
		$3 ~ /\/target\// ? known["dev"] : \
		$3 ~ /\/layer\// ? known["layer"] : all
	for (i = first; i <= n; i++) {
		key = words[i]
		sub(/=.*/, "", key)
		sub(/^(%s)+/, "", key)
		seen++
		if (key == "" || index(keys, " " key " "))
			continue
		print $3 ": the key " key " is not in src/admin/records.c"
		bad = 1
	}
}
END {
	if (seen < 100) {
		print "src/: too few keys are printed: " seen
		bad = 1
	}
	exit bad
}' "$work/records" - || exit 1

# And a device has the columns of its record.
tr ' ' '\n' <"$work/records.dev" | sort >"$work/table"
sed -n '/^} columns/,/^}/p' "$top/src/ctl/table.c" | grep -o '"[a-z-]*"' |
	tr -d '"' | sort | diff "$work/table" - || {
	echo "src/ctl/table.c: other columns than dev in src/admin/records.c (left)"
	exit 1
}

strings "$top"/src/*.c "$top"/src/*/*.c | bare >"$work/strings"
items "$manual" DIAGNOSTICS | bare >"$work/items"
[ "$(wc -l <"$work/items")" -gt 20 ] || {
	echo "$manual: no DIAGNOSTICS"
	exit 1
}

awk -F '\t' -v of_start="$of_start" '
FNR == 1 { files++ }
files == 1 { items[$2] = $1; kept[$2] = $3; next }
{ printed[$4] = 1 }
$1 == "first" && $2 ~ /^log_(error|warning)$/ ||
$2 == "failure_set" && $4 ~ / / && $3 ~ of_start {
	if ($4 in items || $4 in told)
		next
	told[$4] = 1
	gsub(/%[-0-9.*]*s/, "REASON", $5)
	gsub(/%[-0-9.*]*(ll|l|z|h)?[a-z]/, "N", $5)
	print $3 ": is not in DIAGNOSTICS of src/man/ublkd.8. Add, with what" \
		" an administrator is to do:\n.It " $5
	bad = 1
}
END {
	for (text in items)
		if (!(text in printed)) {
			print items[text] ": nothing in src/ prints this" \
				" (any more):\n" kept[text]
			bad = 1
		}
	exit bad
}' "$work/items" "$work/strings"

# ---- verdicts

# parts: of sentences, from lines of strings(): those of two words at least
parts()
{
	bare | awk -F '\t' -v OFS='\t' '
	{
		text = $(NF - 1)
		gsub(/^[;:,@ ]+/, "", text)
		while (match(text, /[a-z]@/)) # an ending
			text = substr(text, 1, RSTART) substr(text, RSTART + 2)
		if (text ~ /[A-Za-z]+[^A-Za-z-]+[A-Za-z]+/)
			print $3, text
	}'
}

{
	strings "$top/src/base/verdict.c" "$top/src/ctl/still.c" |
		awk -F '\t' '$2 ~ /^(say|judge_orphans)$/'
	sed -n '/^} places\[/,/^}/p' "$top/src/base/sight.c" >"$work/places.c"
	strings "$work/places.c" | sed 's|\t[^\t]*/places.c:|\tsrc/base/sight.c|'
} | parts >"$work/parts"
items "$manual" "MY I/O HANGS" | bare >"$work/verdicts"
if [ "$(wc -l <"$work/parts")" -lt 50 ] || [ "$(wc -l <"$work/verdicts")" -lt 40 ]
then
	echo "too few parts of verdicts in src/, or in $manual"
	exit 1
fi
awk -F '\t' '
FNR == 1 { files++ }
files == 1 { items[$2] = $1; kept[$2] = $3; next }
{
	found = 0
	for (text in items)
		if (index(text, $2))
			found = said[text] = 1
	if (!found) {
		print $1 ": MY I/O HANGS in src/man/ublkd.8 does not explain: " $2
		bad = 1
	}
}
END {
	for (text in items)
		if (!(text in said)) {
			print items[text] ": no verdict says this (any more):\n" \
				kept[text]
			bad = 1
		}
	exit bad
}' "$work/verdicts" "$work/parts"
