#include "cow-map.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* In the header, in bytes. */
enum {
	AT_MAGIC = 0,
	AT_VERSION = 8,
	AT_CLUSTER = 12,
	AT_SIZE = 16,
	AT_ID = 24,
	AT_MAP = 40,
	AT_NOW = 48,
	AT_DATA = 56,
	AT_BASE_SIZE = 64,
	AT_BASE_MODIFIED = 72,
	AT_BASE_GENERATION = 80,
	AT_BASE_KIND = 88,
	AT_BASE_NAME = 96,
	AT_COMMITS = 496,
	AT_CHECKSUM = COW_SECTOR - 4,
};
_Static_assert(AT_BASE_NAME + COW_NAME_MAX <= AT_COMMITS, "there is room");

/* In a sector of a map. */
enum { SUM = 0, NUMBER = 4, BITS = 8 };

static const uint8_t magic[8] = { 'u', 'b', 'l', 'k', 'c', 'o', 'w', '\n' };

/* ---- numbers and checksums ---- */

static void put32(uint8_t *at, uint32_t value)
{
	value = htole32(value);
	memcpy(at, &value, sizeof(value));
}

static void put64(uint8_t *at, uint64_t value)
{
	value = htole64(value);
	memcpy(at, &value, sizeof(value));
}

static uint32_t get32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return le32toh(value);
}

static uint64_t get64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return le64toh(value);
}

/* CRC-32C, begun with 0, and gone on with what the bytes before had. */
static uint32_t checksum(uint32_t sum, const uint8_t *bytes, size_t length)
{
	static uint32_t table[256];
	uint32_t i, bit;

	for (i = 0; !table[255] && i < 256; i++) {
		uint32_t value = i;

		for (bit = 0; bit < 8; bit++)
			value = value >> 1 ^ (value & 1 ? 0x82f63b78u : 0);
		table[i] = value;
	}
	sum = ~sum;
	while (length--)
		sum = sum >> 8 ^ table[(uint8_t)(sum ^ *bytes++)];
	return ~sum;
}

/* ---- the header ---- */

void cow_header_write(const struct cow_header *header, uint8_t *sector)
{
	memset(sector, 0, COW_SECTOR);
	memcpy(sector + AT_MAGIC, magic, sizeof(magic));
	put32(sector + AT_VERSION, COW_VERSION);
	put32(sector + AT_CLUSTER, header->cluster);
	put64(sector + AT_SIZE, header->size);
	memcpy(sector + AT_ID, header->id, sizeof(header->id));
	put64(sector + AT_MAP, COW_MAP_AT);
	put64(sector + AT_NOW, COW_NOW_AT);
	put64(sector + AT_DATA, COW_DATA_AT);
	put64(sector + AT_BASE_SIZE, header->base.file.size);
	put64(sector + AT_BASE_MODIFIED, header->base.file.modified);
	put64(sector + AT_BASE_GENERATION, header->base.file.generation);
	put32(sector + AT_BASE_KIND, header->base.is_export);
	memcpy(sector + AT_BASE_NAME, header->base.name, COW_NAME_MAX);
	put32(sector + AT_COMMITS, (uint32_t)header->commits);
	put32(sector + AT_CHECKSUM, checksum(0, sector, AT_CHECKSUM));
}

static int is_cluster(uint32_t bytes)
{
	return bytes >= COW_CLUSTER_MIN && bytes <= COW_CLUSTER_MAX &&
	       (bytes & (bytes - 1)) == 0;
}

