# A watcher that looks for stuck tasks all the time, for tests that have such
# moments only in their midst. A test that uses it has
#
#   # needs: files tests/vm/lib-watch.sh:/t/lib-watch.sh
#
# shellcheck shell=sh

# watch_d_state SECONDS: from now on, notes each task that stays in D state for
# so long. The runner ends it with the test's session.
watch_d_state()
{
	(
		while :; do
			stuck=$(lasting_d_tasks "$1")
			for task in $stuck; do show_task "$task"; done \
				>>/tmp/t/stuck 2>&1
			sleep 1
			echo >>/tmp/t/watched
		done
	) &
	WATCHER=$!
}

# nothing_was_stuck: fails if a task was, or if nobody has looked.
nothing_was_stuck()
{
	alive "$WATCHER" || fail "the watcher has ended"
	wait_for 20 '[ -s /tmp/t/watched ]' || fail "the watcher has not looked"
	kill "$WATCHER"
	[ ! -s /tmp/t/stuck ] || fail "stuck in D state: $(cat /tmp/t/stuck)"
	echo "looked $(wc -l </tmp/t/watched) times for tasks in D state"
}
