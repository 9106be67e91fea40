# Functions for tests that watch the server with the stall sampler; they need
#
#   # needs: binaries stall-sampler
#   # needs: files tests/vm/lib-sampler.sh:/t/lib-sampler.sh
#
# shellcheck shell=sh

SAMPLER=''
LOOKS=0
STALLS=0
LOADED=0

# start_sampler: watches the server that runs now.
start_sampler()
{
	stall-sampler "$(server_pid)" >/tmp/t/sampler 2>&1 &
	SAMPLER=$!
}

# stop_sampler: sets $LOOKS, $STALLS and $LOADED; prints what it saw.
stop_sampler()
{
	kill -TERM "$SAMPLER" 2>/dev/null || fail "the sampler has ended"
	wait "$SAMPLER" || true
	read_sampler
}

# sample LOOKS: takes so many, and sets the same.
sample()
{
	stall-sampler -n "$1" "$(server_pid)" >/tmp/t/sampler 2>&1 || true
	read_sampler
}

read_sampler()
{
	cat /tmp/t/sampler
	# shellcheck disable=SC2034 # for the tests
	LOOKS=$(sampled looks)
	STALLS=$(sampled stalls)
	LOADED=$(sampled loaded)
}

# sampled WORD: the number in the sampler's last line.
sampled()
{
	tail -n 1 /tmp/t/sampler | tr ' ' '\n' | sed -n "s/^$1=//p" | grep . ||
		fail "the sampler has failed"
}

# no_stall LOADED: of what was sampled. There must be no stall, and for so many
# looks there must have been requests in flight: else it has shown nothing.
no_stall()
{
	[ "$STALLS" = 0 ] || {
		dump_state
		fail "$STALLS stalls"
	}
	[ "$LOADED" -ge "$1" ] || fail "only $LOADED looks under load, not $1"
}
