# How long the requests of another device, /dev/ublkb1, take. A guest that counts
# instructions (# needs: icount) knows nothing of how busy its host is.
#
# shellcheck shell=sh

# longest: of a load's writes and flushes, in ms
longest()
{
	fio --name=l --filename=/dev/ublkb1 --rw=randwrite --bs=4k --size=16M \
		--io_size=1M --ioengine=psync --fdatasync=1 --direct=1 \
		--output-format=json >/tmp/t/json || fail "$(cat /tmp/t/json)"
	awk '/"(lat_ns|sync)"/ { inside = 1 }
		/"max" :/ && inside {
			gsub(/,/, "")
			if ($3 + 0 > max) max = $3 + 0
			inside = 0
		}
		END { printf "%d\n", max / 1e6 }' /tmp/t/json
}
