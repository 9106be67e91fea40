/*
 * Deferred task work, TASKRUN and the eventfd: every interleaving of a few
 * pushes by the kernel with the thread that looks at a ring and sleeps (see
 * setup_flags() in src/io/ring.c, on_ring(), cool() and run_hot() in src/io/loop.c).
 *
 * It is a model, and does not run that code: it says which ways of looking lose
 * a wakeup or never come to rest, on a kernel that pushes in one step and takes
 * all (6.12), and on one that pushes in two and takes some (7.x). ring-stress
 * among the VM tests runs the code.
 */
#include "support.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PUSHES 3
#define TAKEN  2 /* by one entry, on 7.x: less than PUSHES */
#define STUB   0 /* of the list; the pushes' nodes are 1 to PUSHES */
#define NONE   0xff
#define REST   400 /* steps after which one alone should sleep */

enum kernel { K6_12, K7_X };

/* How the thread looks. */
enum way {
	UNTIL_NOTHING,	/* enters until nothing comes; then it sleeps */
	WHILE_TASKRUN,	/* the same, and while TASKRUN is set */
	PLAIN,		/* as on_ring() */
	WARM,		/* as a warm ring */
	COOL,		/* as cool(), from a sleep in the ring on */
	COOL_BY_A_FLAG, /* the same, without the entry */
};

enum push_step {
	PUSH, /* the node becomes the last one ... */
	LINK, /* ... and the one before it leads to it: in one step on 6.12 */
	FLAG, /* the first one of a list sets TASKRUN, */
	FLAG_LATE, /* or, reordered, after it has looked at what follows: */
	LOOK,	   /* are signals wanted? */
	SIGNAL,
	PUSHED,
};

enum look_step {
	SLEEP,
	/* An entry that asks for completions. */
	ENTER,
	CLEAR,
	TAKE,
	FOLLOW,
	TAKE_LAST,
	TASKRUN_LEFT,
	POST,
	TASKRUN_AGAIN,
	/* The thread. */
	SIGNALS_OFF,
	EMPTY,
	DRAIN,
	ASK,
	ASKED,
	SUBMIT,
	SIGNALS_ON,
	CHECK,
	WARM_ON,
	WARM_CHECK,
	WARM_SLEEP,
	WARM_OFF,
	HOT,
	COOL_LOOK,
};

struct state {
	uint8_t tail, head, next[PUSHES + 1];
	uint8_t taskrun, signalled, is_off;
	uint8_t completions, done;
	struct {
		uint8_t step, before, saw_off;
	} pushes[PUSHES];
	struct {
		uint8_t step, after, taken;
	} look;
};

static enum kernel kernel;
static enum way way;
static int reorders; /* as processors do that are no x86 */

/* ---- the kernel pushes ---- */

static void push_signals(struct state *state, int i, int is_off)
{
	state->pushes[i].saw_off = (uint8_t)is_off;
	state->pushes[i].step = is_off ? PUSHED : SIGNAL;
}

/* Whether it had a step to do. With `late` FLAG is done after LOOK. */
static int push(struct state *state, int i, int late)
{
	uint8_t node = (uint8_t)(i + 1), *step = &state->pushes[i].step;
	uint8_t before = state->pushes[i].before;

	if (late && (!reorders || *step != FLAG))
		return 0;
	switch (*step) {
	case PUSH:
		state->pushes[i].before = before = state->tail;
		state->tail = node;
		state->next[node] = NONE;
		*step = LINK;
		if (kernel == K7_X)
			break;
		state->next[node] = before;
		*step = before == STUB ? FLAG : PUSHED;
		break;
	case LINK:
		state->next[before] = node;
		*step = before == STUB ? FLAG : PUSHED;
		break;
	case FLAG:
		state->pushes[i].saw_off = state->is_off;
		*step = late ? FLAG_LATE : LOOK;
		state->taskrun |= !late;
		break;
	case FLAG_LATE:
		state->taskrun = 1;
		push_signals(state, i, state->pushes[i].saw_off);
		break;
	case LOOK:
		push_signals(state, i, state->is_off);
		break;
	case SIGNAL:
		state->signalled = 1;
		*step = PUSHED;
		break;
	default:
		return 0;
	}
	return 1;
}

/* ---- the thread in the kernel ---- */

static int go(struct state *state, enum look_step step)
{
	state->look.step = (uint8_t)step;
	return 1;
}

static int enter(struct state *state, enum look_step after)
{
	state->look.after = (uint8_t)after;
	return go(state, ENTER);
}

static int take_all(struct state *state)
{
	uint8_t node = state->tail;

	for (; node != STUB; node = state->next[node])
		state->look.taken++;
	state->tail = STUB;
	return go(state, TASKRUN_LEFT);
}

