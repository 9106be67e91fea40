/* What devices have done, as their recorders have counted: stats, metrics. */
#include "verbs.h"

#include <stdio.h>
#include <string.h>

#include "command.h"
#include "io/recorder.h"

#define TURN 16 /* devices told of before others get a turn */

typedef unsigned long long number;

int verb_check_recorder(struct failure *failure)
{
	if (recorder_is_on())
		return 0;
	return failure_set(failure, SYMBOL_UNSUPPORTED, 0, NULL,
			   "there is no recorder: ublkd was started with "
			   "--recorder=no, or the log says why");
}

/* ---- stats ---- */

/* " p50=...": of a histogram; the longest is known exactly. */
static void format_times(const struct sight_histogram *histogram,
			 uint32_t longest, const char *prefix, char *text,
			 size_t size)
{
	static const struct {
		const char *name;
		unsigned millionths;
	} parts[] = { { "p50", 500000 },
		      { "p90", 900000 },
		      { "p99", 990000 },
		      { "p999", 999000 } };
	uint64_t us;
	size_t at = 0, i;

	for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		us = sight_percentile(histogram, parts[i].millionths);
		if (us > longest)
			us = longest;
		at += (size_t)snprintf(text + at, size - at, " %s%s=%lluus",
				       prefix, parts[i].name, (number)us);
	}
	snprintf(text + at, size - at, " %smax=%uus", prefix, longest);
}

static void print_op(struct request *request, const struct device *device,
		     enum sight_op op)
{
	const struct recorder *recorder = device->recorder;
	const struct sight_counts *counts = &recorder->small->counts[op];
	const uint32_t *longest = counts->longest;
	struct sight_histogram own, backing;
	char times[200], backing_times[300] = "";

	if (!counts->in_turn && !counts->count && !counts->errors)
		return;
	recorder_histogram(recorder, op, SIGHT_IN_UBLKD, &own);
	recorder_histogram(recorder, op, SIGHT_IN_BACKING, &backing);
	format_times(&own, longest[SIGHT_IN_UBLKD], "", times, sizeof(times));
	if (sight_histogram_total(&backing))
		format_times(&backing, longest[SIGHT_IN_BACKING], "backing-",
			     backing_times, sizeof(backing_times));
	request_print(request,
		      "op id=%u op=%s count=%llu bytes=%llu errors=%llu "
		      "time=%lluus in-turn=%llu%s%s",
		      device->spec.id, sight_op_name(op),
		      (number)counts->in_turn + counts->count,
		      (number)counts->bytes, (number)counts->errors,
		      (number)counts->sum[SIGHT_IN_UBLKD],
		      (number)sight_bucket_count(&own, 0), times,
		      backing_times);
}

static void print_stats(struct request *request, const struct device *device)
{
	const struct sight_small *small = device->recorder->small;
	unsigned op;

	request_print(request,
		      "stats id=%u name=%s seconds=%llu in-flight=%u "
		      "depth-reached=%u",
		      device->spec.id, device_name(device),
		      (number)((sight_clock() - small->began) / 1000000),
		      device_owned(device), small->most);
	for (op = 0; op < SIGHT_OPS; op++)
		print_op(request, device, (enum sight_op)op);
}

/* Tell of it, or have it count anew. */
static void take_stats(struct request *request, const struct device *device,
		       int is_reset)
{
	if (!device->recorder)
		return;
	if (is_reset)
		recorder_reset(device->recorder);
	else
		print_stats(request, device);
}

/* All devices, from the request's cursor on; returns 1 while there are more. */
static int take_all_stats(struct request *request, int is_reset)
{
	const struct device *device = request->host->devices.first;
	int turn = 0;

	for (; device; device = device->next) {
		if (device->spec.id < request->cursor)
			continue;
		if (turn++ == TURN)
			return 1;
		take_stats(request, device, is_reset);
		request->cursor = (uint64_t)device->spec.id + 1;
	}
	return 0;
}

/* The words without the last one, which says what to do. */
static struct device *find_one(struct request *request, int is_reset,
			       struct failure *failure)
{
	struct device *device;

	request->line.count -= is_reset;
	device = verb_find_device(request, failure);
	request->line.count += is_reset;
	return device;
}

int verb_stats(struct request *request, struct failure *failure)
{
	const struct syntax_line *line = &request->line;
	int is_reset = strcmp(line->words[line->count - 1], "reset") == 0;
	const struct device *device;

	if (verb_check_recorder(failure) < 0)
		return -1;
	if (is_reset && request->access == ACCESS_READ &&
	    command_changes(request, failure) < 0)
		return -1;
	if (line->count - is_reset > 1) {
		device = find_one(request, is_reset, failure);
		if (!device)
			return -1;
		take_stats(request, device, is_reset);
	} else if (take_all_stats(request, is_reset)) {
		return 1;
	}
	request_ok(request, "%s", "");
	return 0;
}

