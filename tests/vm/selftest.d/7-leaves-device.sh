# It leaves a device behind, so that a new guest is needed.
. /t/lib.sh
: >/dev/ublkc77