/* What is behind the head, unless its push is only half done. */
static int take_some(struct state *state)
{
	if (state->look.taken == TAKEN)
		return go(state, TASKRUN_LEFT);
	if (state->head == STUB) {
		if (state->next[STUB] == NONE)
			return go(state, TASKRUN_LEFT);
		state->head = state->next[STUB];
		state->next[STUB] = NONE;
	}
	return go(state, FOLLOW);
}

static int follow(struct state *state)
{
	if (state->next[state->head] == NONE)
		return go(state, TAKE_LAST);
	state->look.taken++;
	state->head = state->next[state->head];
	return go(state, TAKE);
}

static int take_last(struct state *state)
{
	if (state->tail != state->head)
		return go(state, TASKRUN_LEFT);
	state->look.taken++;
	state->tail = state->head = STUB;
	return go(state, TAKE);
}

static int post(struct state *state)
{
	state->completions += state->look.taken;
	if (state->look.taken && !state->is_off)
		state->signalled = 1;
	return go(state, TASKRUN_AGAIN);
}

static int enter_step(struct state *state)
{
	int is_left = state->tail != STUB;

	switch (state->look.step) {
	case ENTER:
		state->look.taken = 0;
		return go(state, is_left ? CLEAR : state->look.after);
	case CLEAR:
		state->taskrun = 0;
		return go(state, TAKE);
	case TAKE:
		return kernel == K7_X ? take_some(state) : take_all(state);
	case FOLLOW:
		return follow(state);
	case TAKE_LAST:
		return take_last(state);
	case TASKRUN_LEFT:
		state->taskrun |= is_left;
		return go(state, POST);
	case POST:
		return post(state);
	default: /* TASKRUN_AGAIN */
		state->taskrun |= is_left;
		state->look.taken = 0;
		return go(state, state->look.after);
	}
}

/* ---- the thread ---- */

static int has_events(const struct state *state)
{
	return state->completions || state->taskrun;
}

static void drain(struct state *state)
{
	state->done += state->completions;
	state->completions = 0;
}

static int wake(struct state *state)
{
	if (!state->signalled)
		return 0;
	if (way == UNTIL_NOTHING || way == WHILE_TASKRUN) {
		state->signalled = 0;
		return enter(state, DRAIN);
	}
	return go(state, SIGNALS_OFF);
}

/* The ways that are wrong. */
static int drain_naively(struct state *state)
{
	int came = state->completions != 0;

	drain(state);
	if (came || (way == WHILE_TASKRUN && state->taskrun))
		return enter(state, DRAIN);
	return go(state, SLEEP);
}

/* ring_peek(): an entry only if there is nothing and TASKRUN is set. */
static int ask(struct state *state)
{
	if (!state->taskrun)
		return go(state, SUBMIT);
	state->taskrun = 0;
	return enter(state, ASKED);
}

/* Before a sleep in libev, signals being on. */
static int check(struct state *state)
{
	if (has_events(state))
		state->signalled = 1;
	return go(state, SLEEP);
}

static int set_signals(struct state *state, int is_off, enum look_step then)
{
	state->is_off = (uint8_t)is_off;
	return go(state, then);
}

static int drain_step(struct state *state)
{
	if (way == UNTIL_NOTHING || way == WHILE_TASKRUN)
		return drain_naively(state);
	drain(state);
	return go(state, ASK);
}

/* Returns whether there was a step to do. */
static int look(struct state *state)
{
	switch (state->look.step) {
	case SLEEP:
		return wake(state);
	case SIGNALS_OFF:
		return set_signals(state, 1, EMPTY);
	case EMPTY:
		state->signalled = 0;
		return go(state, DRAIN);
	case DRAIN:
		return drain_step(state);
	case ASK:
		return ask(state);
	case ASKED:
		return go(state, state->completions ? DRAIN : SUBMIT);
	case SUBMIT: /* it asks as well where TASKRUN is set */
		if (way == WARM)
			return go(state, WARM_ON);
		return state->taskrun ? enter(state, SIGNALS_ON)
				      : go(state, SIGNALS_ON);
	case SIGNALS_ON:
		return set_signals(state, 0, CHECK);
	case CHECK:
		return check(state);
	case WARM_ON:
		return set_signals(state, 0, WARM_CHECK);
	case WARM_CHECK:
		return go(state, has_events(state) ? WARM_OFF : WARM_SLEEP);
	case WARM_SLEEP:
		if (!state->signalled)
			return 0;
		state->signalled = 0;
		return go(state, WARM_OFF);
	case WARM_OFF:
		return set_signals(state, 1, DRAIN);
	case HOT: /* it may cool at any time */
		return set_signals(state, 0, COOL_LOOK);
	case COOL_LOOK:
		if (way == COOL_BY_A_FLAG)
			return go(state, CHECK);
		state->taskrun = 0;
		return enter(state, CHECK);
	default:
		return enter_step(state);
	}
}

/* ---- all that can happen ---- */

