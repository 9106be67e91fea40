#include "top.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/syntax.h"
#include "client.h"
#include "screen.h"
#include "signals.h"
#include "table.h"

#define RETRIES 10 /* looks that may be without an answer: an upgrade */

/* A screen of its own, without a cursor; and back. */
#define ENTER_SCREEN "\033[?1049h\033[?25l"
#define LEAVE_SCREEN "\033[?25h\033[?1049l"
#define HOME	     "\033[H"
#define END_OF_LINE  "\033[K\n"
#define END_OF_PAGE  "\033[J"

/* ---- samples ---- */

static uint64_t number_of(const struct fields *fields, const char *key)
{
	const char *value = fields_value(fields, key);
	uint64_t number;

	if (syntax_number(value, &number) == 0 ||
	    syntax_time(value, &number) == 0)
		return number;
	return 0;
}

static int take_device(struct top_sample *sample, const struct fields *fields)
{
	size_t size = (sample->count + 1) * sizeof(*sample->devices);
	struct top_device *devices = realloc(sample->devices, size), *device;

	if (!devices)
		return -ENOMEM;
	sample->devices = devices;
	device = &devices[sample->count++];
	memset(device, 0, sizeof(*device));
	device->id = (uint32_t)number_of(fields, "id");
	device->in_flight = (uint32_t)number_of(fields, "in-flight");
	snprintf(device->name, sizeof(device->name), "%s",
		 fields_value(fields, "name"));
	return 0;
}

static void take_op(struct top_device *device, const struct fields *fields)
{
	uint64_t count = number_of(fields, "count");
	uint64_t bytes = number_of(fields, "bytes");
	const char *op = fields_value(fields, "op");

	if (strcmp(op, "read") == 0) {
		device->reads += count;
		device->read_bytes += bytes;
	} else if (strcmp(op, "write") == 0) {
		device->writes += count;
		device->write_bytes += bytes;
	} else {
		device->others += count;
	}
	device->errors += number_of(fields, "errors");
	device->time += number_of(fields, "time");
}

int top_take(struct top_sample *sample, const char *line)
{
	static struct fields fields;

	fields_read(&fields, line);
	if (strcmp(fields.kind, "stats") == 0)
		return take_device(sample, &fields);
	/* A device's lines come behind its own. */
	if (strcmp(fields.kind, "op") == 0 && sample->count)
		take_op(&sample->devices[sample->count - 1], &fields);
	return 0;
}

void top_free(struct top_sample *sample)
{
	free(sample->devices);
	memset(sample, 0, sizeof(*sample));
}

/* ---- what was done between two ---- */

struct rate {
	const struct top_device *device;
	double reads, writes, others, read_bytes, write_bytes, errors;
	double latency; /* us, of each request; < 0: there was none */
};

static const struct top_device *find_device(const struct top_sample *sample,
					    uint32_t id)
{
	unsigned i;

	for (i = 0; i < sample->count; i++)
		if (sample->devices[i].id == id)
			return &sample->devices[i];
	return NULL;
}

/* What was counted anew meanwhile has no past. */
static double grown(uint64_t before, uint64_t now)
{
	return (double)(now >= before ? now - before : now);
}

static struct rate rate_of(const struct top_device *before,
			   const struct top_device *now, double seconds)
{
	static const struct top_device none;
	struct rate rate = { .device = now };
	double requests;

	/* One that has come since the last look begins with the next. */
	if (!before)
		before = now;
	if (now->reads < before->reads || now->writes < before->writes ||
	    now->others < before->others)
		before = &none;
	rate.reads = grown(before->reads, now->reads) / seconds;
	rate.writes = grown(before->writes, now->writes) / seconds;
	rate.others = grown(before->others, now->others) / seconds;
	rate.read_bytes = grown(before->read_bytes, now->read_bytes) / seconds;
	rate.write_bytes =
		grown(before->write_bytes, now->write_bytes) / seconds;
	rate.errors = grown(before->errors, now->errors) / seconds;
	requests = rate.reads + rate.writes + rate.others;
	rate.latency = requests > 0 ? grown(before->time, now->time) / seconds /
					      requests
				    : -1;
	return rate;
}

static double busy(const struct rate *rate)
{
	return rate->reads + rate->writes + rate->others + rate->errors;
}

static int is_busier(const void *one, const void *other)
{
	const struct rate *left = one, *right = other;

	if (busy(left) != busy(right))
		return busy(left) > busy(right) ? -1 : 1;
	return left->device->id < right->device->id ? -1 : 1;
}

/* ---- printing ---- */

