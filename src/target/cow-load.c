/*
 * What is done to a layer apart from requests: loading it, and making the map
 * follow the data. Both are jobs of several transfers, one after the other, for
 * whoever has a ring: the opener's of a device that comes or goes, or a queue's, in
 * the name of a request that needs it.
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/compat.h"
#include "base/log.h"
#include "cow.h"

#define READ_MAX (1u << 20)  /* bytes of a map at a time */
#define RUN_MAX	 512u	     /* sectors */
#define BLANK	 (64u << 10) /* bytes of space that an empty file may take */

static int begin(struct cow *cow, enum cow_job_step step)
{
	cow->step = step;
	return 1;
}

/* The job is over: error is 0 or negative. */
static int end(struct cow *cow, int error)
{
	cow->step = COW_IDLE;
	return error;
}

static uint64_t map_bytes(const struct cow *cow)
{
	return (uint64_t)cow->map.sectors * COW_SECTOR;
}

/* ---- what each step asks for ---- */

static void fill_transfer(struct ring_transfer *transfer, enum ring_file_op op,
			  void *bytes, uint64_t offset, uint64_t length)
{
	transfer->op = op;
	transfer->bytes = bytes;
	transfer->offset = offset;
	transfer->length = length;
}

static void fill_allocation(struct ring_transfer *transfer, int mode,
			    uint64_t offset, uint64_t length)
{
	fill_transfer(transfer, RING_FALLOCATE, NULL, offset, length);
	transfer->flags = mode;
}

static void fill_read(const struct cow *cow, struct ring_transfer *transfer,
		      uint8_t *bytes, uint64_t offset)
{
	uint64_t left = map_bytes(cow) - cow->at;

	fill_transfer(transfer, RING_READ, bytes + cow->at, offset + cow->at,
		      left < READ_MAX ? left : READ_MAX);
}

static void fill(struct cow *cow, struct ring_transfer *transfer)
{
	switch (cow->step) {
	case COW_READ_HEADER:
		fill_transfer(transfer, RING_READ, cow->sector, 0, COW_SECTOR);
		break;
	case COW_READ_MAP:
		fill_read(cow, transfer, cow->map.durable, COW_MAP_AT);
		break;
	case COW_READ_NOW:
		fill_read(cow, transfer, cow->map.now, COW_NOW_AT);
		break;
	case COW_WRITE_HEADER:
		fill_transfer(transfer, RING_WRITE, cow->sector, 0, COW_SECTOR);
		break;
	case COW_MAKE_LONG:
		fill_allocation(transfer, 0, COW_DATA_AT + cow->size - 1, 1);
		break;
	case COW_ALLOCATE_MAP:
		fill_allocation(transfer, FALLOC_FL_KEEP_SIZE, COW_MAP_AT,
				map_bytes(cow));
		break;
	case COW_CLEAR_NOW:
		fill_allocation(transfer,
				FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE,
				COW_NOW_AT, map_bytes(cow));
		break;
	case COW_PUNCH_NOW:
		fill_allocation(transfer,
				FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
				COW_NOW_AT, map_bytes(cow));
		break;
	case COW_SYNC_HEADER:
	case COW_SYNC_DATA:
	case COW_SYNC_MAP:
		transfer->op = RING_FDATASYNC;
		break;
	case COW_WRITE_MAP:
		fill_transfer(transfer, RING_WRITE,
			      cow->map.durable +
				      (size_t)cow->frozen * COW_SECTOR,
			      COW_MAP_AT + (uint64_t)cow->frozen * COW_SECTOR,
			      (uint64_t)cow->run * COW_SECTOR);
		break;
	case COW_IDLE:
		break;
	}
}

/* ---- loading ---- */

static int refuse(struct cow *cow, const char *option, const char *wrong)
{
	cow->option = option;
	cow->wrong = wrong;
	return -EINVAL;
}

static int is_blank(const uint8_t *bytes, size_t length)
{
	while (length && !*bytes)
		bytes++, length--;
	return length == 0;
}

static int numbers_differ(uint64_t one, uint64_t other)
{
	return one && other && one != other;
}

/* What one of the two does not know is no difference. */
static const char *compare_bases(const struct cow_base *was,
				 const struct cow_base *is)
{
	if (was->is_export != is->is_export)
		return was->is_export ? "belongs to the export of a server, "
					"and this is a file or disk"
				      : "belongs to a file or disk, and this "
					"is the export of a server";
	if (memcmp(was->name, is->name, COW_NAME_MAX) != 0)
		return "belongs to an export of another name";
	if (numbers_differ(was->file.size, is->file.size))
		return "belongs to a base of another size: that has changed, "
		       "or is another one";
	if (numbers_differ(was->file.modified, is->file.modified))
		return "belongs to a base that was written at another time: "
		       "that has changed since, or is another one";
	if (numbers_differ(was->file.generation, is->file.generation))
		return "belongs to another base of the same size and time";
	return NULL;
}

