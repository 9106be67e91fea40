# Searches a kernel log for faults, beginning at the last line with `mark`.
# `known` is a file of "pattern TAB reproducer", `allowed` one more pattern.
# Prints "@@known PATTERN" for a known one; other ones are shown with what
# follows them, and make the exit status 1.
BEGIN {
	while ((getline line < known) > 0) {
		split(line, part, "\t")
		pattern[++patterns] = part[1]
	}
	fault = "WARNING: |BUG: |BUG at |Oops|KASAN|UBSAN|KCSAN|" \
		"blocked (in I.O wait )?for more than|soft lockup|hard LOCKUP|" \
		"detected (expedited )?stall|general protection|" \
		"unable to handle|Kernel panic|refcount_t: |corruption|" \
		"possible (circular|recursive) locking|segfault at|" \
		"trap invalid opcode|EXT4-fs error|Buffer I.O error|" \
		"XFS .*Corruption|" \
		"invoked oom-killer|Out of memory"
}

index($0, mark) { found = 1; lines = 0 }
{ text[++lines] = $0 }

function match_known(s,    i) {
	if (allowed != "" && s ~ allowed)
		return 1
	for (i = 1; i <= patterns; i++)
		if (s ~ pattern[i]) {
			print "@@known " pattern[i]
			return 1
		}
	return 0
}

END {
	if (!found) {
		print "kernel log: the test's first line is no longer in it"
		exit 1
	}
	for (i = 2; i <= lines; i++) {
		s = text[i]
		# A report's trace belongs to its headline.
		if (s ~ /---\[ end trace/) report = 0
		if (s ~ fault) {
			report = 80
			show = match_known(s) ? 0 : 40
		} else if (s ~ /Call Trace:/ && !report) {
			report = 80
			show = 40
		}
		if (show > 0) {
			if (!bad++) print "kernel log:"
			print "    " s
			show--
		}
		if (report > 0) report--
	}
	exit bad > 0
}
