#!/bin/sh
# What ublkd(8) and ublkctl(8) show of a shell is so: each command of their EXAMPLES
# does what stands below it. tests/unit/test_examples.c has the other examples.
#
# needs: binaries socat ublkctl mkfs.ext4
# needs: modules ext4
# needs: files src/man/ublkd.8:/t/ublkd.8
# needs: files src/man/ublkctl.8:/t/ublkctl.8
# needs: files tests/vm/conversation.awk:/t/conversation.awk
# needs: memory 2048
# sanitizers: long
# kernels: 7.x
. /t/lib.sh

requires ublkctl mkfs.ext4

# examples MANUAL: the lines of its blocks that show a root's shell, "> COMMAND" and
# "< ANSWER". What differs each time is *.
examples()
{
	awk '
	/^\.Sh / { inside = /EXAMPLES/ }
	/^\.Bd/ { block = inside; shell = 0; next }
	/^\.Ed/ { block = 0; next }
	block && sub(/^# /, "") {
		# Not a file, not what a person types into socat, and not what
		# needs a server that is stopped: ctl has that.
		shell = !/^\/|^socat|inspect/
		if (shell)
			print "> " $0
		next
	}
	block && shell { print "< " $0 }' "$1" |
		sed -e '/^</s/ \(version\|pid\)=[^ ]*/ \1=*/g'
}

# run FILE: such lines, one command after the other
run()
{
	awk '/^> / { print NR, substr($0, 3) }' "$1" >/tmp/t/commands
	while read -r place line; do
		echo "# $line"
		sh -c "$line" >/tmp/t/came 2>&1 </dev/null ||
			fail "$line: $(cat /tmp/t/came)"
		awk -f /t/conversation.awk -v job=said -v place="$place" "$1" \
			/tmp/t/came || fail "$line"
		count=$((count + 1))
	done </tmp/t/commands
}

count=0
rmmod ublk_drv
examples /t/ublkd.8 >/tmp/t/ublkd
run /tmp/t/ublkd
examples /t/ublkctl.8 >/tmp/t/ublkctl
run /tmp/t/ublkctl
expect_ok shutdown
wait_for 20 '[ -z "$(pidof ublkd ublkd-server)" ]' || fail "it does not end"
[ $count -ge 9 ] || fail "only $count examples"
