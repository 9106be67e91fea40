#!/bin/sh
# What a person sees of ublkctl in a terminal of 80 and of 120 columns: the table of 69
# devices, top, and the shell with completion, in tmux, with a daemon whose answers
# are made here (stand-in.c). The screens are tests/unit/screens/ctl-*. top gives the
# terminal back after a signal and Ctrl-C.
#
# "test_screens.sh --write", in a build folder, makes the screens anew, to be looked at.
set -eu
export LC_ALL=C.UTF-8
unset NO_COLOR COLUMNS XDG_STATE_HOME TMUX

top=$(cd "${srcdir:-..}" && pwd)
ublkctl=$PWD/src/ublkctl
stand_in=$PWD/tests/unit/stand-in
"$ublkctl" --version >/dev/null 2>&1 || {
	echo "skip: this host cannot run $ublkctl"
	exit 77
}
command -v tmux >/dev/null || {
	echo "skip: no tmux"
	exit 77
}
work=$(mktemp -d "${TMPDIR:-/tmp}/test_screens.XXXXXX")
daemon='' count=0
trap finish EXIT
cd "$work"
export HOME="$work"
mode=${1:-}
# libedit keeps the names of our functions for ever.
echo leak:wcsdup >lsan
export LSAN_OPTIONS="suppressions=$work/lsan:print_suppressions=0"

fail()
{
	echo "$*"
	exit 1
}

tm()
{
	tmux -u -f /dev/null -S "$work/tmux-$count" "$@"
}

finish()
{
	tm kill-server 2>/dev/null || true
	[ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
	rm -rf "$work"
}

# within COMMAND...: it succeeds, in half a minute
within()
{
	tries=600
	until "$@"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || fail "not in time: $*: $(tm capture-pane -p)"
		sleep 0.05
	done
}

shows()
{
	tm capture-pane -p | grep -qF -- "$1"
}

# stands TEXT: where the next key goes to
stands()
{
	[ "$(tm capture-pane -p | sed -n 's/ *$//; /./h; ${ x; p; }')" = "$1" ]
}

# terminal COLUMNS LINES COMMAND: of which "THE-END" is the last thing that is shown
terminal()
{
	tm kill-server 2>/dev/null || true
	count=$((count + 1))
	tm new-session -d -x "$1" -y "$2" \
		"trap : INT; PS1=; $3; echo THE-END; exec sleep 1000"
}

# same NAME: what is shown is that screen
same()
{
	file=$top/tests/unit/screens/$1
	tm capture-pane -p | sed 's/ *$//' | awk '
	NF { for (; blanks; blanks--) print ""; print; next }
	{ blanks++ }' >screen
	if [ "$mode" = --write ]; then
		cp screen "$file"
		return
	fi
	diff "$file" screen || fail "$1: this is shown now (right)"
}

# type KEY...
type()
{
	tm send-keys "$@"
}

# ---- the daemon's answers

awk 'function name(i) {
	if (i % 23 == 7)
		return sprintf("backup-of-the-year-%d-that-has-a-name-as-long-as-names-can-be-%02d", 2000 + i, i)
	return sprintf("disk-%d", i)
}
function path(i) {
	if (i % 5 == 1)
		return sprintf("/srv/größe/%d.img", i)
	if (i % 5 == 2)
		return sprintf("/srv/映像/%d/images-of-all-kinds/that-lie-deep-in-folders/disk.img", i)
	return sprintf("/srv/%d.img", i)
}
BEGIN {
	print "> list"
	for (i = 0; i < 69; i++) {
		target = i % 3 == 0 ? "ram" : i % 3 == 1 ? "file" : "null"
		line = sprintf("dev id=%d name=%s state=%s target=%s size=%.0f dev=/dev/ublkb%d ro=%s queues=%d depth=128 mode=%s", \
			i, name(i), i == 5 ? "quiesced" : "live", target, \
			1048576 * 2 ^ (i % 24) * (i % 7 + 1), i, \
			i % 9 ? "no" : "yes", i % 4 + 1, \
			target == "file" ? "zero-copy" : "need-get-data")
		if (target == "file")
			line = line " path=\"" path(i) "\""
		if (i == 5)
			line = line " error=\"the file is gone\""
		print line
	}
	print "OK seq=70\n> stats"
	for (i = 0; i < 69; i++) {
		printf "stats id=%d name=%s seconds=9 in-flight=%d depth-reached=9\n", \
			i, name(i), i * i
		printf "op id=%d op=read count=1 bytes=4096 errors=0 time=9us in-turn=0\n", i
	}
	print "OK\n> complete \"del \""
	for (i = 0; i < 69; i++)
		printf "candidate word=%s help=\"device %d\"\n", name(i), i
	print "candidate word=force= help=\"also when in use\"\nOK"
	print "> complete \"del d\""
	for (i = 0; i < 69; i++)
		if (name(i) ~ /^d/)
			printf "candidate word=%s help=\"device %d\"\n", name(i), i
	print "OK\n> complete \"del disk-2\""
	for (i = 2; i < 30; i = i == 2 ? 20 : i + 1)
		printf "candidate word=%s help=\"device %d\"\n", name(i), i
	print "OK"
}' >talk.txt
cat >>talk.txt <<'END'
> complete "add "
candidate word=file help="a file or a disk"
candidate word=null help="forgets writes, and reads as zeroes"
candidate word=ram help="a sparse disk in memory, whose help is long enough to be cut in eighty columns"
OK
> complete "add r"
candidate word=ram help="memory"
OK
> complete "add ram si"
candidate word=size= help="of the disk"
OK
> complete "add file path=/no-s"
OK
> add ram size=1G
OK id=69 dev=/dev/ublkb69 name=ublkb69 queues=2 depth=128 size=1073741824
> watch
OK seq=70
EVENT seq=71 dev id=69 name=ublkb69 state=gone
EVENT overflow lost=7
END
"$stand_in" socket talk.txt &
daemon=$!
within test -S socket

