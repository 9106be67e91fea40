# Functions that the scripts in contrib share.
# shellcheck shell=bash
# shellcheck disable=SC2034 # used by those who read this

top=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/..")
build=$(readlink -m "${UBLKD_BUILD:-$top/build}")
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
jobs=$(nproc)

packages_build=(gcc make autoconf automake pkg-config libc6-dev libedit-dev
	libev-dev libgnutls28-dev liburing-dev libnbd-dev)
packages_test=(libcmocka-dev clang libclang-rt-dev zsh fish runit
	python3-prometheus-client systemtap-sdt-dev tmux)
packages_static=(shellcheck cppcheck clang-tidy clang-format mandoc systemd)
packages_vm=(qemu-system-x86 busybox-static cpio kmod xz-utils zstd socat
	e2fsprogs)
packages_vm_test=(fio jq strace xfsprogs btrfs-progs fdisk dmsetup lvm2
	nbdkit nbd-client nbd-server openssl qemu-utils)

say()
{
	echo "$(basename "$0"): $*"
}

die()
{
	say "$*" >&2
	exit 1
}

# as_root COMMAND...
as_root()
{
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		say "'$1' needs root, and there is no sudo" >&2
		return 1
	fi
}

# is_installed PACKAGE. Another program of the same name will do, too.
is_installed()
{
	case $1 in
	busybox-static) ! command -v busybox >/dev/null || return 0 ;;
	esac
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# need_packages PACKAGE...: installs those that are missing, and does not touch
# apt when none is. 1 after a sentence that says what cannot be had.
need_packages()
{
	local name missing=() lost=()
	for name; do
		is_installed "$name" || missing+=("$name")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	say "installing ${missing[*]}"
	apt_get "${missing[@]}" >/dev/null 2>&1 && return 0
	# Once more with a fresh list, and then one by one to find the culprit.
	as_root apt-get -qq update >/dev/null 2>&1 || true
	apt_get "${missing[@]}" >/dev/null 2>&1 && return 0
	for name in "${missing[@]}"; do
		apt_get "$name" >/dev/null 2>&1 || lost+=("$name")
	done
	[ ${#lost[@]} -gt 0 ] || return 0
	say "apt cannot install ${lost[*]}, without which this cannot be done" >&2
	return 1
}

apt_get()
{
	as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get -qq -y --no-install-recommends install "$@" </dev/null
}

# make_configure: what autoreconf makes, unless it is newer than its sources.
make_configure()
{
	[ ! -e "$top/config.status" ] ||
		die "the source tree itself is configured; run 'make distclean' there"
	if [ ! -e "$top/configure" ] || [ -n "$(find "$top" -maxdepth 3 \
		\( -name configure.ac -o -name Makefile.am -o -name '*.inc' \) \
		-newer "$top/configure")" ]; then
		(cd "$top" && autoreconf -fi)
	fi
}

# compile FOLDER CONFIGURE-ARG... [-- MAKE-ARG...]: an out-of-tree build.
compile()
{
	local folder=$1 configure=()
	shift
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		configure+=("$1")
		shift
	done
	[ $# = 0 ] || shift
	mkdir -p "$folder"
	make_configure &&
		(cd "$folder" &&
			{ [ config.status -nt "$top/configure" ] ||
				"$top/configure" "${configure[@]}"; } &&
			make -j "$jobs" "$@")
}