#define TABLE (1u << 20) /* more than there are states */

static struct state *seen, *queue;
static unsigned seen_count;

static uint32_t hash(const struct state *state)
{
	const uint8_t *bytes = (const uint8_t *)state;
	uint32_t value = 2166136261u;
	size_t i;

	for (i = 0; i < sizeof(*state); i++)
		value = (value ^ bytes[i]) * 16777619u;
	return value;
}

static const struct state no_state = { .tail = NONE };

/* It is looked at later, unless it has been. */
static void meet(const struct state *state)
{
	uint32_t at = hash(state) % TABLE;

	for (; memcmp(&seen[at], &no_state, sizeof(no_state)) != 0;
	     at = (at + 1) % TABLE)
		if (memcmp(&seen[at], state, sizeof(*state)) == 0)
			return;
	assert_true(seen_count < TABLE / 2);
	seen[at] = *state;
	queue[seen_count++] = *state;
}

static struct state begin(void)
{
	struct state state = { .tail = STUB };

	memset(state.next, NONE, sizeof(state.next));
	state.look.step = way == WARM				 ? WARM_ON
			  : way == COOL || way == COOL_BY_A_FLAG ? HOT
								 : SLEEP;
	state.is_off = state.look.step != SLEEP;
	return state;
}

static int all_pushed(const struct state *state)
{
	int i, count = 0;

	for (i = 0; i < PUSHES; i++)
		count += state->pushes[i].step == PUSHED;
	return count == PUSHES;
}

/* With nobody else at work the thread goes to sleep. */
static int comes_to_rest(struct state state)
{
	int steps = 0;

	while (steps < REST && look(&state))
		steps++;
	return steps < REST;
}

/* Returns whether anything can happen in this state. */
static int meet_next(const struct state *from)
{
	struct state state;
	int i, late, any = 0;

	for (i = 0; i < PUSHES; i++)
		for (late = 0; late < 2; late++) {
			state = *from;
			if (!push(&state, i, late))
				continue;
			any = 1;
			meet(&state);
		}
	state = *from;
	if (!look(&state))
		return any;
	meet(&state);
	return 1;
}

struct verdict {
	int loses, is_restless;
};

static struct verdict explore(void)
{
	struct verdict verdict = { 0 };
	struct state state = begin();
	unsigned at, i;

	seen = calloc(TABLE, sizeof(*seen));
	queue = calloc(TABLE, sizeof(*queue));
	assert_non_null(seen);
	assert_non_null(queue);
	for (i = 0; i < TABLE; i++)
		seen[i] = no_state;
	seen_count = 0;
	meet(&state);
	for (at = 0; at < seen_count; at++) {
		state = queue[at];
		if (!meet_next(&state) && state.done != PUSHES)
			verdict.loses = 1;
		if (all_pushed(&state) && !comes_to_rest(state))
			verdict.is_restless = 1;
	}
	free(seen);
	free(queue);
	return verdict;
}

/* ---- the tests ---- */

static const struct {
	enum way way;
	enum kernel kernel;
	int reorders, loses, is_restless;
} cases[] = {
	/* What the code does. */
	{ PLAIN, K6_12, 0, 0, 0 },
	{ PLAIN, K7_X, 0, 0, 0 },
	{ WARM, K6_12, 0, 0, 0 },
	{ WARM, K7_X, 0, 0, 0 },
	{ COOL, K6_12, 0, 0, 0 },
	{ COOL, K7_X, 0, 0, 0 },
	/* What it does not do, and why. */
	{ UNTIL_NOTHING, K6_12, 0, 0, 0 },
	{ UNTIL_NOTHING, K7_X, 0, 1, 0 },
	{ WHILE_TASKRUN, K6_12, 0, 0, 1 },
	{ WHILE_TASKRUN, K7_X, 0, 0, 1 },
	/* Where stores and loads are reordered: no deferred work there. */
	{ PLAIN, K7_X, 1, 1, 0 },
	{ WARM, K6_12, 1, 1, 0 },
	{ WARM, K7_X, 1, 1, 0 },
	{ COOL_BY_A_FLAG, K7_X, 1, 1, 0 },
};

TEST_CASE(test_all_interleavings)
{
	unsigned i;

	for (i = 0; i < COUNT(cases); i++) {
		struct verdict verdict;

		way = cases[i].way;
		kernel = cases[i].kernel;
		reorders = cases[i].reorders;
		verdict = explore();
		print_message("way %d, kernel %d%s: %u states, %s, %s\n", way,
			      kernel, reorders ? " reordered" : "", seen_count,
			      verdict.loses ? "loses" : "loses none",
			      verdict.is_restless ? "restless" : "rests");
		assert_int_equal(verdict.loses, cases[i].loses);
		assert_int_equal(verdict.is_restless, cases[i].is_restless);
	}
}

int main(void)
{
	return tests_run();
}
