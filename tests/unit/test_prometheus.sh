#!/bin/sh
# contrib/prometheus: the dashboard shows each metric that the command "metrics"
# prints, and no other of ours; and the collector's file is whole whatever ublkctl
# does, and tells when ublkd does not answer.
set -eu
export LC_ALL=C

top=${srcdir:-.}
dashboard=$top/contrib/prometheus/grafana.json
collector=$top/contrib/prometheus/ublkd-metrics
work=$(mktemp -d "${TMPDIR:-/tmp}/test_prometheus.XXXXXX")
trap 'rm -rf "$work"' EXIT

fail()
{
	echo "$*"
	exit 1
}

# ---- the collector, with a stand-in for ublkctl

# stand_in TEXT STATUS: what ublkctl prints, and ends with
stand_in()
{
	printf '%s' "$1" >"$work/answer"
	mkdir -p "$work/bin"
	cat >"$work/bin/ublkctl" <<END
#!/bin/sh
echo "\$*" >"$work/asked"
cat "$work/answer"
exit $2
END
	chmod +x "$work/bin/ublkctl"
}

# collect STATUS [ARGUMENT...]: runs it, to end with that
collect()
{
	wanted=$1 status=0
	shift
	PATH=$work/bin:$PATH "$collector" "$@" 2>"$work/said" || status=$?
	[ $status = "$wanted" ] ||
		fail "status $status, not $wanted: $(cat "$work/said")"
}

# tells LINE...: the file has these samples and no other
tells()
{
	grep -v '^#' "$work/out/ublkd.prom" >"$work/have" || true
	printf '%s\n' "$@" | diff - "$work/have" ||
		fail "other samples than wanted (left)"
	[ "$(ls -A "$work/out")" = ublkd.prom ] || fail "left: $(ls -A "$work/out")"
	[ "$(stat -c %a "$work/out/ublkd.prom")" = 644 ] || fail "it cannot be read"
}

mkdir "$work/out"
reads='ublkd_reads_completed_total{device="ublkb0"} 7'
info='ublkd_info{device="ublkb1",name="OK",target="ram"} 1'
answer="# TYPE ublkd_reads_completed_total counter
$reads
$info
"
stand_in "${answer}OK
" 0
collect 0 "$work/out"
tells "ublkd_up 1" "$reads" "$info"
[ "$(cat "$work/asked")" = metrics ] || fail "asked: $(cat "$work/asked")"
[ "$(tail -c 1 "$work/out/ublkd.prom" | od -An -tx1)" = " 0a" ] ||
	fail "the last line has no end"
collect 0 -s /run/other.sock "$work/out"
[ "$(cat "$work/asked")" = "-s /run/other.sock metrics" ] ||
	fail "asked: $(cat "$work/asked")"

echo "- a part of an answer, and no more"
stand_in "$answer" 3
ln "$work/out/ublkd.prom" "$work/opened"
collect 0 "$work/out"
tells "ublkd_up 0"
grep -qxF "$info" "$work/opened" || fail "who has it open sees another one"
stand_in "$answer" 139
collect 0 "$work/out"
tells "ublkd_up 0"

echo "- an ERR"
stand_in "" 1
collect 0 "$work/out"
tells "ublkd_up 1"

echo "- nothing can be written"
collect 1 "$work/nowhere"
collect 2
collect 2 "$work/out" "$work/out"
tells "ublkd_up 1"

# ---- the dashboard

{
	echo ublkd_up
	grep -o '"ublkd_[a-z_]*"' "$top/src/admin/stats.c" | tr -d '"'
} | sort -u >"$work/printed"
[ "$(wc -l <"$work/printed")" -ge 20 ] || fail "src/admin/stats.c: no metrics"
# A histogram is printed as several.
grep '"expr"' "$dashboard" | grep -o 'ublkd_[a-z_]*' |
	sed 's/_\(bucket\|sum\|count\)$//' | sort -u >"$work/shown"
diff "$work/printed" "$work/shown" ||
	fail "the dashboard shows other metrics than there are (left)"

command -v python3 >/dev/null || {
	echo "no python3"
	exit 77
}
python3 - "$dashboard" <<'END'
import json, sys
board = json.load(open(sys.argv[1]))
names = {v["name"]: v["type"] for v in board["templating"]["list"]}
assert names["datasource"] == "datasource", names
taken, ids = set(), set()
for panel in board["panels"]:
    title = panel["title"]
    assert panel["id"] not in ids, title
    ids.add(panel["id"])
    at = panel["gridPos"]
    assert at["x"] + at["w"] <= 24, title
    for x in range(at["x"], at["x"] + at["w"]):
        for y in range(at["y"], at["y"] + at["h"]):
            assert (x, y) not in taken, title
            taken.add((x, y))
    assert panel["targets"], title
    for query in [panel] + panel["targets"]:
        assert query["datasource"]["uid"] == "${datasource}", title
    for query in panel["targets"]:
        expr = query["expr"]
        for opening, closing in ("()", "[]", "{}"):
            assert expr.count(opening) == expr.count(closing), expr
        for word in expr.split("$")[1:]:
            word = word.split('"')[0].split("]")[0]
            assert word in list(names) + ["__range", "__rate_interval"], word
assert len(ids) >= 6
END
