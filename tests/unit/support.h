/*
 * What the unit tests share: a clock that only tests move, a loop, a log that
 * can be looked at, folders for files.
 */
#ifndef UBLKD_TEST_SUPPORT_H
#define UBLKD_TEST_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ev.h>

#include "base/option.h"

/*
 * Few tests look at the state that cmocka gives each of them, and what --wrap puts
 * in a function's place is called by the linker's names, which no header has.
 */
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/*
 * A test of the program, between its before_each() and after_each(), which may
 * be missing. tests_run() runs all in the order in which they stand, and returns
 * main()'s status.
 */
#define TEST_CASE(name)                                                 \
	static void name(void **state);                                 \
	__attribute__((constructor)) static void name##_is_a_test(void) \
	{                                                               \
		test_is(#name, name);                                   \
	}                                                               \
	static void name(void **state)

void test_is(const char *name, CMUnitTestFunction run);
int tests_run(void);
int before_each(void **state);
int after_each(void **state);

/*
 * The test cannot be done: this host has no `what`. Not to be asked of the code
 * under test, which may be broken. contrib/check lists these lines.
 */
#define skip_without(what) (print_message("skip: no %s\n", what), skip())

/*
 * What the linker calls a function that has to do with the sizes of files: glibc's
 * headers give it another name where only that has them with 64 bits.
 */
#ifdef __USE_FILE_OFFSET64
#define LARGE(name) name##64
#else
#define LARGE(name) name
#endif

/*
 * The loop. The process's clock stands still but for a microsecond a look, so
 * that a busy machine changes nothing; pass_time() moves it, and the loop settles
 * every hundredth of a second.
 */
extern struct ev_loop *test_loop;

void test_loop_open(void);		/* it never sleeps in a ring */
void test_loop_open_as(unsigned flags); /* flags of loop_new() */
void test_loop_close(void);
void turn(int turns);
void settle(void); /* turns, until one has found nothing to do */
void pass_time(double seconds);
void move_clock(double seconds); /* without a loop */
int timer_is_set(void);		 /* the loop will wake up by itself */
void look_at_timer(void);	 /* let it, if it is due; turn() does so too */

/* Programs are linked with --wrap=log_line: lines are kept, not shown. */
int log_has(const char *part);
unsigned log_count(const char *part);
void log_forget(void);

/*
 * The row of a table that the test has come to. It is printed: the last one is
 * that which failed.
 */
void about(const char *row);

/* Put more behind a text that has room for size bytes; all must fit. */
void add_text(char *text, size_t size, const char *more);

/*
 * What an `add` with these words, "key=value key=value...", would give to the
 * options of a table. The values' texts stay until the next call.
 */
void test_values(const struct option *table, struct option_value *values,
		 const char *words);

int is_readable(int fd); /* now */

/* Numbers that are the same in every run. */
void random_seed(uint64_t seed);
uint64_t random_number(uint64_t below);

/* A fresh folder, the same until it is removed with all in it. */
const char *test_folder(void);
void test_folder_remove(void);

/* A file at `path` in the folder; its folders are made. */
void test_file(const char *path, const char *text);
const char *test_path(const char *path);

/*
 * What a program shows on a screen is the file tests/unit/screens/NAME: in 80
 * columns, but for a word that is longer. Where it is not, the failure shows what it
 * is now.
 */
void screen_is(const char *name, const char *text);

/*
 * What a host may lack, each asked for without our own code. A test skips where
 * its host lacks one of these, and never for what our code says.
 */
int host_has_linux(unsigned major, unsigned minor); /* or a newer one */
int host_has_io_uring(void); /* with the flags that a ring needs */
int host_has_pidfd_getfd(void);
int host_has_clone3(void); /* emulators of programs have not */
int host_has_shm(void);	   /* files of memory in HOST_SHM, also unnamed ones */
#define HOST_SHM "/dev/shm"

/*
 * Whether memory that is not needed is given back at once: emulators of
 * programs say that it is, and keep it.
 */
int memory_goes_back(void);

/* Descriptors that this process has open. */
unsigned count_fds(void);

/* A Unix socket at that path, on which as many may wait to be heard. */
int test_listen(const char *path, int waiting);

/*
 * Numbers for children, as the keeper has them (spawn.h); and a pipe that these
 * get, too, until both ends are closed.
 */
void reserve_fds(void);
void open_lasting_pipe(int ends[2]);

#endif
