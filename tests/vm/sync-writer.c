/*
 * sync-writer write FILE LIFE: writes rounds of blocks and syncs each; tells a
 * round, "synced 17", as soon as fdatasync has acknowledged it. Ends with the
 * machine.
 *
 * sync-writer check FILE LIFE ROUND: whether everything is there that had been
 * acknowledged when that life ended, in this round. What was written afterwards
 * may be there or not, in whole or in parts. Prints what is lost; 1 if anything
 * is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK	4096u
#define BLOCKS	2048u /* of the file: its first 8 MiB */
#define A_ROUND 4u    /* blocks */

/* A block is full of these, because it may be written in parts. */
struct record {
	uint32_t life, round, block, mark;
};

#define RECORDS (BLOCK / sizeof(struct record))

static struct record records[RECORDS];

static void die(const char *what)
{
	fprintf(stderr, "sync-writer: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Which block is the nth one of a round: the same whoever asks. */
static uint32_t pick(uint32_t life, uint32_t round, uint32_t nth)
{
	uint64_t mixed =
		((uint64_t)life << 40) + (uint64_t)round * A_ROUND + nth + 1;

	mixed *= 0x9e3779b97f4a7c15ULL;
	mixed ^= mixed >> 29;
	mixed *= 0xbf58476d1ce4e5b9ULL;
	return (uint32_t)(mixed >> 33) % BLOCKS;
}

static struct record record_of(uint32_t life, uint32_t round, uint32_t block)
{
	struct record record = { life, round, block, ~(life ^ round ^ block) };

	return record;
}

static void write_round(int fd, uint32_t life, uint32_t round)
{
	uint32_t nth, i;

	for (nth = 0; nth < A_ROUND; nth++) {
		uint32_t block = pick(life, round, nth);

		for (i = 0; i < RECORDS; i++)
			records[i] = record_of(life, round, block);
		if (pwrite(fd, records, BLOCK, (off_t)block * BLOCK) != BLOCK)
			die("write");
	}
	if (fdatasync(fd) < 0)
		die("fdatasync");
}

static _Noreturn void write_on(int fd, uint32_t life)
{
	uint32_t round;

	for (round = 1;; round++) {
		write_round(fd, life, round);
		printf("synced %u\n", round);
		fflush(stdout);
	}
}

/* Whether all of the block is from that round or a later one. */
static int is_there(uint32_t life, uint32_t round, uint32_t block)
{
	uint32_t i;

	for (i = 0; i < RECORDS; i++) {
		struct record wanted = record_of(life, records[i].round, block);

		if (records[i].round < round ||
		    memcmp(&records[i], &wanted, sizeof(wanted)) != 0)
			return 0;
	}
	return 1;
}

static int check(int fd, uint32_t life, uint32_t last)
{
	static uint32_t due[BLOCKS]; /* the last round of each, if any */
	uint32_t round, nth, block, checked = 0, lost = 0;

	for (round = 1; round <= last; round++)
		for (nth = 0; nth < A_ROUND; nth++)
			due[pick(life, round, nth)] = round;
	for (block = 0; block < BLOCKS; block++) {
		if (!due[block])
			continue;
		if (pread(fd, records, BLOCK, (off_t)block * BLOCK) != BLOCK)
			die("read");
		checked++;
		if (is_there(life, due[block], block))
			continue;
		lost++;
		printf("block %u: round %u of life %u is lost; life %u, round "
		       "%u is there\n",
		       block, due[block], life, records[0].life,
		       records[0].round);
	}
	printf("%u blocks checked, %u lost\n", checked, lost);
	return lost > 0;
}

int main(int argc, char **argv)
{
	int fd, is_check = argc == 5 && strcmp(argv[1], "check") == 0;

	if (!is_check && (argc != 4 || strcmp(argv[1], "write") != 0))
		return 2;
	fd = open(argv[2], O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die(argv[2]);
	if (is_check)
		return check(fd, (uint32_t)atoi(argv[3]),
			     (uint32_t)atoi(argv[4]));
	write_on(fd, (uint32_t)atoi(argv[3]));
}
