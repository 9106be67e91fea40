/*
 * The keeper's watch over a server that may hang. The server's side, its turns,
 * is this process as well.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "support.h"
#include "io/recorder.h"
#include "io/turns.h"
#include "keeper/sight-file.h"
#include "keeper/watchdog.h"

#define SERVER 4711

/* Looks until a server that was watched all along is killed, and one less. */
#define LIMIT 12

static struct watchdog watchdog;
static int waited_for; /* whether there is a reason */
static int answers;    /* it takes the turn that it is asked for */
static unsigned asked; /* so often */
static unsigned told;  /* the keeper was told of work so often */
static unsigned kills; /* of the server */
static const struct proc server = { SERVER, -1 };
static int sight; /* the file */

static struct proc_look process; /* the server */
static pid_t dead;		 /* one that was begun */

int __wrap_proc_look(pid_t pid, struct proc_look *look);
void __wrap_proc_kill(const struct proc *proc);

int __wrap_proc_look(pid_t pid, struct proc_look *look)
{
	assert_true(pid >= SERVER);
	if (pid == dead)
		return -ESRCH;
	*look = process;
	return 0;
}

void __wrap_proc_kill(const struct proc *proc)
{
	assert_ptr_equal(proc, &server);
	kills++;
}

static void set_process(char state, unsigned ticks)
{
	process.state = state;
	process.ticks = ticks;
}

static int is_waited_for(struct watchdog *of)
{
	assert_ptr_equal(of, &watchdog);
	return waited_for;
}

static void ask(struct watchdog *of)
{
	assert_ptr_equal(of, &watchdog);
	asked++;
	if (answers)
		turns_count();
}

static void on_busy(void *owner)
{
	assert_ptr_equal(owner, &told);
	told++;
}

static int start(void **state)
{
	const char *why;
	int which;

	test_loop_open();
	log_forget();
	sight = sight_file_make(-1, &why);
	assert_true(sight >= 0);
	waited_for = answers = 0;
	asked = told = kills = 0;
	dead = 0;
	set_process('S', 2);
	strcpy(process.name, "ublkd-server");
	watchdog_open(&watchdog, test_loop, is_waited_for, ask, NULL);
	which = watchdog_begin(&watchdog, &server, sight);
	assert_in_range(which, 0, 1);
	assert_int_equal(turns_share(sight, (unsigned)which, on_busy, &told),
			 0);
	return 0;
}

static int stop(void **state)
{
	watchdog_end(&watchdog);
	close(sight);
	test_loop_close();
	return 0;
}

/* Nobody looks at one that does nothing, and its work is told of once. */
static void test_idle(void **state)
{
	pass_time(5);
	assert_false(ev_is_active(&watchdog.timer));
	turns_count();
	turns_count();
	assert_int_equal(told, 1);
	watchdog_look(&watchdog);
	assert_true(ev_is_active(&watchdog.timer));
	pass_time(5);
	assert_false(ev_is_active(&watchdog.timer));
	assert_int_equal(asked, 0);
	turns_count();
	assert_int_equal(told, 2);
}

/* One that turns is asked nothing, and does not tell that it works. */
static void test_at_work(void **state)
{
	unsigned i;

	watchdog_look(&watchdog);
	waited_for = 1;
	for (i = 0; i < 60; i++) {
		turns_count();
		pass_time(1);
	}
	assert_int_equal(asked + told + kills, 0);
}

/* A backend may be silent for as long as it likes. */
static void test_waits(void **state)
{
	watchdog_look(&watchdog);
	waited_for = answers = 1;
	pass_time(3600);
	assert_in_range(asked, 1000, 2000);
	assert_int_equal(kills, 0);
	waited_for = 0;
	pass_time(5);
	assert_false(ev_is_active(&watchdog.timer));
}

static void test_hangs(void **state)
{
	watchdog_look(&watchdog);
	waited_for = 1;
	pass_time(LIMIT - 1.5);
	assert_int_equal(asked, 1);
	assert_int_equal(kills, 0);
	pass_time(2);
	assert_int_equal(kills, 1);
	assert_int_equal(asked, 1);
	assert_true(log_has("process 4711, hangs"));
	assert_false(ev_is_active(&watchdog.timer));
}

/* One turn, and the patience begins anew. */
static void test_late_turn(void **state)
{
	watchdog_look(&watchdog);
	waited_for = 1;
	pass_time(LIMIT - 1.5);
	turns_count();
	pass_time(LIMIT - 1.5);
	assert_int_equal(kills, 0);
	pass_time(3);
	assert_int_equal(kills, 1);
}

static void stopped(char letter)
{
	set_process(letter, 2);
	watchdog_look(&watchdog);
	waited_for = 1;
	pass_time(600);
	assert_int_equal(kills, 0);
	assert_int_equal(log_count("is stopped, by a debugger or SIGSTOP"), 1);
	/* Continued, it has all the time that any other has. */
	set_process('S', 2);
	pass_time(LIMIT - 3.5);
	assert_int_equal(kills, 0);
	pass_time(4);
	assert_int_equal(kills, 1);
}

static void test_stopped(void **state)
{
	stopped('T');
}

static void test_traced(void **state)
{
	stopped('t');
}