# ---- the screens

for columns in 80 120; do
	echo "- $columns columns"
	terminal $columns 75 "$ublkctl -s socket list"
	within shows THE-END
	same ctl-list-$columns

	terminal $columns 24 "echo before; $ublkctl -s socket top"
	within shows "more"
	same ctl-top-$columns
	[ "$(tm display -p '#{alternate_on} #{cursor_flag}')" = "1 0" ] ||
		fail "top has no screen of its own"
	if [ $columns = 80 ]; then
		type C-c
	else
		shell=$(tm display -p '#{pane_pid}')
		kill -TERM "$(cat "/proc/$shell/task/$shell/children")"
	fi
	within shows THE-END
	[ "$(tm display -p '#{alternate_on} #{cursor_flag}')" = "0 1" ] ||
		fail "top has not given the terminal back"
	shows before || fail "what was there before top is gone"

	# A build without libedit has no shell.
	"$ublkctl" shell </dev/null 2>/dev/null || continue
	rm -f .ublkctl_history
	terminal $columns 60 "$ublkctl -s socket shell"
	within stands "ublk>"
	type "del " Tab
	within shows disk-68
	within stands "ublk> del"
	type d Tab
	within stands "ublk> del disk-"
	type 2 Tab
	within shows "device 29"
	within stands "ublk> del disk-2"
	type "gärbage" C-a "x" C-c
	within stands "ublk>"
	type "add " Tab
	within shows zeroes
	within stands "ublk> add"
	type r Tab
	within stands "ublk> add ram"
	type si Tab "1G" Enter
	within shows "OK id=69"
	within stands "ublk>"
	type watch Enter
	within shows "lost=7"
	type C-c
	within stands "ublk>"
	type nonsense Enter
	within shows "there is no command 'nonsense'"
	within stands "ublk>"
	type Up Up C-a "#" Enter C-d
	within shows THE-END
	same ctl-shell-$columns
	[ "$(stat -c %a .ublkctl_history)" = 600 ] || fail "others see the history"
	grep -q '^add.040ram.040size=1G' .ublkctl_history ||
		fail "history: $(cat .ublkctl_history)"
done
