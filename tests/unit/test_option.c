/* Options as tables: defaults, ranges, and messages that name the option. */
#include <stdio.h>
#include <string.h>

#include "base/option.h"
#include "support.h"
#include "base/syntax.h"
#include "target/target.h"
#include "admin/verbs.h"

enum { SIZE, DEPTH, RO, NAME, PLAIN, TIME, RATE, KIND, SOME };

static const char *const kinds[] = { "hot", "cold", "warm", NULL };

static const struct option table[] = {
	[SIZE] = { .name = "size",
		   .type = OPTION_SIZE,
		   .min = 4096,
		   .max = 1ULL << 30,
		   .required = 1,
		   .help = "how large it is" },
	[DEPTH] = { .name = "depth",
		    .type = OPTION_NUMBER,
		    .fallback = "128",
		    .min = 1,
		    .max = 4096,
		    .help = "how deep it is" },
	[RO] = { .name = "ro",
		 .type = OPTION_FLAG,
		 .fallback = "yes",
		 .help = "read-only" },
	[NAME] = { .name = "name", .type = OPTION_NAME, .help = "a name" },
	[PLAIN] = { .name = "limit",
		    .type = OPTION_SIZE,
		    .fallback = "72M",
		    .max = OPTION_SIZE_MAX,
		    .help = "without a limit of its own" },
	[TIME] = { .name = "time",
		   .type = OPTION_TIME,
		   .fallback = "0",
		   .max = 5000000,
		   .help = "how long" },
	[RATE] = { .name = "rate",
		   .type = OPTION_RATE,
		   .fallback = "0.5",
		   .max = SYNTAX_RATE_ONE,
		   .help = "how likely" },
	[KIND] = { .name = "kind",
		   .type = OPTION_CHOICE,
		   .fallback = "cold",
		   .choices = kinds,
		   .help = "which one" },
	[SOME] = { .name = "some",
		   .type = OPTION_LIST,
		   .fallback = "all",
		   .choices = kinds,
		   .help = "which ones" },
	{ .name = NULL },
};

static struct option_value values[OPTION_MAX];
static struct failure failure;

static int start(void **state)
{
	memset(values, 0x5a, sizeof(values));
	memset(&failure, 0, sizeof(failure));
	option_defaults(table, values);
	return 0;
}

static void takes(int which, const char *text, uint64_t number)
{
	if (option_read(&table[which], &values[which], text, &failure) < 0)
		fail_msg("%s", failure.text);
	assert_int_equal(values[which].number, number);
	assert_int_equal(values[which].given, 1);
	assert_string_equal(values[which].text, text);
	values[which].given = 0;
}

/* A mistake names the option and what was typed, and changes nothing. */
static void refuses(int which, const char *text, enum symbol symbol)
{
	struct option_value before = values[which];

	if (option_read(&table[which], &values[which], text, &failure) == 0)
		fail_msg("%s=%s is taken", table[which].name, text);
	assert_string_equal(symbol_name(failure.symbol), symbol_name(symbol));
	assert_string_equal(failure.arg, table[which].name);
	assert_non_null(strstr(failure.text, table[which].name));
	assert_non_null(strstr(failure.text, text));
	assert_memory_equal(&values[which], &before, sizeof(before));
}

static void test_defaults(void **state)
{
	assert_int_equal(values[SIZE].given, 0);
	assert_int_equal(values[SIZE].number, 0);
	assert_null(values[SIZE].text);
	assert_int_equal(values[DEPTH].given, 0);
	assert_int_equal(values[DEPTH].number, 128);
	assert_string_equal(values[DEPTH].text, "128");
	assert_int_equal(values[RO].number, 1);
	assert_int_equal(values[PLAIN].number, 72 << 20);
	assert_null(values[NAME].text);
}