/* It goes on and is stopped again: that is told again. */
static void test_stopped_twice(void **state)
{
	watchdog_look(&watchdog);
	waited_for = 1;
	set_process('T', 2);
	pass_time(5);
	turns_count();
	pass_time(1);
	pass_time(5);
	assert_int_equal(log_count("is stopped, by a debugger or SIGSTOP"), 2);
}

/* Runnable, but the host gives it nothing. */
static void test_starved(void **state)
{
	set_process('R', 15);
	watchdog_look(&watchdog);
	waited_for = 1;
	pass_time(600);
	assert_int_equal(kills, 0);
}

/* It runs in circles. */
static void test_spins(void **state)
{
	unsigned i;

	watchdog_look(&watchdog);
	waited_for = 1;
	for (i = 0; i < LIMIT + 1; i++) {
		set_process('R', 15 + i);
		pass_time(1);
	}
	assert_int_equal(kills, 1);
}

#ifndef WITHOUT_SIGHT
/* The log says what it hangs in, as the server wrote it down. */
static void test_says_where(void **state)
{
	struct recorder *recorder;

	assert_int_equal(recorder_begin(sight, test_loop), 0);
	recorder = recorder_open(3, 1, 1, 8, "file");
	assert_non_null(recorder);
	watchdog_look(&watchdog);
	waited_for = 1;
	/* This process's loop, which goes on, has the other part. */
	turns_share(sight, !watchdog.head->current, on_busy, &told);
	watchdog.page->phase = SIGHT_SUBMITS;
	watchdog.page->slot = recorder->slot;
	watchdog.page->since = sight_clock();
	pass_time(LIMIT + 1);
	assert_int_equal(kills, 1);
	assert_true(log_has("it was asked to (1"));
	assert_true(log_has(" s in submit of target file, device 3);"));
	recorder_forget(recorder);
	recorder_end();
}
#endif

/* While both live, a server and the next one count for themselves. */
static void test_two_servers(void **state)
{
	int other = watchdog_begin(&watchdog, &server, sight);

	watchdog_look(&watchdog);
	waited_for = 1;
	for (unsigned i = 0; i < LIMIT + 1; i++) {
		turns_count(); /* by the first one */
		pass_time(1);
	}
	assert_int_equal(kills, 1);
	assert_int_not_equal(watchdog_begin(&watchdog, &server, sight), other);
}

/*
 * A keeper has begun another server, which died, and has given up: the next keeper
 * finds the first one alive, whose part is left alone.
 */
static void test_given_up(void **state)
{
	const struct proc failed = { SERVER + 1, -1 },
			  next = { SERVER + 2, -1 };
	int other;

	watchdog_end(&watchdog);
	other = watchdog_begin(&watchdog, &failed, sight);
	watchdog_end(&watchdog);
	dead = failed.pid;
	turns_count();
	assert_int_equal(watchdog_begin(&watchdog, &next, sight), other);
	assert_int_equal(turns_server->pid, SERVER);
	assert_int_equal(turns_server->turns, 1);
	assert_int_equal(watchdog.page->pid, next.pid);
	assert_int_equal(sight_living(watchdog.head), other);
	/* A number that another program has now is nobody's. */
	dead = next.pid;
	assert_int_equal(sight_living(watchdog.head), !other);
	strcpy(process.name, "sh");
	assert_int_equal(sight_living(watchdog.head), -1);
	strcpy(process.name, "ublkd-server");
	process.state = 'Z';
	assert_int_equal(sight_living(watchdog.head), -1);
}

/* Until there is another server, nobody is watched. */
static void test_end(void **state)
{
	watchdog_look(&watchdog);
	waited_for = 1;
	pass_time(5);
	watchdog_end(&watchdog);
	watchdog_end(&watchdog);
	watchdog_look(&watchdog);
	pass_time(60);
	assert_int_equal(kills, 0);
	assert_true(watchdog_begin(&watchdog, &server, sight) >= 0);
	watchdog_look(&watchdog);
	pass_time(LIMIT + 1);
	assert_int_equal(kills, 1);
}

/* A page that cannot be mapped: it counts on where it did. */
static void test_no_page(void **state)
{
	assert_int_equal(turns_share(-1, 0, on_busy, &told), -EBADF);
	turns_count();
	assert_int_equal(told, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_idle, start, stop),
		cmocka_unit_test_setup_teardown(test_at_work, start, stop),
		cmocka_unit_test_setup_teardown(test_waits, start, stop),
		cmocka_unit_test_setup_teardown(test_hangs, start, stop),
		cmocka_unit_test_setup_teardown(test_late_turn, start, stop),
		cmocka_unit_test_setup_teardown(test_stopped, start, stop),
		cmocka_unit_test_setup_teardown(test_traced, start, stop),
		cmocka_unit_test_setup_teardown(test_stopped_twice, start,
						stop),
		cmocka_unit_test_setup_teardown(test_starved, start, stop),
		cmocka_unit_test_setup_teardown(test_spins, start, stop),
#ifndef WITHOUT_SIGHT
		cmocka_unit_test_setup_teardown(test_says_where, start, stop),
#endif
		cmocka_unit_test_setup_teardown(test_two_servers, start, stop),
		cmocka_unit_test_setup_teardown(test_given_up, start, stop),
		cmocka_unit_test_setup_teardown(test_end, start, stop),
		cmocka_unit_test_setup_teardown(test_no_page, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
