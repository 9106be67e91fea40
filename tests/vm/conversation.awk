# Conversations as in tests/conversations, of which README there tells.
#
#   awk -f conversation.awk -v job=typed [-v times=N] FILE
#       what is typed, so many times
#   awk -f conversation.awk -v job=compare [-v times=N] FILE ANSWERS
#       fails unless these are the answers to that
#   awk -f conversation.awk -v job=words FILE
#       the typed lines that are a shell's words, and are answered alike on a
#       connection of their own, each behind its place; nothing that ublkctl
#       lays out for people, no path that would be made absolute, and none where
#       an earlier line changes how later ones are answered
#   awk -f conversation.awk -v job=said -v place=N FILE OUTPUT
#       fails unless that is what ublkctl makes of the answers to that line

BEGIN { if (!times) times = 1 }
FNR == 1 { files++ }
files == 1 && /^# once: / { lasting = 1 }
files == 1 && /^> (format (json|lines)|on-error (stop|continue)|watch (dev|none))/ { lasting = 1 }
files == 1 && /^>/ { way[++count] = ">"; text[count] = substr($0, 3); next }
files == 1 && /^<[*]/ { way[++count] = "*"; text[count] = substr($0, 4); next }
files == 1 && /^</ { way[++count] = "<"; text[count] = substr($0, 3); next }
files == 1 { next }
/^WAIT|^\{"frame":"WAIT"/ { next }
{
	while (substr($0, 1, 7) == "ublkd> ")
		$0 = substr($0, 8)
	came[++lines] = $0
}
END {
	if (job == "typed")
		for (; times > 0; times--)
			for (i = 1; i <= count; i++)
				if (way[i] == ">")
					print text[i]
	if (job == "words" && !lasting)
		for (i = 1; i <= count; i++)
			if (way[i] == ">" && text[i] ~ /^[a-z][-a-zA-Z0-9\/=.,% ]*$/ &&
			    text[i] !~ /^(complete|prompt|quit|watch)( |$)/ &&
			    text[i] !~ /^(help|list|show|targets)( |$)/ &&
			    text[i] !~ / path=[^\/]/)
				print i, text[i]
	if (job == "compare") {
		for (; times > 0; times--)
			expect(1, count)
		none_is_left()
	}
	if (job == "said") {
		for (i = place + 1; i <= count && way[i] != ">"; i++)
			if (sub(/^ERR [a-z]* text="/, "ublkctl: ", text[i])) {
				sub(/"( arg=.*)?$/, "", text[i])
				gsub(/\\"/, "\"", text[i])
			}
		expect(place + 1, i - 1)
		none_is_left()
	}
}

# expect FIRST LAST: the next lines are those, with such as may come besides
function expect(first, last,  i, more)
{
	for (i = first; i <= last; i++) {
		if (way[i] == ">")
			more = 0
		else if (way[i] == "*")
			more = i
		else {
			at++
			while (more && at <= lines && !matches(text[i], came[at]) &&
			       matches(text[more], came[at]))
				at++
			if (at > lines || !matches(text[i], came[at]))
				wrong(came[at], text[i])
		}
	}
}

function none_is_left()
{
	if (at < lines)
		wrong(came[at + 1], "nothing more")
}

function wrong(got, want)
{
	print FILENAME ": got: " got "\nnot: " want
	exit 1
}

# matches PATTERN LINE: * stands for anything
function matches(pattern, line,  piece, n, i, where)
{
	n = split(pattern, piece, "[*]")
	if (n <= 1)
		return pattern == line
	if (substr(line, 1, length(piece[1])) != piece[1])
		return 0
	line = substr(line, length(piece[1]) + 1)
	for (i = 2; i < n; i++) {
		if (piece[i] == "")
			continue
		where = index(line, piece[i])
		if (!where)
			return 0
		line = substr(line, where + length(piece[i]))
	}
	return length(line) >= length(piece[n]) &&
	       substr(line, length(line) - length(piece[n]) + 1) == piece[n]
}