/* 12, 3.4K, 1.2G: of thousands or of 1024, in at most five columns. */
static void format_number(char *text, size_t size, double number, double step)
{
	static const char units[] = " KMGTPE";
	unsigned unit = 0;

	while (number >= 9999.5 && unit < sizeof(units) - 2) {
		number /= step;
		unit++;
	}
	if (unit && number < 99.95)
		snprintf(text, size, "%.1f%c", number, units[unit]);
	else
		snprintf(text, size, "%.0f%.*s", number, unit != 0,
			 &units[unit]);
}

static void format_latency(char *text, size_t size, double us)
{
	if (us < 0)
		snprintf(text, size, "-");
	else if (us < 10000)
		snprintf(text, size, "%.0fus", us);
	else if (us < 10000000)
		snprintf(text, size, "%.0fms", us / 1000);
	else
		snprintf(text, size, "%.0fs", us / 1000000);
}

static void print_rate(const struct rate *rate, int name_width, const char *end,
		       FILE *out)
{
	char reads[12], writes[12], others[12], read_bytes[12];
	char write_bytes[12], errors[12], latency[16];

	format_number(reads, sizeof(reads), rate->reads, 1000);
	format_number(writes, sizeof(writes), rate->writes, 1000);
	format_number(others, sizeof(others), rate->others, 1000);
	format_number(errors, sizeof(errors), rate->errors, 1000);
	format_number(read_bytes, sizeof(read_bytes), rate->read_bytes, 1024);
	format_number(write_bytes, sizeof(write_bytes), rate->write_bytes,
		      1024);
	format_latency(latency, sizeof(latency), rate->latency);
	fprintf(out, "%4u  ", rate->device->id);
	table_print_text(rate->device->name, name_width, out);
	fprintf(out, " %6s %7s %7s %6s %7s %7s %6s %7u%s", reads, writes,
		others, read_bytes, write_bytes, latency, errors,
		rate->device->in_flight, end);
}

#define OTHER_COLUMNS 67 /* of a row, beside its name */

void top_print(const struct top_sample *before, const struct top_sample *now,
	       unsigned lines, unsigned columns, const char *end, FILE *out)
{
	double seconds = now->at > before->at ? now->at - before->at : 1;
	struct rate *rates = calloc(now->count + 1, sizeof(*rates));
	unsigned i, shown = now->count;
	int width = 13;

	if (!rates)
		return;
	if (columns >= OTHER_COLUMNS + 8)
		width = columns < OTHER_COLUMNS + 32
				? (int)(columns - OTHER_COLUMNS)
				: 32;
	for (i = 0; i < now->count; i++)
		rates[i] = rate_of(find_device(before, now->devices[i].id),
				   &now->devices[i], seconds);
	qsort(rates, now->count, sizeof(*rates), is_busier);
	if (lines && shown + 1 > lines)
		shown = lines > 2 ? lines - 2 : 0;
	fprintf(out, "%s  ID  %-*s %6s %7s %7s %6s %7s %7s %6s %7s%s%s",
		screen_colour(out, SCREEN_BOLD), width, "NAME", "READ/S",
		"WRITE/S", "OTHER/S", "READ B", "WRITE B", "LATENCY", "ERR/S",
		"PENDING", screen_colour(out, SCREEN_PLAIN), end);
	for (i = 0; i < shown; i++)
		print_rate(&rates[i], width, end, out);
	if (shown < now->count)
		fprintf(out, "%u more%s", now->count - shown, end);
	free(rates);
}

/* ---- the daemon ---- */

static double clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

struct top {
	const struct top_options *options;
	const char *socket;
	struct client client;
	const char *line; /* the last one of it */
	struct top_sample before, now;
};

static int take_line(const char *line, void *context)
{
	struct top *top = context;

	return top_take(&top->now, line);
}

/* As client_ask(). */
static int look(struct top *top)
{
	int status = 0;

	if (top->client.fd < 0)
		status = client_begin(&top->client, top->socket, &top->line);
	if (!status)
		status = client_ask(&top->client, "stats", 0, take_line, top,
				    &top->line);
	top->now.at = clock_now();
	if (status)
		client_close(&top->client);
	return status;
}

/* ---- the terminal ---- */

static struct termios terminal_was;

/* Keys come one by one, and are not shown; and nobody stops us without giving it back. */
static void take_terminal(void)
{
	struct termios terminal;

	signals_catch_stop();
	if (tcgetattr(STDIN_FILENO, &terminal_was) == 0) {
		terminal = terminal_was;
		terminal.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		tcsetattr(STDIN_FILENO, TCSANOW, &terminal);
	}
	fputs(ENTER_SCREEN, stdout);
	fflush(stdout);
}