const char *cow_header_read(struct cow_header *header, const uint8_t *sector)
{
	if (memcmp(sector + AT_MAGIC, magic, sizeof(magic)) != 0)
		return "is no layer of cow";
	if (get32(sector + AT_CHECKSUM) != checksum(0, sector, AT_CHECKSUM))
		return "is damaged: the checksum of its header is wrong";
	if (get32(sector + AT_VERSION) != COW_VERSION)
		return "has a format that this ublkd does not know";
	header->cluster = get32(sector + AT_CLUSTER);
	header->size = get64(sector + AT_SIZE);
	memcpy(header->id, sector + AT_ID, sizeof(header->id));
	header->base.file.size = get64(sector + AT_BASE_SIZE);
	header->base.file.modified = get64(sector + AT_BASE_MODIFIED);
	header->base.file.generation = get64(sector + AT_BASE_GENERATION);
	header->base.is_export = get32(sector + AT_BASE_KIND) == 1;
	memcpy(header->base.name, sector + AT_BASE_NAME, COW_NAME_MAX);
	header->commits = get32(sector + AT_COMMITS) == 1;
	if (!is_cluster(header->cluster) || header->size == 0 ||
	    header->size > COW_CLUSTERS * header->cluster ||
	    get32(sector + AT_BASE_KIND) > 1 ||
	    get32(sector + AT_COMMITS) > 1 ||
	    get64(sector + AT_MAP) != COW_MAP_AT ||
	    get64(sector + AT_NOW) != COW_NOW_AT ||
	    get64(sector + AT_DATA) != COW_DATA_AT)
		return "has a header that makes no sense";
	return NULL;
}

/* ---- the maps ---- */

int cow_map_open(struct cow_map *map, uint64_t clusters, const uint8_t *id)
{
	map->clusters = clusters;
	map->sectors = (uint32_t)((clusters + COW_A_SECTOR - 1) / COW_A_SECTOR);
	map->now = calloc(map->sectors, COW_SECTOR);
	map->durable = calloc(map->sectors, COW_SECTOR);
	map->marks = calloc(map->sectors, 1);
	memcpy(map->id, id, sizeof(map->id));
	return map->now && map->durable && map->marks ? 0 : -ENOMEM;
}

void cow_map_close(struct cow_map *map)
{
	free(map->now);
	free(map->durable);
	free(map->marks);
	memset(map, 0, sizeof(*map));
}

void cow_map_clear(struct cow_map *map)
{
	memset(map->now, 0, (size_t)map->sectors * COW_SECTOR);
	memset(map->durable, 0, (size_t)map->sectors * COW_SECTOR);
	memset(map->marks, 0, map->sectors);
	map->dirty = map->stale = 0;
}

static uint8_t *sector_of(uint8_t *bytes, uint32_t sector)
{
	return bytes + (size_t)sector * COW_SECTOR;
}

/* The byte with its bits, which are so far up. */
static uint8_t *find_bits(const struct cow_map *map, uint64_t cluster,
			  unsigned *up)
{
	uint32_t in_sector = (uint32_t)(cluster % COW_A_SECTOR);

	*up = in_sector % 4 * 2;
	return sector_of(map->now, cow_map_sector(cluster)) + BITS +
	       in_sector / 4;
}

enum cow_state cow_map_get(const struct cow_map *map, uint64_t cluster)
{
	unsigned up;
	const uint8_t *byte = find_bits(map, cluster, &up);

	return (enum cow_state)(*byte >> up & 3);
}

static void make_dirty(struct cow_map *map, uint32_t sector)
{
	if (!(map->marks[sector] & COW_DIRTY))
		map->dirty++;
	map->marks[sector] |= COW_DIRTY;
}

void cow_map_set(struct cow_map *map, uint64_t cluster, enum cow_state state)
{
	unsigned up;
	uint8_t *byte = find_bits(map, cluster, &up);

	*byte = (uint8_t)((*byte & ~(3u << up)) | (unsigned)state << up);
	make_dirty(map, cow_map_sector(cluster));
}

static uint32_t sum_of(const struct cow_map *map, const uint8_t *bytes)
{
	uint32_t sum = checksum(0, map->id, sizeof(map->id));

	return checksum(sum, bytes + NUMBER, COW_SECTOR - NUMBER);
}

static void seal(const struct cow_map *map, uint32_t sector, uint8_t *bytes)
{
	put32(bytes + NUMBER, sector);
	put32(bytes + SUM, sum_of(map, bytes));
}

void cow_map_copy(const struct cow_map *map, uint32_t sector, uint8_t *bytes)
{
	memcpy(bytes, sector_of(map->now, sector), COW_SECTOR);
	seal(map, sector, bytes);
}