static int open_maps(struct cow *cow)
{
	uint32_t cluster = cow->header.cluster;

	cow_map_close(&cow->map);
	cow->shift = (unsigned)__builtin_ctz(cluster);
	cow->at = 0;
	return cow_map_open(&cow->map, (cow->size + cluster - 1) >> cow->shift,
			    cow->header.id);
}

/*
 * The layer belongs to this base, or is told to. What a device has used until now it
 * goes on with.
 */
static int take_base(struct cow *cow, const struct cow_base *base)
{
	const struct cow_base *was = &cow->header.base;
	struct cow_base known = *was;
	const char *wrong;

	/* Of one that has been written to since the time tells nothing. */
	if (cow->header.commits)
		known.file.modified = 0;
	wrong = compare_bases(&known, base);
	if (!wrong)
		return 0;
	if (cow->adopted) {
		log_warning("the base of %s has changed while a device used "
			    "it: it %s",
			    cow->layer.path, wrong);
		return 0;
	}
	if (!cow->takes_base || was->file.size != base->file.size ||
	    cow->read_only)
		return refuse(cow, "base", wrong);
	log_warning("the layer %s has another base from now on: it %s",
		    cow->layer.path, wrong);
	cow->header.base = *base;
	cow_header_write(&cow->header, cow->sector);
	return 0;
}

/* A layer that is there belongs to this device, or it is refused. */
static int take_header(struct cow *cow, const struct cow_base *base)
{
	const char *wrong = cow_header_read(&cow->header, cow->sector);

	if (wrong)
		return refuse(cow, "path", wrong);
	if (cow->wanted && cow->wanted != cow->header.cluster)
		return refuse(cow, "cluster", "has clusters of another size");
	if (cow->header.cluster % cow->block_size)
		return refuse(cow, "block-size",
			      "has clusters that are no whole blocks");
	if (!cow->size)
		cow->size = cow->header.size;
	if (cow->size % cow->block_size)
		return refuse(cow, "block-size",
			      "has a size that is no whole blocks");
	if (cow->header.size < cow->size)
		return refuse(cow, "path", "is smaller than its device");
	if (cow->header.commits && !cow->commits && !cow->adopted)
		return refuse(cow, "commit",
			      "is on its way to the base, which has a part of "
			      "it: commit=yes goes on with that");
	return take_base(cow, base);
}

static int make_header(struct cow *cow, const struct cow_base *base)
{
	struct cow_header *header = &cow->header;

	header->size = base->file.size - base->file.size % cow->block_size;
	header->cluster = cow->wanted ? cow->wanted : 64u << 10;
	header->base = *base;
	if (header->size > COW_CLUSTERS * header->cluster)
		return refuse(cow, "cluster",
			      "has room for too few clusters: larger ones "
			      "will do");
	if (getrandom(header->id, sizeof(header->id), GRND_NONBLOCK) !=
	    (ssize_t)sizeof(header->id))
		return -EAGAIN;
	cow->size = header->size;
	cow_header_write(header, cow->sector);
	return 0;
}

/* An empty file becomes a layer; never one that has anything else in it. */
static int is_new(const struct cow *cow)
{
	return !cow->adopted && !cow->read_only &&
	       is_blank(cow->sector, COW_SECTOR) &&
	       backing_used(cow->layer.fd) <= BLANK;
}

static int end_header(struct cow *cow, int32_t result)
{
	struct cow_base base;
	int make = is_new(cow), error;

	if (result < (int32_t)COW_SECTOR && !(result == 0 && make))
		return refuse(cow, "path", "is no layer of cow");
	error = cow_base_identify(cow, &base);
	if (!error)
		error = make ? make_header(cow, &base)
			     : take_header(cow, &base);
	if (error)
		return error;
	error = open_maps(cow);
	return error ? error : begin(cow, make ? COW_MAKE_LONG : COW_READ_MAP);
}

static int has_now(const struct cow *cow)
{
	return cow->adopted && !cow->read_only;
}

static int end_maps(struct cow *cow)
{
	cow->is_loaded = 1;
	if (cow->read_only)
		return 0;
	cow_map_doubt(&cow->map);
	return cow->adopted ? 0 : begin(cow, COW_WRITE_HEADER);
}

/* The sectors that are read whole now: not all at once, which takes long. */
static int take_read(struct cow *cow, uint32_t bytes)
{
	uint32_t sector = (uint32_t)(cow->at / COW_SECTOR), end;

	cow->at += bytes;
	end = (uint32_t)(cow->at / COW_SECTOR);
	return cow->step == COW_READ_MAP
		       ? cow_map_take_durable(&cow->map, sector, end)
		       : cow_map_take_now(&cow->map, sector, end);
}