static void give_terminal_back(void)
{
	fputs(LEAVE_SCREEN, stdout);
	fflush(stdout);
	if (isatty(STDIN_FILENO))
		tcsetattr(STDIN_FILENO, TCSANOW, &terminal_was);
	signals_release_stop();
}

/* Returns 1 if somebody has had enough. */
static int wait_for(double seconds, int is_batch)
{
	int reads_keys = !is_batch && isatty(STDIN_FILENO);
	char key;

	if (signals_wait_or_resize(reads_keys ? STDIN_FILENO : -1,
				   (int)(seconds * 1000)) > 0)
		return read(STDIN_FILENO, &key, 1) != 1 || key == 'q' ||
		       key == 'Q';
	if (!is_batch && signals_stop()) {
		give_terminal_back();
		raise(SIGTSTP); /* we are stopped here */
		take_terminal();
	}
	return signals_end() != 0;
}

static void paint(const struct top *top, int error)
{
	struct winsize size = { .ws_row = 0 };
	const struct top_sample *before = &top->before;

	/* A serial line does not tell its size. */
	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	if (!size.ws_row)
		size.ws_row = 24;
	if (!size.ws_col)
		size.ws_col = 80;
	fputs(HOME, stdout);
	if (error)
		fprintf(stdout, "no answer from %.50s: %.40s" END_OF_LINE,
			top->socket, strerror(-error));
	else
		fprintf(stdout, "%u devices, every %gs; q ends" END_OF_LINE,
			top->now.count, top->options->every);
	top_print(before, &top->now, size.ws_row > 2 ? size.ws_row - 2u : 1u,
		  size.ws_col, END_OF_LINE, stdout);
	fputs(END_OF_PAGE, stdout);
	fflush(stdout);
}

/* ---- all ---- */

int top_read(struct top_options *options, int count, char **words,
	     const char **why)
{
	uint64_t number;
	int c;

	*options = (struct top_options){ .every = 1 };
	*why = "top [-b] [-n COUNT] [-d SECONDS]";
	opterr = 0;
	optind = 0; /* begin anew */
	while ((c = getopt(count, words, "bn:d:")) != -1) {
		if (c == 'b')
			options->batch = 1;
		else if (c == 'd' && syntax_time(optarg, &number) == 0 &&
			 number >= 10000 && number <= 1000000 * 1000000ULL)
			options->every = (double)number / 1e6;
		else if (c == '?' || syntax_number(optarg, &number) < 0 ||
			 number == 0 || number > 1000000)
			return -1;
		else if (c == 'n')
			options->count = number;
		else
			options->every = (double)number;
	}
	return optind == count ? 0 : -1;
}

static void show(struct top *top, int error)
{
	if (!top->options->batch)
		paint(top, error);
	else if (!error)
		top_print(&top->before, &top->now, 0, 80, "\n", stdout);
	fflush(stdout);
}

static int run(struct top *top)
{
	const struct top_options *options = top->options;
	uint64_t done = 0;
	int silent = 0, status = look(top);

	/* The first look has nothing before it. */
	while (!status) {
		top_free(&top->before);
		top->before = top->now;
		memset(&top->now, 0, sizeof(top->now));
		if (wait_for(options->every, options->batch))
			break;
		status = look(top);
		if (status > 0 || status == -ENOMEM || status == -EINTR)
			break;
		/* The server is replaced, perhaps. */
		silent = status ? silent + 1 : 0;
		if (status && silent <= RETRIES && !options->batch) {
			top_free(&top->now);
			top->now = top->before;
			memset(&top->before, 0, sizeof(top->before));
			show(top, status);
			status = 0;
			continue;
		}
		if (status)
			break;
		show(top, 0);
		if (options->count && ++done == options->count)
			break;
	}
	return status == -EINTR ? 0 : status;
}

int top_run(const struct top_options *options, const char *socket,
	    const char **refusal)
{
	static struct top top;
	struct top_options chosen = *options;
	int status;

	if (!isatty(STDOUT_FILENO))
		chosen.batch = 1;
	top.options = &chosen;
	top.socket = socket;
	top.client.fd = -1;
	signals_catch();
	if (!chosen.batch)
		take_terminal();
	status = run(&top);
	if (!chosen.batch)
		give_terminal_back();
	signals_release();
	client_close(&top.client);
	top_free(&top.before);
	top_free(&top.now);
	*refusal = top.line;
	return status;
}
