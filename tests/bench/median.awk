# Reads rows "row COMPARISON JOB SERVER ROUND FIGURE NUMBER", between tabs, into
# values[]; for report.awk and plot.awk, which come behind it. The order of
# things is that of their first rows.

BEGIN { FS = "\t" }

$1 == "row" {
	values[$2, $3, $4, $6] = values[$2, $3, $4, $6] " " $7
	if (!(($2, $3) in jobs)) {
		jobs[$2, $3] = ++count
		comparison_of[count] = $2
		job_of[count] = $3
	}
	if (!(($2, $4) in known)) {
		known[$2, $4]
		server_of[$2, ++servers[$2]] = $4
	}
}

# numbers_of COMPARISON JOB SERVER FIGURE: sorted into number[]; how many
function numbers_of(c, j, s, f,    n, i, k, x)
{
	n = split(values[c, j, s, f], number, " ")
	for (i = 2; i <= n; i++) {
		x = number[i] + 0
		for (k = i - 1; k >= 1 && number[k] + 0 > x; k--)
			number[k + 1] = number[k]
		number[k + 1] = x
	}
	return n
}

# median: "" if there is no such figure
function median(c, j, s, f,    n)
{
	n = numbers_of(c, j, s, f)
	if (!n) return ""
	if (n % 2) return number[(n + 1) / 2] + 0
	return (number[n / 2] + number[n / 2 + 1]) / 2
}

# spread: from the least to the most, in percent of the median
function spread(c, j, s, f,    n, m)
{
	m = median(c, j, s, f)
	n = numbers_of(c, j, s, f)
	if (n < 2 || !m) return ""
	return (number[n] - number[1]) / m * 100
}

# ratio: its median over that of the comparison's first server
function ratio(c, j, s, f,    of)
{
	of = median(c, j, server_of[c, 1], f)
	if (of == "" || of == 0 || median(c, j, s, f) == "") return ""
	return median(c, j, s, f) / of
}
