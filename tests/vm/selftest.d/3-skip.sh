# It is skipped.
. /t/lib.sh
requires no-such-program
