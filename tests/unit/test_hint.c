/* The name that was meant: near enough to be it, and the nearest. */
#include <string.h>

#include "base/hint.h"
#include "support.h"

static const char *const names[] = { "add",	"del",	  "features",
				     "list",	"queues", "limit-iops",
				     "scratch", "r",	  NULL };

static const char *near(const char *word)
{
	struct hint hint;
	int i;

	hint_begin(&hint, word, strlen(word));
	for (i = 0; names[i]; i++)
		hint_offer(&hint, names[i]);
	return hint.name;
}

TEST_CASE(test_near)
{
	static const char *const cases[][2] = {
		/* a letter more, less, another one, two in the other order */
		{ "addd", "add" },
		{ "ad", "add" },
		{ "aad", "add" },
		{ "dad", "add" },
		{ "lsit", "list" },
		{ "lits", "list" },
		{ "lost", "list" },
		{ "ist", "list" },
		{ "lis", "list" },
		/* two slips in a long word */
		{ "feautres", "features" },
		{ "faetuers", "features" },
		{ "ueues", "queues" },
		{ "eues", NULL },
		{ "qeueus", "queues" },
		{ "scratchpd", "scratch" },
		/* case, and another dash */
		{ "ADD", "add" },
		{ "List", "list" },
		{ "limit_iops", "limit-iops" },
		{ "LIMITIOPS", "limit-iops" },
		/* the beginning of a name, or one with an end */
		{ "delete", "del" },
		{ "feat", "features" },
		{ "limit-i", "limit-iops" },
		{ "addition", "add" },
	};
	size_t i;

	for (i = 0; i < COUNT(cases); i++) {
		const char *name = near(cases[i][0]);

		if (!name != !cases[i][1] ||
		    (name && strcmp(name, cases[i][1]) != 0))
			fail_msg("'%s': '%s'", cases[i][0],
				 name ? name : "nothing");
	}
}

TEST_CASE(test_far)
{
	static const char *const cases[] = { "",      "x",	   "xx",
					     "ram",   "fe",	   "q",
					     "limbo", "fexxures1", "de1e",
					     "lizzy", "zzzzz" };
	size_t i;

	for (i = 0; i < COUNT(cases); i++)
		if (near(cases[i]))
			fail_msg("'%s': '%s'", cases[i], near(cases[i]));
}

/* Not the first one that is near, and not more of the word than its length. */
TEST_CASE(test_nearest)
{
	struct hint hint;

	hint_begin(&hint, "error-rat=1", 9);
	hint_offer(&hint, "error-every");
	hint_offer(&hint, "error-op");
	hint_offer(&hint, "error-rate");
	hint_offer(&hint, "error-raft");
	assert_string_equal(hint_text(&hint), "did you mean 'error-rate'? ");
	hint_begin(&hint, "nothing", 7);
	assert_string_equal(hint_text(&hint), "");
	hint_offer(&hint, "error-rate");
	assert_string_equal(hint_text(&hint), "");
}

/* Names and words of any length and any bytes. */
TEST_CASE(test_noise)
{
	char word[64], name[64];
	struct hint hint;
	int i;

	random_seed(9);
	for (i = 0; i < 20000; i++) {
		size_t length = random_number(sizeof(word) + 1), j;

		for (j = 0; j < sizeof(word); j++) {
			word[j] = (char)random_number(i % 2 ? 256 : 3);
			name[j] = (char)random_number(i % 2 ? 256 : 3);
		}
		name[sizeof(name) - 1] = '\0';
		hint_begin(&hint, word, length);
		hint_offer(&hint, name);
		assert_true(strlen(hint_text(&hint)) < sizeof(hint.text));
	}
}

int main(void)
{
	return tests_run();
}
