# The tables. "+-" is from least to most in percent of the median, "x" is the
# median over the first server's.

function cell(format, width, x)
{
	return sprintf("%" width "s", x == "" ? "-" : sprintf(format, x))
}

function job_table(c, j,    i, s)
{
	printf "%s, %s, Linux %s\n", c, j, kernel
	printf "  %-34s %8s %5s %6s %8s %8s %5s %6s %7s %7s %9s\n", "", "IOPS", \
		"+-%", "x", "MiB/s", "CPU us", "+-%", "x", "calls", "switch", \
		"lat. us"
	for (i = 1; i <= servers[c]; i++) {
		s = server_of[c, i]
		if (median(c, j, s, "iops") == "") continue
		printf "  %-34s%s%s%s%s%s%s%s%s%s%s\n", s, \
			cell("%.0f", 9, median(c, j, s, "iops")), \
			cell("%.1f", 6, spread(c, j, s, "iops")), \
			cell("%.3f", 7, ratio(c, j, s, "iops")), \
			cell("%.1f", 9, median(c, j, s, "mib-s")), \
			cell("%.2f", 9, median(c, j, s, "cpu-us")), \
			cell("%.1f", 6, spread(c, j, s, "cpu-us")), \
			cell("%.3f", 7, ratio(c, j, s, "cpu-us")), \
			cell("%.2f", 8, median(c, j, s, "calls")), \
			cell("%.2f", 8, median(c, j, s, "switches")), \
			cell("%.1f", 10, median(c, j, s, "latency-us"))
	}
	print ""
}

# most: over all jobs
function most(c, s, f,    i, x, m)
{
	m = ""
	for (i = 1; i <= count; i++) {
		if (comparison_of[i] != c) continue
		x = median(c, job_of[i], s, f)
		if (x != "" && (m == "" || x > m)) m = x
	}
	return m
}

function server_table(c,    i, s)
{
	printf "%s, each server, Linux %s (KiB, all its processes)\n", c, kernel
	printf "  %-34s %9s %9s %9s %9s %6s %6s %8s %8s %7s\n", "", "PSS idle", \
		"loaded", "RSS idle", "loaded", "tasks", "loaded", "add ms", \
		"all ms", "x"
	for (i = 1; i <= servers[c]; i++) {
		s = server_of[c, i]
		if (median(c, "-", s, "pss-idle") == "") continue
		printf "  %-34s%s%s%s%s%s%s%s%s%s\n", s, \
			cell("%d", 10, median(c, "-", s, "pss-idle")), \
			cell("%d", 10, most(c, s, "pss-loaded")), \
			cell("%d", 10, median(c, "-", s, "rss-idle")), \
			cell("%d", 10, most(c, s, "rss-loaded")), \
			cell("%d", 7, median(c, "-", s, "tasks-idle")), \
			cell("%d", 7, most(c, s, "tasks-loaded")), \
			cell("%.2f", 9, median(c, "-", s, "add-ms")), \
			cell("%.2f", 9, median(c, "-", s, "add-all-ms")), \
			cell("%.3f", 8, ratio(c, "-", s, "add-all-ms"))
	}
	print ""
}

$1 == "out" { out = out sprintf("%s: left out: %s: %s\n", $2, $3, $4) }

END {
	printf "%s%s", out, out == "" ? "" : "\n"
	for (i = 1; i <= count; i++) {
		if (job_of[i] != "-") job_table(comparison_of[i], job_of[i])
		if (comparison_of[i] != comparison_of[i + 1])
			server_table(comparison_of[i])
	}
}
