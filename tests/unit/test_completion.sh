#!/bin/sh
# Completion in bash, zsh and fish: what ublkctl and the daemon know is offered, with
# a stand-in for both, and ublkctl's own words when the daemon does not answer. The
# text of --help is the one in src/.
set -eu
export LC_ALL=C

top=${srcdir:-.}
from=$top/contrib/completion
work=$(mktemp -d "${TMPDIR:-/tmp}/test_completion.XXXXXX")
trap 'rm -rf "$work"' EXIT
PATH=$work/bin:$PATH
tab=$(printf '\t')

fail()
{
	echo "$*"
	exit 1
}

# usage FILE.c: the text that is its --help
usage()
{
	sed -n '/^static const char usage/,/;$/p' "$top/$1" |
		sed -e '/^#/d' -e 's/" DEFAULT_[A-Z]*\( "\|$\)/FOLDER/' |
		awk -F '"' '{ printf "%s", $2 }' | sed 's/\\n/\n/g'
}

# stand_in PROGRAM
stand_in()
{
	cat >"$work/bin/$1" <<END
#!/bin/sh
if [ "\$*" = --help ]; then
	exec cat "$work/$1.help"
fi
echo "\$*" >>"$work/asked"
. "$work/answer"
END
	chmod +x "$work/bin/$1"
}

# answers LINE...: what the daemon has to say from now on
answers()
{
	{
		echo "cat <<'ANSWER'"
		printf '%s\n' "$@"
		echo ANSWER
	} >"$work/answer"
	: >"$work/asked"
}

# same TEXT WORD...: the words that are found are these
same()
{
	text=$1
	shift
	for each; do echo "$each"; done | diff - "$work/words" ||
		fail "$text: others than wanted (left)"
}

# words_of PROGRAM LINE: what the script says; its status
words_of()
{
	status=0
	"$work/share/ublkd-words" "$1" "$2" >"$work/found" || status=$?
}

# offers PROGRAM LINE WORD...: help is not looked at
offers()
{
	words_of "$1" "$2"
	[ $status = 0 ] || fail "'$1 $2': status $status"
	cut -f 1 "$work/found" >"$work/words"
	text="'$1 $2'"
	shift 2
	same "$text" "$@"
}

# wants_path PROGRAM LINE
wants_path()
{
	words_of "$1" "$2"
	if [ $status != 3 ] || [ -s "$work/found" ]; then
		fail "'$1 $2': status $status, $(cat "$work/found")"
	fi
}

mkdir "$work/bin" "$work/share" "$work/files"
: >"$work/files/one"
usage src/ctl/main.c >"$work/ublkctl.help"
usage src/main.c >"$work/ublkd.help"
stand_in ublkctl
stand_in ublkd
cp "$from/ublkd-words" "$work/share"
for file in ublkctl.bash _ublkctl ublkctl.fish; do
	sed "s|@pkgdatadir@|$work/share|" "$from/$file.in" >"$work/$file"
done

# ---- the words

echo "- the daemon's"
answers 'candidate word=add help="make a \"device\""' \
	'candidate word=all help=""' OK
offers ublkctl a add all
grep -qx "add${tab}make a \"device\"" "$work/found" ||
	fail "no help: $(cat "$work/found")"
[ "$(cat "$work/asked")" = "complete a" ] || fail "asked: $(cat "$work/asked")"
answers 'candidate word=name= help=name' 'candidate word="no b" help=no' OK
offers ublkctl "  -s /run/x --state=/y  add  ram na" name=
[ "$(cat "$work/asked")" = "-s /run/x --state=/y complete add  ram na" ] ||
	fail "asked: $(cat "$work/asked")"

echo "- one that does not answer"
echo 'exec sleep 100' >"$work/answer"
begun=$(date +%s)
offers ublkctl doc doctor
took=$(($(date +%s) - begun))
[ $took -lt 20 ] || fail "it took $took s"
echo 'exit 3' >"$work/answer"
words_of ublkctl ""
for word in doctor find list; do
	grep -qx "$word" "$work/found" || fail "'$word' is not offered"
done
offers ublkctl "add "