/* ---- metrics ---- */

/*
 * Prometheus has all samples of one metric together: a listing goes through the
 * table below, and through the devices for each row. Counters have the names that
 * node_exporter gives to disks, and our prefix.
 */
enum value { COUNT, BYTES, SECTORS, TIME };

struct metric {
	const char *name, *type, *help;
	void (*print)(struct request *request, const struct metric *metric,
		      const struct device *device);
	/* Of a counter; and of a histogram. */
	enum sight_op op;
	enum value value;
	enum sight_kind kind;
};

static void print_info(struct request *request, const struct metric *metric,
		       const struct device *device)
{
	request_print(request, "%s{device=\"%s\",name=\"%s\",target=\"%s\"} 1",
		      metric->name, device->disk, device_name(device),
		      device->spec.target->ops->name);
}

static void print_owned(struct request *request, const struct metric *metric,
			const struct device *device)
{
	request_print(request, "%s{device=\"%s\"} %u", metric->name,
		      device->disk, device_owned(device));
}

static void print_counter(struct request *request, const struct metric *metric,
			  const struct device *device)
{
	const struct sight_counts *counts =
		&device->recorder->small->counts[metric->op];
	uint64_t us = counts->sum[SIGHT_IN_UBLKD],
		 value = counts->in_turn + counts->count;

	if (metric->value == TIME) {
		request_print(request, "%s{device=\"%s\"} %llu.%06llu",
			      metric->name, device->disk,
			      (number)(us / 1000000), (number)(us % 1000000));
		return;
	}
	if (metric->value == BYTES)
		value = counts->bytes;
	else if (metric->value == SECTORS)
		value = counts->bytes / 512;
	request_print(request, "%s{device=\"%s\"} %llu", metric->name,
		      device->disk, (number)value);
}

static void print_errors(struct request *request, const struct metric *metric,
			 const struct device *device)
{
	const struct sight_small *small = device->recorder->small;
	unsigned op;

	for (op = 0; op < SIGHT_OPS; op++)
		request_print(request, "%s{device=\"%s\",op=\"%s\"} %llu",
			      metric->name, device->disk,
			      sight_op_name((enum sight_op)op),
			      (number)small->counts[op].errors);
}

/* Upper bounds: buckets of the recorder's end there. */
static const struct {
	uint32_t us;
	const char *seconds;
} bounds[] = { { 4, "4e-06" },	       { 32, "3.2e-05" },
	       { 128, "0.000128" },    { 512, "0.000512" },
	       { 2048, "0.002048" },   { 8192, "0.008192" },
	       { 32768, "0.032768" },  { 131072, "0.131072" },
	       { 524288, "0.524288" }, { 2097152, "2.097152" },
	       { 8388608, "8.388608" } };

static void print_histogram(struct request *request,
			    const struct metric *metric,
			    const struct device *device, enum sight_op op)
{
	const struct recorder *recorder = device->recorder;
	uint64_t us = recorder->small->counts[op].sum[metric->kind], sum = 0;
	const char *name = sight_op_name(op), *disk = device->disk;
	struct sight_histogram histogram;
	unsigned bucket = 0;
	size_t i;

	recorder_histogram(recorder, op, metric->kind, &histogram);
	if (!sight_histogram_total(&histogram))
		return; /* most devices do not have all kinds */
	for (i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
		while (sight_bucket_begin(bucket) < bounds[i].us)
			sum += sight_bucket_count(&histogram, bucket++);
		request_print(request,
			      "%s_bucket{device=\"%s\",op=\"%s\",le=\"%s\"} "
			      "%llu",
			      metric->name, disk, name, bounds[i].seconds,
			      (number)sum);
	}
	sum = sight_histogram_total(&histogram);
	request_print(request,
		      "%s_bucket{device=\"%s\",op=\"%s\",le=\"+Inf\"} %llu",
		      metric->name, disk, name, (number)sum);
	request_print(request, "%s_sum{device=\"%s\",op=\"%s\"} %llu.%06llu",
		      metric->name, disk, name, (number)(us / 1000000),
		      (number)(us % 1000000));
	request_print(request, "%s_count{device=\"%s\",op=\"%s\"} %llu",
		      metric->name, disk, name, (number)sum);
}

