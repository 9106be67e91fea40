#!/bin/sh
# Exports of NBD servers that want TLS: data is right, and a device outlives its
# server, ublkd's processes and an upgrade; whatever is wrong with a certificate or a
# key is said; nothing goes without TLS.
#
# needs: binaries nbdkit fio mkfs.ext4 openssl
# needs: modules ext4
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# needs: files tests/vm/lib-nbd.sh:/t/lib-nbd.sh
# needs: files /usr/lib/x86_64-linux-gnu/libnbd.so.0:/nbd/libnbd.so.0
# needs: files /usr/lib/x86_64-linux-gnu/libgnutls.so.30:/nbd/libgnutls.so.30
# needs: files /usr/lib/x86_64-linux-gnu/nbdkit/plugins/nbdkit-file-plugin.so:/nbd/file.so
# time: 200
# kernels: 6.12
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh
# shellcheck source=tests/vm/lib-nbd.sh
. /t/lib-nbd.sh

requires nbdkit fio mkfs.ext4 openssl

PKI=/tmp/t/pki
UNIX="nbds+unix:///?socket=/tmp/t/nbd"
MINE=tls-certificates=$PKI/mine
TCP=nbds://127.0.0.1/

# authority NAME: that signs itself
authority()
{
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
		-config $PKI/conf -extensions authority -subj "/CN=$1" \
		-keyout "$PKI/$1.key" -out "$PKI/$1.pem"
}

# signed NAME: a certificate of that kind by the first authority
signed()
{
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
		-config $PKI/conf -subj "/CN=$1" \
		-keyout "$PKI/$1-key.pem" -out "$PKI/$1.csr"
	openssl x509 -req -in "$PKI/$1.csr" -CA $PKI/first.pem \
		-CAkey $PKI/first.key -CAcreateserial -extfile $PKI/conf \
		-extensions "$1" -out "$PKI/$1-cert.pem"
}

make_certificates()
{
	mkdir -p $PKI/mine $PKI/other $PKI/server
	cat >$PKI/conf <<-END
		[req]
		distinguished_name = dn
		[dn]
		[authority]
		basicConstraints = critical,CA:TRUE
		[server]
		subjectAltName = DNS:storage.example,IP:127.0.0.1
		[client]
		basicConstraints = CA:FALSE
	END
	authority first
	authority second
	signed server
	signed client
	cp $PKI/first.pem $PKI/server/ca-cert.pem
	cp $PKI/server-*.pem $PKI/server/
	cp $PKI/first.pem $PKI/mine/ca-cert.pem
	cp $PKI/client-*.pem $PKI/mine/
	cp $PKI/second.pem $PKI/other/ca-cert.pem
	echo "alice:$(openssl rand -hex 16)" >$PKI/keys
	echo "alice:$(openssl rand -hex 16)" >$PKI/wrong-keys
	chmod 600 $PKI/*/*-key.pem $PKI/*keys
}

serve_tls()
{
	[ -e /tmp/t/disk ] || truncate -s 64M /tmp/t/disk
	serve --tls=require --tls-certificates=$PKI/server --tls-verify-peer \
		/nbd/file.so /tmp/t/disk
}

# serve_tcp ARG...: as serve, at the port for NBD
serve_tcp()
{
	rm -f /tmp/t/nbdkit.pid
	nbdkit -f -p 10809 -P /tmp/t/nbdkit.pid --threads 1 "$@" \
		/nbd/file.so /tmp/t/disk >/tmp/t/nbdkit.log 2>&1 &
	wait_for 10 '[ -s /tmp/t/nbdkit.pid ]' ||
		fail "no nbdkit: $(cat /tmp/t/nbdkit.log)"
}

# refused WHY OPTION...
refused()
{
	why=$1
	shift
	request "add nbd $*"
	case $REPLY in
	"ERR "*"$why"*) echo "- $REPLY" ;;
	*) fail "it does not say '$why': $REPLY" ;;
	esac
}

relays()
{
	grep -lx ublkd-relay /proc/[0-9]*/comm 2>/dev/null | wc -l
}

# relays_are N
relays_are()
{
	wait_for 10 "[ \"\$(relays)\" = $1 ]" ||
		fail "there are $(relays) relays, not $1"
}

files_are_right()
{
	expect_ok "add nbd id=0 uri=$UNIX $MINE"
	make_files
	expect_ok "del id=0"
	relays_are 0
	expect_ok "add nbd id=0 uri=$UNIX ro=yes $MINE"
	find_files
	expect_ok "del id=0"
	echo "- at $(now) ms: files"
}

