#include "records.h"

#include <string.h>

/*
 * One string, for a table of pointers would be thrice as large. Blanks are the type
 * of a text, and part the others.
 */
const char record_table[] =
	/* Frames. */
	"OK seq# id# dev name queues# depth# size# fits# unserved# existing? "
	"events# format# took~ version proto# pid# keeper-pid# bits unknown "
	"deleted# number devices# done# changes# \n"
	"ERR text arg errno \n"
	"WAIT what \n"
	"EVENT seq# \n"
	"overflow id# lost# \n"
	"size id# name size# \n"
	"fault id# name \n"
	"stall id# name stuck? \n"
	/* Devices. */
	"dev id# name state step target size# dev ro? queues# depth# "
	"block-size# max-io# mode batch? waits-for error retry-in# owner node-mode fill? used# "
	"path backing direct? waiting# flush-errors# base base-known-by "
	"cluster# oldest~ "
#ifndef WITHOUT_NBD
	"uri connected? connections# reconnects# unanswered# reason "
#endif
	"\n"
	"config text \n"
	"layer name failed# delayed# limited# waiting# timed-out# late# "
	"refused# last-error \n"
	"queue id# depth# owned# reads# read-bytes# writes# write-bytes# "
	"flushes# discards# write-zeroes# errors# \n"
	"busy id# name text \n"
	"deleted id# name number \n"
	"failed id# name symbol text \n"
	/* What there is. */
	"build without, \n"
	"candidate word help \n"
	"command name words access help \n"
	"feature name have? required? \n"
	"option name value type required? default min max help \n"
	"recorder on? \n"
	"target name help \n"
#ifndef WITHOUT_RELOAD
	"mistake file line# column# word text more# \n"
	"plan step# do id# name command fixed needs why was \n"
	"done step# result symbol text \n"
#endif
#ifndef WITHOUT_SIGHT
	/* What devices have done, and do. */
	"stats id# name seconds# in-flight# depth-reached# \n"
	"op id# op count# bytes# errors# time~ in-turn# p50~ p90~ p99~ p999~ max~ "
	"backing-p50~ backing-p90~ backing-p99~ backing-p999~ backing-max~ \n"
	"trace id# time# event request name op offset# length# place result# "
	"took~ \n"
	"end id# \n"
	/* Where requests wait. */
	"place id# name count# op offset# length# age~ \n"
	"kernel id# reads# writes# scheduler requests# timeout~ \n"
	"blk-mq id# busy# tags/ sched-tags/ state| \n"
	"behind id# disk reads# writes# mapper suspended? mount kind server# "
	"comm state \n"
	"tasks id# count# \n"
	"task id# pid# comm state wchan \n"
	"stack id# pid# text< \n"
	"holder id# text \n"
	"verdict id# verdict \n"
	"tag id# queue# tag# place op offset# length# age~ \n"
#endif
	;

static const char *line_end(const char *line)
{
	return line + strcspn(line, "\n");
}

const char *record_find(const char *word, size_t length)
{
	const char *line;

	for (line = record_table; *line; line = line_end(line) + 1)
		if (strncmp(line, word, length) == 0 && line[length] == ' ')
			return line + length + 1;
	return line;
}

enum record_type record_type(const char *keys, const char *key, size_t length)
{
	const char *at;
	size_t n;

	for (at = keys; *at && *at != '\n'; at += n + 1 + (at[n] != ' ')) {
		n = strcspn(at, " #~?,|/<");
		if (n == length && strncmp(at, key, n) == 0)
			return (enum record_type)at[n];
	}
	return RECORD_UNKNOWN;
}