static void print_times(struct request *request, const struct metric *metric,
			const struct device *device)
{
	unsigned op;

	for (op = 0; op < SIGHT_OPS; op++)
		print_histogram(request, metric, device, (enum sight_op)op);
}

#define COUNTER(name, help, op, value)                             \
	{                                                          \
		name, "counter", help, print_counter, op, value, 0 \
	}

static const struct metric metrics[] = {
	{ .name = "ublkd_info",
	  .type = "gauge",
	  .help = "A device, its name and its target; always 1.",
	  .print = print_info },
	{ .name = "ublkd_io_now",
	  .type = "gauge",
	  .help = "Requests that ublkd has at the moment.",
	  .print = print_owned },
	COUNTER("ublkd_reads_completed_total", "Reads answered.", SIGHT_OP_READ,
		COUNT),
	COUNTER("ublkd_read_bytes_total", "Bytes read.", SIGHT_OP_READ, BYTES),
	COUNTER("ublkd_read_time_seconds_total",
		"Seconds that reads were in ublkd.", SIGHT_OP_READ, TIME),
	COUNTER("ublkd_writes_completed_total", "Writes answered.",
		SIGHT_OP_WRITE, COUNT),
	COUNTER("ublkd_written_bytes_total", "Bytes written.", SIGHT_OP_WRITE,
		BYTES),
	COUNTER("ublkd_write_time_seconds_total",
		"Seconds that writes were in ublkd.", SIGHT_OP_WRITE, TIME),
	COUNTER("ublkd_flush_requests_total", "Flushes answered.",
		SIGHT_OP_FLUSH, COUNT),
	COUNTER("ublkd_flush_requests_time_seconds_total",
		"Seconds that flushes were in ublkd.", SIGHT_OP_FLUSH, TIME),
	COUNTER("ublkd_discards_completed_total", "Discards answered.",
		SIGHT_OP_DISCARD, COUNT),
	COUNTER("ublkd_discarded_sectors_total", "Sectors discarded.",
		SIGHT_OP_DISCARD, SECTORS),
	COUNTER("ublkd_discard_time_seconds_total",
		"Seconds that discards were in ublkd.", SIGHT_OP_DISCARD, TIME),
	COUNTER("ublkd_write_zeroes_completed_total",
		"Requests to write zeroes answered.", SIGHT_OP_WRITE_ZEROES,
		COUNT),
	COUNTER("ublkd_write_zeroes_bytes_total", "Bytes of zeroes written.",
		SIGHT_OP_WRITE_ZEROES, BYTES),
	COUNTER("ublkd_write_zeroes_time_seconds_total",
		"Seconds that requests to write zeroes were in ublkd.",
		SIGHT_OP_WRITE_ZEROES, TIME),
	{ .name = "ublkd_errors_total",
	  .type = "counter",
	  .help = "Requests answered with an error.",
	  .print = print_errors },
	{ .name = "ublkd_request_duration_seconds",
	  .type = "histogram",
	  .help = "Time of requests in ublkd; the first bucket is what was "
		  "answered in the turn of the loop in which it came.",
	  .print = print_times,
	  .kind = SIGHT_IN_UBLKD },
	{ .name = "ublkd_backing_duration_seconds",
	  .type = "histogram",
	  .help = "Time of requests from where they were first handed to the "
		  "backing file or disk to the answer.",
	  .print = print_times,
	  .kind = SIGHT_IN_BACKING },
};

#define METRICS (sizeof(metrics) / sizeof(metrics[0]))

/* The cursor has the row above these bits, and the next device's number below. */
#define DEVICE_BITS 32

int verb_metrics(struct request *request, struct failure *failure)
{
	unsigned row = (unsigned)(request->cursor >> DEVICE_BITS);
	uint32_t id = (uint32_t)request->cursor;
	const struct metric *metric = &metrics[row];
	const struct device *device = request->host->devices.first;
	int turn = 0;

	if (verb_check_recorder(failure) < 0)
		return -1;
	if (id == 0)
		request_print(request, "# HELP %s %s", metric->name,
			      metric->help);
	if (id == 0)
		request_print(request, "# TYPE %s %s", metric->name,
			      metric->type);
	for (; device; device = device->next) {
		if (device->spec.id < id || !device->recorder)
			continue;
		if (turn++ == TURN)
			return 1;
		metric->print(request, metric, device);
		request->cursor =
			((uint64_t)row << DEVICE_BITS) + device->spec.id + 1;
	}
	request->cursor = (uint64_t)(row + 1) << DEVICE_BITS;
	if (row + 1 < METRICS)
		return 1;
	request_ok(request, "%s", "");
	return 0;
}
