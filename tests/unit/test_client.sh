#!/bin/sh
# ublkctl with a daemon whose answers stand here (stand-in.c): what is printed where,
# in lines, for people and as JSON; exit statuses; what takes long; watch.
set -eu
export LC_ALL=C TERM=xterm
unset NO_COLOR COLUMNS

ublkctl=$PWD/src/ublkctl
stand_in=$PWD/tests/unit/stand-in
"$ublkctl" --version >/dev/null 2>&1 || {
	echo "skip: this host cannot run $ublkctl"
	exit 77
}
work=$(mktemp -d "${TMPDIR:-/tmp}/test_client.XXXXXX")
daemon=
trap 'stop; rm -rf "$work"' EXIT
cd "$work"

stop()
{
	[ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
	[ -z "$daemon" ] || wait "$daemon" 2>/dev/null || true
	daemon=
	rm -f socket
}

start()
{
	stop
	"$stand_in" socket talk.txt &
	daemon=$!
	until [ -S socket ]; do sleep 0.02; done
}

fail()
{
	echo "$*"
	exit 1
}

# ctl STATUS WORD...: into the files out and errors
ctl()
{
	wanted=$1 status=0
	shift
	"$ublkctl" -s socket "$@" >out 2>errors || status=$?
	[ $status = "$wanted" ] ||
		fail "ublkctl $*: status $status: $(cat out errors)"
}

# has FILE LINE...: these and no others
has()
{
	file=$1
	shift
	for each; do echo "$each"; done | diff - "$file" ||
		fail "$file: others than wanted (left)"
}

# within SECONDS COMMAND...: it succeeds by then
within()
{
	tries=$(($1 * 20))
	shift
	until "$@"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || fail "not in time: $*: $(cat out errors)"
		sleep 0.05
	done
}

cat >talk.txt <<'END'
> list
dev id=0 name=one state=live target=ram size=1048576 dev=/dev/ublkb0 ro=no
dev id=3 name=two state=quiesced target=file size=1000 dev=/dev/ublkb3 ro=no path="/srv/x y"
OK seq=12
> format json
{"frame":"OK"}
> version
OK version=0.1.0 proto=1
> show one
dev id=0 name=one state=live size=67108864 max-io=512
config text="add ram size=64M name=one"
layer name=error failed=3
queue id=0 depth=128 owned=0 reads=5
OK seq=12
> help
command name=add words="target [key=value ...]" access=write help="make a device"
command name=a-name-that-is-long words="" access=read help="nothing"
OK
> del one
WAIT what=del
~
WAIT what=del
~
WAIT what=del
~
WAIT what=del
~
WAIT what=del
~
WAIT what=del
~
WAIT what=del
~
WAIT what=del
~
WAIT what=del
~
WAIT what=del
~
WAIT what=del
~
WAIT what=del
OK id=0
> del x
ERR notfound text="there is no such device; \x1b[31m" arg=x
> watch dev
OK seq=12
EVENT seq=13 dev id=3 name=two state=live
EVENT overflow lost=7
> watch none
OK seq=12
> trace one follow=yes
OK events=0
EVENT trace id=0 time=1.5 event=delivered
-
END

echo "- statuses"
ctl 3 version
grep -q "no daemon runs" errors || fail "$(cat errors)"
start
ctl 0 version
has out "OK version=0.1.0 proto=1"
# What is not known is said as the daemon has got it.
ctl 1 upgrade program=x
has errors "ublkctl: there is no command 'upgrade program=$(pwd -P)/x'"
ctl 1 add ram keep=yes
has errors "ublkctl: there is no command 'add ram keep=yes'"
ctl 2 recover -n 0
grep -q "takes devices over by itself" errors || fail "$(cat errors)"
ctl 1 del x
has out
has errors "ublkctl: there is no such device; ?[31m"
ctl 2
ctl 2 --nonsense
ctl 2 top --json
ctl 2 shell more

echo "- for people"
ctl 0 list
has out "ID  NAME  DEV          STATE     TARGET  SIZE  RO  PATH" \
	" 0  one   /dev/ublkb0  live      ram       1M  no" \
	" 3  two   /dev/ublkb3  quiesced  file    1000  no  /srv/x y"
ctl 0 show one
has out "id            0" "name          one" "state         live" \
	"size          64M (67108864 bytes)" "max-io        512" \
	"config        add ram size=64M name=one" "layer error   failed 3" \
	"queue 0       depth 128, owned 0, reads 5"
COLUMNS=60 ctl 0 help
has out "add           target [key=value ...], access write: make a" \
	"              device" \
	"a-name-that-is-long" "              nothing"
"$ublkctl" --help >out
! grep '^.\{81\}' out || fail "--help: wider than 80 columns"

echo "- JSON"
sed -i -e 's/^dev id=3 .*/{"record":"dev","id":3,"name":"two","path":"\/srv\/x\\u0020\\"y\\"","a":[1,"]}"],"ro":false}/' \
	-e 's/^OK seq=12/{"frame":"OK","seq":12}/' \
	-e 's/^ERR notfound .*/{"frame":"ERR","symbol":"notfound","text":"say \\"what\\"\\u00e4","arg":"x"}/' talk.txt
for line in "--json list" "list --json"; do
	# shellcheck disable=SC2086 # words
	ctl 0 $line
	sed -n '/^> list/,/^> /p' talk.txt | sed '/^>/d' | diff - out ||
		fail "$line: other lines than the daemon's (left)"
done
ctl 0 --json find '/srv/x "y"'
has out "$(grep '"record"' talk.txt)"
ctl 1 find --json /srv/z
ctl 0 list -n 3 --json
has out "$(grep '"record"' talk.txt)"
ctl 1 del x --json
has out "$(grep '"ERR"' talk.txt)"
has errors "ublkctl: say \"what\"$(printf '\303\244')"
sed -i '/^{"frame":"OK"}/d' talk.txt
sed -i 's/^> format json/&\nERR unknown text="no format"/' talk.txt
ctl 1 list --json
has errors "ublkctl: no format"

echo "- a shell's lines that come from no terminal"
status=0
"$ublkctl" shell </dev/null >out 2>errors || status=$?
if [ $status = 2 ]; then
	has errors "ublkctl: this ublkctl was built without libedit, and has no shell" \
		"Try 'ublkctl --help'."
else
	printf 'version\n\n# none\nbad "quote\nversion\nquit\nlist\n' |
		"$ublkctl" -s socket shell >out 2>errors
	has out "OK version=0.1.0 proto=1" "OK version=0.1.0 proto=1"
	has errors "ublkctl: a quote is not closed" "Try 'ublkctl --help'."
	status=0
	printf 'version\ndel x' | "$ublkctl" -s socket shell >out 2>errors ||
		status=$?
	[ $status = 1 ] || fail "shell: status $status"
fi

echo "- what takes long"
ctl 0 del one
has out "OK id=0"
# A busy host may see the first look late, or two.
grep -q . errors || fail "nothing is told of a command that takes long"
! grep -vx "ublkctl: 'del one' is under way: [0-9]* s" errors ||
	fail "$(cat errors)"

echo "- watch"
ctl 0 watch none
sed -i 's/^{"frame":"OK","seq":12}/OK seq=12/' talk.txt
"$ublkctl" -s socket watch dev >out 2>errors &
watch=$!
within 10 grep -q "EVENT overflow lost=7" out
has out "OK seq=12" "EVENT seq=13 dev id=3 name=two state=live" \
	"EVENT overflow lost=7"
stop
within 10 grep -q "waiting for the next server" errors
sed -i 's/^EVENT seq=13/EVENT seq=14/' talk.txt
start
within 10 grep -q "EVENT seq=14" out
kill -INT $watch
status=0
wait $watch || status=$?
[ $status = 0 ] || fail "watch: status $status after SIGINT"

ctl 3 trace one follow=yes
grep -q "EVENT trace" out || fail "$(cat out)"
grep -q "the connection has ended" errors || fail "$(cat errors)"
