/*
 * Committing: the base gets what the device has shown, and the layer is empty then.
 * That is done before the device is there, with a base that nobody else has.
 *
 * Whatever is interrupted loses nothing: until the base is durable the layer has all
 * of what it had, and shows the same on a base that has some of it already. From
 * before the first byte is written to the base until the layer is empty its header
 * says that a commit has begun, for the base's time is no longer the one that the
 * layer knows.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/compat.h"
#include "base/log.h"
#include "cow.h"

#define ZEROES_MAX (1u << 20) /* bytes that are written at a time, */
#define HOLE_MAX   (1u << 30) /* or made a hole */

static uint64_t begin_of(const struct cow *cow, uint64_t cluster)
{
	return cluster << cow->shift;
}

/* Of the clusters before that one, as far as the device goes. */
static uint64_t end_of(const struct cow *cow, uint64_t cluster)
{
	uint64_t end = begin_of(cow, cluster);

	return end < cow->size ? end : cow->size;
}

/* ---- what each step asks for ---- */

static void fill_zeroes(struct cow *cow, struct ring_transfer *transfer)
{
	const struct cow_commit *commit = &cow->commit;
	uint64_t left = commit->end - commit->at;

	transfer->op = RING_WRITE;
	transfer->bytes = (void *)io_zeroes();
	transfer->offset = commit->at;
	transfer->length = left < ZEROES_MAX ? left : ZEROES_MAX;
}

static void fill_hole(struct ring_transfer *transfer, uint64_t at,
		      uint64_t length)
{
	transfer->op = RING_FALLOCATE;
	transfer->flags = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;
	transfer->offset = at;
	transfer->length = length;
}

static void fill(struct cow *cow, struct ring_transfer *transfer)
{
	struct cow_commit *commit = &cow->commit;

	transfer->fd = cow->layer.fd;
	switch (commit->step) {
	case COMMIT_MARK:
	case COMMIT_UNMARK:
		transfer->op = RING_WRITE;
		transfer->bytes = cow->sector;
		transfer->length = COW_SECTOR;
		break;
	case COMMIT_READ:
		transfer->op = RING_READ;
		transfer->bytes = commit->buffer;
		transfer->offset = COW_DATA_AT + commit->at;
		transfer->length = commit->end - commit->at;
		break;
	case COMMIT_WRITE:
		transfer->fd = cow->base.fd;
		transfer->op = RING_WRITE;
		transfer->bytes = commit->buffer + commit->written;
		transfer->offset = commit->at + commit->written;
		transfer->length = commit->filled - commit->written;
		break;
	case COMMIT_HOLE:
		transfer->fd = cow->base.fd;
		fill_hole(transfer, commit->at, commit->end - commit->at);
		break;
	case COMMIT_ZEROES:
		transfer->fd = cow->base.fd;
		fill_zeroes(cow, transfer);
		break;
	case COMMIT_SYNC_BASE:
		transfer->fd = cow->base.fd;
		transfer->op = RING_FSYNC;
		break;
	case COMMIT_EMPTY_MAP:
		transfer->op = RING_WRITE;
		transfer->bytes = (void *)io_zeroes();
		transfer->offset = COW_MAP_AT + commit->at;
		transfer->length = commit->end - commit->at;
		if (transfer->length > ZEROES_MAX)
			transfer->length = ZEROES_MAX;
		break;
	case COMMIT_EMPTY_DATA:
		fill_hole(transfer, COW_DATA_AT, cow->size);
		break;
	case COMMIT_SYNC_MARK:
	case COMMIT_SYNC_MAP:
	case COMMIT_SYNC_UNMARK:
		transfer->op = RING_FDATASYNC;
		break;
	case COMMIT_NOT:
		break;
	}
}

/* ---- and what comes of it ---- */

static int begin(struct cow *cow, enum cow_commit_step step)
{
	cow->commit.step = step;
	return 1;
}

/* The next clusters that the base has to get, or the end of that. */
static int next_clusters(struct cow *cow)
{
	struct cow_commit *commit = &cow->commit;
	const struct cow_map *map = &cow->map;
	uint64_t at = commit->cluster, end;
	enum cow_state state;

	while (at < map->clusters && cow_map_get(map, at) == COW_BASE)
		at++;
	if (at == map->clusters)
		return begin(cow, COMMIT_SYNC_BASE);
	state = cow_map_get(map, at);
	end = at + 1;
	while (state == COW_ZERO && end < map->clusters &&
	       begin_of(cow, end - at) < HOLE_MAX &&
	       cow_map_get(map, end) == COW_ZERO)
		end++;
	commit->at = begin_of(cow, at);
	commit->end = end_of(cow, end);
	commit->cluster = end;
	if (state == COW_HERE)
		return begin(cow, COMMIT_READ);
	return begin(cow, commit->no_holes ? COMMIT_ZEROES : COMMIT_HOLE);
}