/* What is behind the end of the file is not there: it was cut short. */
static int end_read(struct cow *cow, int32_t result)
{
	if (result == 0)
		return refuse(cow, "path", "is damaged: it was cut short");
	if (take_read(cow, (uint32_t)result) < 0)
		return refuse(cow, "path",
			      "is damaged: a checksum of its map is wrong");
	if (cow->at < map_bytes(cow))
		return 1;
	cow->at = 0;
	if (cow->step == COW_READ_MAP && has_now(cow))
		return begin(cow, COW_READ_NOW);
	return end_maps(cow);
}

/* A FLUSH needs no space for the map that it makes durable. */
static int end_allocation(struct cow *cow, int32_t result)
{
	if (result < 0 && result != -EOPNOTSUPP)
		return result;
	return begin(cow, COW_CLEAR_NOW);
}

static int end_clear(struct cow *cow, int32_t result)
{
	if (result == 0)
		return 0;
	if (result == -EOPNOTSUPP && cow->step == COW_CLEAR_NOW)
		return begin(cow, COW_PUNCH_NOW);
	if (result == -EOPNOTSUPP)
		return refuse(cow, "path",
			      "lies on a file system that has no holes");
	return result;
}

static int end_load_step(struct cow *cow, int32_t result)
{
	switch (cow->step) {
	case COW_IDLE:
		cow->wrong = cow->option = NULL;
		return begin(cow, COW_READ_HEADER);
	case COW_READ_HEADER:
		return result < 0 ? result : end_header(cow, result);
	case COW_READ_MAP:
	case COW_READ_NOW:
		return result < 0 ? result : end_read(cow, result);
	case COW_MAKE_LONG:
		return result < 0 ? result : begin(cow, COW_READ_MAP);
	case COW_WRITE_HEADER:
		if (result != (int32_t)COW_SECTOR)
			return result < 0 ? result : -EIO;
		return begin(cow, COW_SYNC_HEADER);
	case COW_SYNC_HEADER:
		return result < 0 ? result : begin(cow, COW_ALLOCATE_MAP);
	case COW_ALLOCATE_MAP:
		return end_allocation(cow, result);
	default:
		return end_clear(cow, result);
	}
}

int cow_load(struct cow *cow, int32_t result, struct ring_transfer *transfer)
{
	int state = end_load_step(cow, result);

	if (state <= 0)
		return end(cow, state);
	fill(cow, transfer);
	return 1;
}

/* ---- making durable ---- */

/*
 * What the kernel could not write is lost, and nobody knows which it was. A map that
 * says of such a cluster that it is here would lose what the base has, so none is
 * written any more.
 */
void cow_lose(struct cow *cow, int error)
{
	if (cow->target.tally)
		return;
	log_error("%s: what was written since the last flush is lost: %s; "
		  "flushes fail until the device is made again",
		  cow->layer.path, strerror(-error));
	target_set_tally(&cow->target, 1);
	/* What is only read is safe in the base. */
	cow->fills = 0;
}

static int fail_sync(struct cow *cow, int error)
{
	cow_map_thaw(&cow->map, error);
	if (cow->step != COW_WRITE_MAP && error != -ECANCELED)
		cow_lose(cow, error);
	return error;
}

static int write_frozen(struct cow *cow)
{
	cow->run = cow_map_frozen(&cow->map, &cow->frozen, RUN_MAX);
	return begin(cow, cow->run ? COW_WRITE_MAP : COW_SYNC_MAP);
}

static int end_sync_step(struct cow *cow, int32_t result)
{
	if (cow->step == COW_IDLE) {
		if (cow->target.tally)
			return -EIO;
		cow->frozen = 0;
		cow->run = cow_map_freeze(&cow->map);
		return begin(cow, COW_SYNC_DATA);
	}
	/* Of several that sync at a time the kernel tells one. */
	if (result >= 0 && cow->target.tally)
		result = -EIO;
	if (result < 0)
		return fail_sync(cow, result);
	if (cow->step == COW_SYNC_DATA)
		return cow->run ? write_frozen(cow) : 0;
	if (cow->step == COW_WRITE_MAP) {
		if (result < (int32_t)COW_SECTOR)
			return fail_sync(cow, -EIO);
		cow->frozen += (uint32_t)result / COW_SECTOR;
		return write_frozen(cow);
	}
	cow_map_thaw(&cow->map, 0);
	return 0;
}

int cow_sync(struct cow *cow, int32_t result, struct ring_transfer *transfer)
{
	int state = end_sync_step(cow, result);

	if (state <= 0)
		return end(cow, state);
	fill(cow, transfer);
	return 1;
}
