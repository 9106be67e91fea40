# Reading packages of the archive that apt is configured for, through a private
# source list and private state: nothing of it is installed on the host, and
# the host's own lists stay as they are. For the scripts fetch-*.
#
# shellcheck shell=bash
# shellcheck disable=SC2154 # $work is the caller's

# What apt looks for: packages, or with deb-src their sources
source_type=deb

# die MESSAGE...
die()
{
	echo "${0##*/}: $*" >&2
	exit 1
}

# derive_deb822 BASES SUITE FILE...: the first stanza that has one of BASES
# among its suites, with SUITE in its place.
derive_deb822()
{
	awk -v bases=" $1 " -v suite="$2" -v type="$source_type" '
	BEGIN { RS = ""; FS = "\n" }
	{
		good = 0; drop = 0
		out = "Types: " type "\nSuites: " suite "\nComponents: main\n"
		for (i = 1; i <= NF; i++) {
			key = tolower($i); sub(/:.*/, "", key)
			value = $i; sub(/^[^:]*:/, "", value)
			if ($i ~ /^#/) continue
			if ($i !~ /^[ \t]/) drop = 0
			if (key == "enabled" && value ~ /no|false|0/) next
			if (key == "suites") {
				n = split(value, word, /[ \t]+/)
				for (j = 1; j <= n; j++)
					if (word[j] && index(bases, " " word[j] " "))
						good = 1
			}
			if (key ~ /^(types|suites|components|enabled)$/) drop = 1
			if (!drop) out = out $i "\n"
		}
		if (good) { printf "%s", out; exit }
	}' "${@:3}"
}

# derive_list BASES SUITE FILE...: the same for the one-line format.
derive_list()
{
	awk -v bases=" $1 " -v suite="$2" -v type="$source_type" '
	/^[ \t]*deb[ \t]/ {
		line = $0; sub(/^[ \t]*deb[ \t]+/, "", line); options = ""
		if (match(line, /^\[[^]]*\][ \t]*/)) {
			options = substr(line, 1, RLENGTH)
			line = substr(line, RLENGTH + 1)
		}
		split(line, word, /[ \t]+/)
		if (word[1] !~ /^cdrom:/ && index(bases, " " word[2] " ")) {
			print type " " options word[1] " " suite " main"; exit
		}
	}' "${@:3}"
}

# write_source SUITE FOLDER: FOLDER/source.{sources,list}; prints its name.
write_source()
{
	local LIST='' PARTS='' codename bases
	eval "$(apt-config shell LIST Dir::Etc::sourcelist/f \
		PARTS Dir::Etc::sourceparts/d)"
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
	bases="$codename stable oldstable testing"

	shopt -s nullglob
	local stanzas=("${PARTS%/}"/*.sources) lists=("$LIST" "${PARTS%/}"/*.list)
	[ -r "$LIST" ] || lists=("${lists[@]:1}")
	if [ ${#stanzas[@]} -gt 0 ]; then
		derive_deb822 "$bases" "$1" "${stanzas[@]}" >"$2/source.sources"
		[ -s "$2/source.sources" ] && echo "$2/source.sources" && return
	fi
	if [ ${#lists[@]} -gt 0 ]; then
		derive_list "$bases" "$1" "${lists[@]}" >"$2/source.list"
		[ -s "$2/source.list" ] && echo "$2/source.list" && return
	fi
	die "no source for Debian '$codename' is configured in apt"
}

# of_architecture ARCH: what apt looks for from now on, in place of the host's.
of_architecture()
{
	export APT_CONFIG=$work/apt.conf
	printf 'APT::Architecture "%s";\nAPT::Architectures { "%s"; };\n' \
		"$1" "$1" >"$APT_CONFIG"
}

# private_apt TOOL ARG...: apt with the private source and state in $work.
private_apt()
{
	local tool=$1 sandbox=()
	shift
	# Root's apt would drop to a user who cannot write into our folder.
	[ "$(id -u)" != 0 ] || sandbox=(-o APT::Sandbox::User=root)
	"$tool" -qq -o Dir::Etc::sourcelist="$source" \
		-o Dir::Etc::sourceparts="$work/none" \
		-o Dir::State="$work/state" -o Dir::State::status="$work/status" \
		-o Dir::Cache="$work/cache" -o Acquire::Languages=none \
		-o APT::Update::Error-Mode=any -o Acquire::Retries=3 "${sandbox[@]}" "$@"
}

# open_suite SUITE: reads its package lists; everything is below $work.
open_suite()
{
	mkdir -p "$work"/{none,state/lists/partial,cache/archives/partial,debs}
	: >"$work/status"
	source=$(write_source "$1" "$work")
	private_apt apt-get update >"$work/log" 2>&1 || {
		tail -n 5 "$work/log" >&2
		die "the suite $1 cannot be read from the configured archive"
	}
}