static void test_find(void **state)
{
	assert_int_equal(option_find(table, "size", 4), SIZE);
	assert_int_equal(option_find(table, "size=1G", 4), SIZE);
	assert_int_equal(option_find(table, "ro", 2), RO);
	assert_int_equal(option_find(table, "siz", 3), -1);
	assert_int_equal(option_find(table, "size=", 5), -1);
	assert_int_equal(option_find(table, "sizes", 5), -1);
	assert_int_equal(option_find(table, "", 0), -1);
	assert_int_equal(option_find(table, "Size", 4), -1);
}

/* A size that may be a word: that one counts as 0, whatever the range is. */
static void test_size_or_word(void **state)
{
	static const char *const words[] = { "auto", NULL };
	static const struct option option = { .name = "block",
					      .type = OPTION_SIZE,
					      .choices = words,
					      .fallback = "auto",
					      .min = 512,
					      .max = 4096 };
	struct option_value value = { .number = 7 };
	char text[40];

	assert_int_equal(option_read(&option, &value, "auto", &failure), 0);
	assert_int_equal(value.number, 0);
	assert_true(option_is_default(&option, &value));
	value.given = 0;
	assert_int_equal(option_read(&option, &value, "4K", &failure), 0);
	assert_int_equal(value.number, 4096);
	value.given = 0;
	assert_int_equal(option_read(&option, &value, "0", &failure), -1);
	assert_int_equal(option_read(&option, &value, "aut", &failure), -1);
	option_format_type(&option, text, sizeof(text));
	assert_string_equal(text, "auto|SIZE");
}

static void test_ranges(void **state)
{
	takes(SIZE, "4K", 4096);
	takes(SIZE, "4096", 4096);
	takes(SIZE, "1G", 1 << 30);
	takes(DEPTH, "1", 1);
	takes(DEPTH, "4096", 4096);
	takes(PLAIN, "0", 0);
	takes(PLAIN, "7E", 7ULL << 60);
	refuses(SIZE, "4095", SYMBOL_RANGE);
	refuses(SIZE, "0", SYMBOL_RANGE);
	refuses(SIZE, "1073741825", SYMBOL_RANGE);
	refuses(SIZE, "1E", SYMBOL_RANGE);
	refuses(SIZE, "99999999999999999999999", SYMBOL_RANGE);
	refuses(SIZE, "-1", SYMBOL_RANGE);
	refuses(DEPTH, "0", SYMBOL_RANGE);
	refuses(DEPTH, "4097", SYMBOL_RANGE);
	refuses(DEPTH, "-1", SYMBOL_RANGE);
	refuses(DEPTH, "18446744073709551616", SYMBOL_RANGE);
	refuses(PLAIN, "-5", SYMBOL_RANGE);
	refuses(PLAIN, "8E", SYMBOL_RANGE);
	refuses(PLAIN, "16E", SYMBOL_RANGE);
}

static void test_malformed(void **state)
{
	refuses(SIZE, "lots", SYMBOL_ARG);
	refuses(SIZE, "4Kib/s", SYMBOL_ARG);
	refuses(DEPTH, "4K", SYMBOL_ARG);
	refuses(DEPTH, "0x10", SYMBOL_ARG);
	refuses(RO, "maybe", SYMBOL_ARG);
	refuses(RO, "2", SYMBOL_ARG);
	assert_int_equal(option_read(&table[SIZE], &values[SIZE], "", &failure),
			 -1);
	assert_int_equal(failure.symbol, SYMBOL_ARG);
	assert_int_equal(option_read(&table[RO], &values[RO], "", &failure),
			 -1);
}

