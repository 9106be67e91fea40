# The ratios as a plot: for each job two bars a server, IOPS and CPU for each
# request, both over the first server's. The line is where they are alike.

function escaped(text)
{
	gsub(/&/, "\\&amp;", text)
	gsub(/</, "\\&lt;", text)
	return text
}

function text(x, y, what, attributes)
{
	printf "<text x=\"%.1f\" y=\"%.1f\" %s>%s</text>\n", x, y, attributes, \
		escaped(what)
}

# bar: of a ratio, which is cut at twice the scale's 1
function bar(y, value, colour,    width)
{
	width = (value > 2.5 ? 2.5 : value) * one
	printf "<rect x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"7\" " \
		"fill=\"%s\"/>\n", left, y, width, colour
	text(left + width + 4, y + 7, sprintf("%.2f", value), "font-size=\"9\"")
}

function job_bars(c, j,    i, s, top)
{
	y += 24
	text(10, y, c ", " j, "font-weight=\"bold\"")
	y += 6
	top = y
	for (i = 1; i <= servers[c]; i++) {
		s = server_of[c, i]
		if (ratio(c, j, s, "iops") == "") continue
		text(left - 8, y + 12, s, "text-anchor=\"end\"")
		bar(y + 1, ratio(c, j, s, "iops"), "#3b6ea5")
		if (ratio(c, j, s, "cpu-us") != "")
			bar(y + 9, ratio(c, j, s, "cpu-us"), "#d98c3f")
		y += 20
	}
	printf "<line x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\" stroke=\"#444\" " \
		"stroke-dasharray=\"2,2\"/>\n", left + one, left + one, top, y
}

END {
	left = 330
	one = 160
	y = 40
	height = 60
	for (i = 1; i <= count; i++)
		if (job_of[i] != "-")
			height += 30 + 20 * servers[comparison_of[i]]
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"800\" " \
		"height=\"%d\" font-family=\"sans-serif\" font-size=\"11\">\n", height
	print "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
	text(10, 20, "ublkd and others, Linux " kernel \
		": over the first server of each", "font-size=\"14\"")
	text(10, 36, "IOPS (more is better)", "fill=\"#3b6ea5\"")
	text(150, 36, "server CPU for each request (less is better)", \
		"fill=\"#d98c3f\"")
	for (i = 1; i <= count; i++)
		if (job_of[i] != "-") job_bars(comparison_of[i], job_of[i])
	print "</svg>"
}