# a_relay_is_little: it can do nothing but what it is for.
a_relay_is_little()
{
	relay=$(grep -lx ublkd-relay /proc/[0-9]*/comm | cut -d / -f 3)
	[ "$(fds "$relay")" = 2 ] || fail "it has $(fds "$relay") descriptors"
	grep -q '^CapEff:.0*$' "/proc/$relay/status" || fail "it has rights"
	if ! sanitized; then
		grep -q '^Seccomp:.2$' "/proc/$relay/status" ||
			fail "it can make any call"
	fi
	[ "$(cat "/proc/$relay/oom_score_adj")" = -1000 ] ||
		fail "the OOM killer may have it"
	echo "- a relay: $(pss "$relay") KiB"
	grep -q '^Threads:.1$' "/proc/$(server_pid)/status" ||
		fail "the server has other threads"
	! grep -q gnutls "/proc/$(server_pid)/maps" "/proc/$(keeper_pid)/maps" ||
		fail "GnuTLS is in a process that stays"
}

# outlives: whoever dies, fio sees no error and reads what it has written.
outlives()
{
	begin_load "add nbd id=0 uri=$UNIX connections=1 $MINE" \
		--rw=randwrite --size=16M --verify=crc32c --verify_backlog=64
	a_relay_is_little
	command kill "$relay"
	goes_on_well
	[ -d "/proc/$relay" ] || fail "SIGTERM ends a relay"
	for _ in 1 2; do
		sleep 1
		end_server
		goes_off
		serve_tls
		comes_back
		goes_on_well
	done
	command kill -9 "$(grep -lx ublkd-relay /proc/[0-9]*/comm | cut -d / -f 3)"
	comes_back
	goes_on_well
	echo "- at $(now) ms: the server was killed twice, and the relay"
	for end in kill_server upgraded keeper_killed both_killed; do
		LD_LIBRARY_PATH=/nbd $end
		await_live 0
		comes_back
		goes_on_well
		relays_are 1
		echo "- at $(now) ms: $end"
	done
	stands_still 4
	end_load
	relays_are 0
}

# what_is_wrong_is_said: by servers that want a certificate
what_is_wrong_is_said()
{
	refused "is refused" "uri=$UNIX tls-certificates=$PKI/other"
	refused "any server" "uri=$UNIX"
	refused "is refused" "uri=$UNIX tls-hostname=storage.example"
	refused "not of else.example" "uri=$UNIX tls-hostname=else.example" \
		"$MINE"
	expect_ok "add nbd id=0 uri=$UNIX tls-hostname=storage.example $MINE"
	expect_ok "del id=0"
	refused "wants TLS" "uri=$URI"
	mkdir -p $PKI/anybody
	cp $PKI/mine/* $PKI/anybody
	chmod 644 $PKI/anybody/client-key.pem
	refused "others than its owner can read" \
		"uri=$UNIX tls-certificates=$PKI/anybody"
	rm $PKI/anybody/client-*
	refused "it may want a certificate" \
		"uri=$UNIX tls-certificates=$PKI/anybody"
	end_server
	serve_file
	refused "wants no TLS" "uri=$UNIX $MINE"
	end_server
}

# by_tcp: the name of the certificate is the host's; and keys
by_tcp()
{
	ip link set lo up
	serve_tcp --tls=require --tls-certificates=$PKI/server
	expect_ok "add nbd id=0 uri=$TCP $MINE"
	dd if=/dev/ublkb0 of=/dev/null bs=64k count=16 iflag=direct 2>/dev/null
	expect_ok "del id=0"
	expect_ok "add nbd id=0 uri=nbd://127.0.0.1/ tls=yes connections=1 $MINE"
	relays_are 1
	expect_ok "del id=0"
	end_server
	serve_tcp --tls=require --tls-psk=$PKI/keys
	expect_ok "add nbd id=0 uri=$TCP tls-psk-file=$PKI/keys tls-username=alice"
	dd if=/dev/ublkb0 of=/dev/null bs=64k count=16 iflag=direct 2>/dev/null
	expect_ok dump
	case $REPLY in
	*"$(cut -d : -f 2 $PKI/keys)"*) fail "a key is shown: $REPLY" ;;
	esac
	expect_ok "del id=0"
	refused "another key" \
		"uri=$TCP tls-psk-file=$PKI/wrong-keys tls-username=alice"
	end_server
}

make_certificates >/tmp/t/openssl.log 2>&1 ||
	fail "no certificates: $(cat /tmp/t/openssl.log)"
start_nbd
serve_tls
files_are_right
outlives
what_is_wrong_is_said
by_tcp
relays_are 0
! grep -qF "$(cut -d : -f 2 $PKI/keys)" "$LOG" || fail "the log has a key"