/* What somebody types who has the units of a shop, or half a byte, in mind. */
static void test_sizes(void **state)
{
	static const char *const cases[][2] = {
		{ "64MB", "write 64M or 64MiB, which are powers of 1024" },
		{ "64mb", "write 64m or 64miB, " },
		{ "4kB", "write 4k or 4kiB, " },
		{ "1.5KB", "write 1.5K or 1.5KiB, " },
		{ "64B", "is not a size, such as 1048576, 64M, 1.5G" },
		{ "B", "is not a size" },
		{ "XB", "is not a size" },
		{ "64QB", "is not a size" },
		{ "1.0001K", "is not a whole number of bytes" },
		{ "4096.5", "is not a whole number of bytes" },
		{ "5.K", "is not a size" },
	};
	size_t i;

	takes(SIZE, "1.5M", 3 << 19);
	takes(SIZE, "64MiB", 64 << 20);
	refuses(SIZE, "1.5G", SYMBOL_RANGE);
	for (i = 0; i < COUNT(cases); i++) {
		refuses(SIZE, cases[i][0], SYMBOL_ARG);
		if (!strstr(failure.text, cases[i][1]))
			fail_msg("'%s' does not tell '%s'", failure.text,
				 cases[i][1]);
	}
}

static void test_flag(void **state)
{
	takes(RO, "no", 0);
	takes(RO, "yes", 1);
	takes(RO, "off", 0);
	takes(RO, "true", 1);
}

static void test_name(void **state)
{
	char text[65];

	takes(NAME, "a", 0);
	takes(NAME, "disk-1.b_C:d", 0);
	memset(text, 'n', sizeof(text));
	text[63] = '\0';
	takes(NAME, text, 0);
	text[63] = 'n';
	text[64] = '\0';
	refuses(NAME, text, SYMBOL_ARG);
	refuses(NAME, "a b", SYMBOL_ARG);
	refuses(NAME, "a/b", SYMBOL_ARG);
	refuses(NAME, "..", SYMBOL_ARG);
	takes(NAME, "..a", 0);
	refuses(NAME, "a=b", SYMBOL_ARG);
	refuses(NAME, "gr\xc3\xbcn", SYMBOL_ARG);
	refuses(NAME, "a\"b", SYMBOL_ARG);
	assert_int_equal(option_read(&table[NAME], &values[NAME], "", &failure),
			 -1);
	assert_int_equal(failure.symbol, SYMBOL_ARG);
}

static void test_time_and_rate(void **state)
{
	takes(TIME, "0", 0);
	takes(TIME, "20us", 20);
	takes(TIME, "5000ms", 5000000);
	refuses(TIME, "6s", SYMBOL_RANGE);
	assert_non_null(strstr(failure.text, "0 to 5s"));
	refuses(TIME, "5", SYMBOL_ARG);
	refuses(TIME, "5m", SYMBOL_ARG);
	takes(RATE, "1%", SYNTAX_RATE_ONE / 100);
	refuses(RATE, "1.1", SYMBOL_RANGE);
	assert_non_null(strstr(failure.text, "0 to 1"));
	refuses(RATE, "often", SYMBOL_ARG);
}

static void test_choices(void **state)
{
	char type[40];

	takes(KIND, "hot", 0);
	takes(KIND, "warm", 2);
	refuses(KIND, "war", SYMBOL_ARG);
	refuses(KIND, "warmer", SYMBOL_ARG);
	refuses(KIND, "hot,cold", SYMBOL_ARG);
	takes(SOME, "all", 7);
	takes(SOME, "warm", 4);
	takes(SOME, "warm,hot,warm", 5);
	refuses(SOME, "warm,", SYMBOL_ARG);
	refuses(SOME, ",warm", SYMBOL_ARG);
	refuses(SOME, "warm,,hot", SYMBOL_ARG);
	refuses(SOME, "warm,all", SYMBOL_ARG);
	refuses(SOME, "wa", SYMBOL_ARG);
	option_format_type(&table[KIND], type, sizeof(type));
	assert_string_equal(type, "hot|cold|warm");
	option_format_type(&table[SOME], type, sizeof(type));
	assert_string_equal(type, "all|hot,cold,warm");
}

static void test_is_default(void **state)
{
	assert_true(option_is_default(&table[RATE], &values[RATE]));
	takes(RATE, "50%", SYNTAX_RATE_ONE / 2);
	assert_true(option_is_default(&table[RATE], &values[RATE]));
	takes(RATE, "0.51", 510000000);
	assert_false(option_is_default(&table[RATE], &values[RATE]));
	/* What has no default never is. */
	assert_false(option_is_default(&table[SIZE], &values[SIZE]));
}