static int end_read(struct cow *cow, uint32_t bytes)
{
	cow->commit.filled = bytes;
	cow->commit.written = 0;
	return begin(cow, COMMIT_WRITE);
}

static int end_write(struct cow *cow, uint32_t bytes)
{
	struct cow_commit *commit = &cow->commit;

	commit->written += bytes;
	if (commit->written < commit->filled)
		return 1;
	commit->at += commit->filled;
	return commit->at < commit->end ? begin(cow, COMMIT_READ)
					: next_clusters(cow);
}

static int end_zeroes(struct cow *cow, uint32_t bytes)
{
	cow->commit.at += bytes;
	return cow->commit.at < cow->commit.end ? 1 : next_clusters(cow);
}

/* A disk, or a file system, that makes no holes is written to. */
static int end_hole(struct cow *cow, int32_t result)
{
	if (result == 0)
		return next_clusters(cow);
	cow->commit.no_holes = 1;
	return begin(cow, COMMIT_ZEROES);
}

/* The base is durable: from now on the layer needs nothing of what it has. */
static int end_sync_base(struct cow *cow)
{
	cow->commit.at = 0;
	cow->commit.end = (uint64_t)cow->map.sectors * COW_SECTOR;
	return begin(cow, COMMIT_EMPTY_MAP);
}

static int end_empty_map(struct cow *cow, uint32_t bytes)
{
	cow->commit.at += bytes;
	return cow->commit.at < cow->commit.end ? 1
						: begin(cow, COMMIT_SYNC_MAP);
}

static int end_empty_data(struct cow *cow)
{
	int error = cow_base_identify(cow, &cow->header.base);

	if (error)
		return error;
	cow->header.commits = 0;
	cow_header_write(&cow->header, cow->sector);
	return begin(cow, COMMIT_UNMARK);
}

static int begin_commit(struct cow *cow)
{
	struct cow_commit *commit = &cow->commit;

	commit->buffer = malloc(cow_cluster(cow));
	if (!commit->buffer)
		return -ENOMEM;
	cow->header.commits = 1;
	cow_header_write(&cow->header, cow->sector);
	return begin(cow, COMMIT_MARK);
}

static int end_commit(struct cow *cow)
{
	log_notice("%s has what the layer %s had, which is empty now",
		   cow->base.path, cow->layer.path);
	cow_map_clear(&cow->map);
	return 0;
}

/* Nothing where there should be something; and a header is written at once. */
static int is_short(const struct cow_commit *commit, int32_t result)
{
	switch (commit->step) {
	case COMMIT_MARK:
	case COMMIT_UNMARK:
		return result < (int32_t)COW_SECTOR;
	case COMMIT_READ:
	case COMMIT_WRITE:
	case COMMIT_ZEROES:
	case COMMIT_EMPTY_MAP:
		return result == 0;
	default:
		return 0;
	}
}

static int end_step(struct cow *cow, int32_t result)
{
	struct cow_commit *commit = &cow->commit;

	if (commit->step == COMMIT_HOLE)
		return end_hole(cow, result);
	if (result < 0)
		return result;
	if (is_short(commit, result))
		return -EIO;
	switch (commit->step) {
	case COMMIT_NOT:
		return begin_commit(cow);
	case COMMIT_MARK:
		return begin(cow, COMMIT_SYNC_MARK);
	case COMMIT_SYNC_MARK:
		return next_clusters(cow);
	case COMMIT_READ:
		return end_read(cow, (uint32_t)result);
	case COMMIT_WRITE:
		return end_write(cow, (uint32_t)result);
	case COMMIT_ZEROES:
		return end_zeroes(cow, (uint32_t)result);
	case COMMIT_SYNC_BASE:
		return end_sync_base(cow);
	case COMMIT_EMPTY_MAP:
		return end_empty_map(cow, (uint32_t)result);
	case COMMIT_SYNC_MAP:
		return begin(cow, COMMIT_EMPTY_DATA);
	case COMMIT_EMPTY_DATA:
		return end_empty_data(cow);
	case COMMIT_UNMARK:
		return begin(cow, COMMIT_SYNC_UNMARK);
	default:
		return end_commit(cow);
	}
}

int cow_commit(struct cow *cow, int32_t result, struct ring_transfer *transfer)
{
	int state = end_step(cow, result);

	if (state > 0) {
		fill(cow, transfer);
		return state;
	}
	free(cow->commit.buffer);
	cow->commit.buffer = NULL;
	return state;
}