void cow_map_noted(struct cow_map *map, uint32_t sector, int error)
{
	uint8_t *marks = &map->marks[sector];

	map->stale -= (*marks & COW_STALE) != 0;
	*marks &= (uint8_t)~COW_STALE;
	if (!error)
		return;
	*marks |= COW_STALE;
	map->stale++;
}

int cow_map_stale(const struct cow_map *map, uint32_t *sector)
{
	uint32_t at = *sector;

	while (map->stale && at < map->sectors && !(map->marks[at] & COW_STALE))
		at++;
	*sector = at;
	return map->stale && at < map->sectors;
}

static int is_blank(const uint8_t *bytes)
{
	unsigned i;

	for (i = 0; i < COW_SECTOR; i++)
		if (bytes[i])
			return 0;
	return 1;
}

/* No cluster is anything else, and there is none behind the last. */
static int has_sense(const struct cow_map *map, uint32_t sector,
		     const uint8_t *bytes)
{
	uint64_t first = (uint64_t)sector * COW_A_SECTOR;
	uint32_t i, state;

	for (i = 0; i < COW_A_SECTOR; i++) {
		state = bytes[BITS + i / 4] >> i % 4 * 2 & 3;
		if (state == COW_STATES ||
		    (state && first + i >= map->clusters))
			return 0;
	}
	return 1;
}

static int is_whole(const struct cow_map *map, uint32_t sector,
		    const uint8_t *bytes)
{
	return is_blank(bytes) || (get32(bytes + NUMBER) == sector &&
				   get32(bytes + SUM) == sum_of(map, bytes) &&
				   has_sense(map, sector, bytes));
}

static int differs(const uint8_t *bytes, const uint8_t *others)
{
	return memcmp(bytes + BITS, others + BITS, COW_SECTOR - BITS) != 0;
}

int cow_map_take_durable(struct cow_map *map, uint32_t sector, uint32_t end)
{
	for (; sector < end; sector++) {
		const uint8_t *durable = sector_of(map->durable, sector);

		if (!is_whole(map, sector, durable))
			return -1;
		if (!is_blank(durable))
			memcpy(sector_of(map->now, sector), durable,
			       COW_SECTOR);
	}
	return 0;
}

int cow_map_take_now(struct cow_map *map, uint32_t sector, uint32_t end)
{
	for (; sector < end; sector++) {
		uint8_t *now = sector_of(map->now, sector);
		const uint8_t *durable = sector_of(map->durable, sector);

		if (is_blank(now))
			memcpy(now, durable, COW_SECTOR);
		else if (!is_whole(map, sector, now))
			return -1;
		else if (differs(now, durable))
			make_dirty(map, sector);
	}
	return 0;
}

void cow_map_doubt(struct cow_map *map)
{
	uint32_t sector;

	for (sector = 0; sector < map->sectors; sector++)
		if (!is_blank(sector_of(map->durable, sector)))
			make_dirty(map, sector);
}

uint32_t cow_map_freeze(struct cow_map *map)
{
	uint32_t sector, count = map->dirty;
	uint8_t *durable;

	for (sector = 0; map->dirty && sector < map->sectors; sector++) {
		if (!(map->marks[sector] & COW_DIRTY))
			continue;
		durable = sector_of(map->durable, sector);
		if (differs(sector_of(map->now, sector), durable))
			cow_map_copy(map, sector, durable);
		map->marks[sector] &= (uint8_t)~COW_DIRTY;
		map->marks[sector] |= COW_FROZEN;
		map->dirty--;
	}
	return count;
}

uint32_t cow_map_frozen(const struct cow_map *map, uint32_t *sector,
			uint32_t max)
{
	uint32_t at = *sector, end;

	while (at < map->sectors && !(map->marks[at] & COW_FROZEN))
		at++;
	end = at;
	while (end < map->sectors && end - at < max &&
	       map->marks[end] & COW_FROZEN)
		end++;
	*sector = at;
	return end - at;
}

void cow_map_thaw(struct cow_map *map, int error)
{
	uint32_t sector;

	for (sector = 0; sector < map->sectors; sector++) {
		if (!(map->marks[sector] & COW_FROZEN))
			continue;
		map->marks[sector] &= (uint8_t)~COW_FROZEN;
		if (error)
			make_dirty(map, sector);
	}
}