/* What the message says can be typed: a number has no suffix. */
static void test_range_message(void **state)
{
	refuses(SIZE, "1", SYMBOL_RANGE);
	assert_non_null(strstr(failure.text, "4K"));
	assert_non_null(strstr(failure.text, "1G"));
	refuses(DEPTH, "4097", SYMBOL_RANGE);
	assert_non_null(strstr(failure.text, "1 to 4096"));
}

static void test_twice(void **state)
{
	assert_int_equal(
		option_read(&table[DEPTH], &values[DEPTH], "8", &failure), 0);
	assert_int_equal(
		option_read(&table[DEPTH], &values[DEPTH], "9", &failure), -1);
	assert_int_equal(failure.symbol, SYMBOL_ARG);
	assert_string_equal(failure.arg, "depth");
	assert_non_null(strstr(failure.text, "depth"));
	assert_non_null(strstr(failure.text, "twice"));
	assert_int_equal(values[DEPTH].number, 8);
	/* A first one that was wrong does not count. */
	refuses(RO, "maybe", SYMBOL_ARG);
	takes(RO, "no", 0);
}

static void test_required(void **state)
{
	assert_int_equal(option_check_required(table, values, &failure), -1);
	assert_int_equal(failure.symbol, SYMBOL_ARG);
	assert_string_equal(failure.arg, "size");
	assert_non_null(strstr(failure.text, "size"));
	assert_non_null(strstr(failure.text, "how large it is"));
	takes(SIZE, "1M", 1 << 20);
	values[SIZE].given = 1;
	assert_int_equal(option_check_required(table, values, &failure), 0);
}

/* The tables that ship: every default is one that could be typed. */
static void check_table(const struct option *options)
{
	struct option_value value;
	char type[100];
	int i;

	for (i = 0; options[i].name; i++) {
		assert_true(i < OPTION_MAX);
		assert_non_null(options[i].help);
		option_format_type(&options[i], type, sizeof(type));
		assert_true(strlen(type) > 0);
		assert_int_equal(option_find(options, options[i].name,
					     strlen(options[i].name)),
				 i);
		memset(&value, 0, sizeof(value));
		if (options[i].fallback &&
		    option_read(&options[i], &value, options[i].fallback,
				&failure) < 0)
			fail_msg("%s", failure.text);
		assert_false(options[i].fallback && options[i].required);
		if (option_has_range(&options[i]))
			assert_true(options[i].min < options[i].max);
	}
}

static void test_shipped_tables(void **state)
{
	int i, j;

	check_table(verb_add_options);
	for (i = 0; target_table[i]; i++) {
		const struct option *own = target_table[i]->options;

		check_table(own);
		/* An option of all targets would hide one of the same name. */
		for (j = 0; own[j].name; j++)
			assert_int_equal(option_find(verb_add_options,
						     own[j].name,
						     strlen(own[j].name)),
					 -1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_defaults, start),
		cmocka_unit_test_setup(test_find, start),
		cmocka_unit_test_setup(test_ranges, start),
		cmocka_unit_test_setup(test_size_or_word, start),
		cmocka_unit_test_setup(test_malformed, start),
		cmocka_unit_test_setup(test_sizes, start),
		cmocka_unit_test_setup(test_flag, start),
		cmocka_unit_test_setup(test_name, start),
		cmocka_unit_test_setup(test_time_and_rate, start),
		cmocka_unit_test_setup(test_choices, start),
		cmocka_unit_test_setup(test_is_default, start),
		cmocka_unit_test_setup(test_range_message, start),
		cmocka_unit_test_setup(test_twice, start),
		cmocka_unit_test_setup(test_required, start),
		cmocka_unit_test_setup(test_shipped_tables, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
