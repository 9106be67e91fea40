/*
 * The format of a layer: the clusters of a device that are not as in its base, and
 * a map of them.
 *
 * A layer is one sparse file, in which everything has its place from the beginning:
 *
 *	0		 the header, 512 bytes
 *	COW_MAP_AT	 the map: what a crash of the host leaves is true
 *	COW_NOW_AT	 the same as things stand: it counts for as long as the
 *			 device lives, and is empty when one is made
 *	COW_DATA_AT	 the clusters, each in its place; holes where there is none
 *
 * Numbers are little-endian. A map has sectors of 512 bytes: a checksum, the
 * sector's number, and two bits for each of COW_A_SECTOR clusters, the first of them
 * in the lowest bits of the first byte. A sector of zeroes alone is one that was
 * never written. A sector is written at once; that of a map which is torn, or belongs
 * to another layer, is found by its checksum.
 */
#ifndef UBLKD_COW_MAP_H
#define UBLKD_COW_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "backing.h"

#define COW_VERSION 1u

#define COW_SECTOR   512u
#define COW_A_SECTOR 2016u /* clusters */

#define COW_MAP_AT  (UINT64_C(64) << 20)
#define COW_NOW_AT  (UINT64_C(128) << 20)
#define COW_DATA_AT (UINT64_C(192) << 20)

/* A map's sectors, and the clusters of the largest layer. */
#define COW_SECTORS  131072u
#define COW_CLUSTERS ((uint64_t)COW_SECTORS * COW_A_SECTOR)

#define COW_CLUSTER_MIN 4096u
#define COW_CLUSTER_MAX (1u << 20)

/* What a cluster is; in the maps. */
enum cow_state {
	COW_BASE, /* as in the base */
	COW_ZERO, /* zeroes, whatever lies in the layer */
	COW_HERE, /* in the layer */
	COW_STATES,
};

#define COW_NAME_MAX 400u /* bytes */

/* By which a base is known again. */
struct cow_base {
	struct backing_identity file; /* of an export the size alone */
	int is_export;		      /* of an NBD server, with this name: */
	char name[COW_NAME_MAX];      /* and zeroes behind that */
};

struct cow_header {
	uint64_t size;	  /* bytes of the device */
	uint32_t cluster; /* bytes, a power of 2 */
	uint8_t id[16];	  /* of the layer, random */
	struct cow_base base;
	int commits; /* the base has some of what the layer has, or all */
};

/* Fill in the sector that says that. */
void cow_header_write(const struct cow_header *header, uint8_t *sector);

/* Returns 0, or what is wrong with the sector: a phrase after "it". */
const char *cow_header_read(struct cow_header *header, const uint8_t *sector);

/* ---- the maps in memory ---- */

/*
 * Both of them as they lie in the file. `durable` is behind `now` where a sector is
 * dirty, and follows with cow_map_freeze().
 */
struct cow_map {
	uint64_t clusters;
	uint32_t sectors;
	uint8_t *now, *durable;
	uint8_t *marks;	       /* of sectors: */
#define COW_DIRTY  1	       /* what is durable is older */
#define COW_FROZEN 2	       /* `durable` is on its way to the file */
#define COW_STALE  4	       /* `now` in the file may be another one */
	uint32_t dirty, stale; /* so many of them are */
	uint8_t id[16];
};

/* All clusters are as in the base. Returns 0 or -ENOMEM. */
int cow_map_open(struct cow_map *map, uint64_t clusters, const uint8_t *id);
void cow_map_close(struct cow_map *map);

/* All of them are again; the file says so already. */
void cow_map_clear(struct cow_map *map);

static inline uint32_t cow_map_sector(uint64_t cluster)
{
	return (uint32_t)(cluster / COW_A_SECTOR);
}

enum cow_state cow_map_get(const struct cow_map *map, uint64_t cluster);

/* The sector of `now` is dirty then. */
void cow_map_set(struct cow_map *map, uint64_t cluster, enum cow_state state);

/* The sector of `now` as it is to be in the file. */
void cow_map_copy(const struct cow_map *map, uint32_t sector, uint8_t *bytes);

/*
 * What cow_map_copy() gave is on its way to the file; or, with an error, may not have
 * come there, or `now` is no longer the same: then the sector is stale.
 */
void cow_map_noted(struct cow_map *map, uint32_t sector, int error);

/* Whether a sector is stale from *sector on: then that is the next one. */
int cow_map_stale(const struct cow_map *map, uint32_t *sector);

/*
 * These sectors, but not `end`, were read of the file into `durable`: whether they
 * are whole. Then `now` has the same. Returns 0 or -1.
 */
int cow_map_take_durable(struct cow_map *map, uint32_t sector, uint32_t end);

/*
 * All of `durable` has been read, and then these sectors into `now`. Where they are
 * blank they are what is durable, and what differs is dirty. Returns 0 or -1.
 */
int cow_map_take_now(struct cow_map *map, uint32_t sector, uint32_t end);

/*
 * What was read may be in the page cache and not on the disk, for the kernel does not
 * try again what it could not write: all of it is dirty.
 */
void cow_map_doubt(struct cow_map *map);

/*
 * What is dirty now is frozen, and no longer dirty. Returns how many sectors are
 * frozen; their bytes stay what they are until cow_map_thaw().
 */
uint32_t cow_map_freeze(struct cow_map *map);

/* How many follow *sector that are frozen, *sector being the next one; 0: none. */
uint32_t cow_map_frozen(const struct cow_map *map, uint32_t *sector,
			uint32_t max);

/* They are in the file and durable, or, with an error, not: then dirty again. */
void cow_map_thaw(struct cow_map *map, int error);

#endif