echo "- options"
offers ublkctl -- --json --socket= --state= --version --help
offers ublkctl "list --" --columns= --noheadings --bytes
offers ublkd --c --config= --check-config
offers ublkd --log-level=n --log-level=notice
offers ublkd "-l w" warning
offers ublkd --hot= --hot=no
offers ublkd x
sed -n 's/^\t{ "\([a-z-]*\)", .*, \([^ ]*\) },$/\1 \2/p' "$top/src/main.c" |
	grep -v -e ' OPTION_SERVER$' -e ' OPTION_SYSLOG$' -e ' OPTION_HELPER$' \
		-e ' OPTION_CONTINUE$' -e ' OPTION_BORROWED_SOCKET$' |
	while read -r option _; do
		words_of ublkd "--$option"
		grep -q "^--$option=\{0,1\}$tab" "$work/found" ||
			fail "--$option is not offered"
	done

echo "- paths"
for line in "-s " "-c /x" --socket= "--state=/r"; do
	wants_path ublkd "$line"
done
for line in "-j " "find /x" "--state " "-s /run/" "add file path="; do
	wants_path ublkctl "$line"
done
keys=$(awk '/\.name = "/ { split($0, part, "\""); name = part[2] }
	/\.type = OPTION_PATH,/ { print name }' "$top"/src/*/*.c | sort -u)
[ "$(echo "$keys" | wc -l)" -ge 3 ] || fail "src/: no OPTION_PATH"
for key in $keys; do
	wants_path ublkctl "x $key=/"
done

# ---- the shells

ours()
{
	answers 'candidate word=first help=ram' \
		'candidate word=name= help="a: name"' OK
}

in_bash()
{
	cat >"$work/try.bash" <<'END'
source "$1"
COMP_WORDBREAKS=$2 COMP_LINE=$3 COMP_POINT=${#3}
read -ra COMP_WORDS <<<"$3"
COMP_CWORD=${#COMP_WORDS[@]}
_ublkd_words "${COMP_WORDS[0]}"
printf '%s\n' "${COMPREPLY[@]}"
END
	# completed BREAKS LINE WORD...
	completed()
	{
		text="bash, '$2'"
		bash "$work/try.bash" "$work/ublkctl.bash" "$1" "$2" |
			sort >"$work/words"
		shift 2
		same "$text" "$@"
	}
	completed ' =:' "ublkctl del " first name=
	completed ' =:' "/usr/sbin/ublkctl del n" name=
	completed ' =:' "ublkctl x path=$work/files/o" "$work/files/one"
	completed ' ' "ublkctl x path=$work/files/o" "path=$work/files/one"
	completed ' =:' "ublkd --log-level=e" error
	completed ' ' "ublkd --log-level=e" --log-level=error
	answers 'candidate word=name=a:bc help=""' OK
	completed ' =:' "ublkctl x name=a:b" bc
	completed ' =' "ublkctl x name=a:b" a:bc
}

in_zsh()
{
	zsh -n "$work/_ublkctl" || fail "zsh cannot read it"
	cat >"$work/try.zsh" <<'END'
setopt extendedglob
compset() { echo "compset $*" }
_files() { echo files }
_describe() { print -rl -- $whole $keys }
try() { local -a words=(ublkctl del "$2"); local CURRENT=3 PREFIX=$2; source $1 }
try "$@"
END
	# completed PREFIX WORD...: behind "ublkctl del"
	completed()
	{
		text="zsh, '$1'"
		zsh -f "$work/try.zsh" "$work/_ublkctl" "$1" >"$work/words"
		shift
		same "$text" "$@"
	}
	completed "" first:ram "name=:a: name"
	completed path=x "compset -P [-a-z]##=" files
}

in_fish()
{
	# completed LINE CANDIDATE...
	completed()
	{
		text="fish, '$1'"
		HOME=$work fish --no-config -c "source $work/ublkctl.fish
			complete -C '$1'" | sort >"$work/words"
		shift
		same "$text" "$@"
	}
	completed "ublkctl del " "first${tab}ram" "name=${tab}a: name"
	completed "ublkctl x path=$work/files/o" "path=$work/files/one"
	completed "ublkd --log-level=e" --log-level=error
}

for shell in bash zsh fish; do
	command -v $shell >/dev/null || continue
	echo "- $shell"
	ours
	in_$shell
done
