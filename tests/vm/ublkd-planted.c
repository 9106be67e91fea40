/*
 * ublkd-planted: ublkd with two faults that it has not, for tests of what is said
 * of them. While PLANTS/spin is there, its thread goes round in a target with the
 * answer to a request at 1 MiB; while PLANTS/refused is there, that to one at 2 MiB
 * names no tag, and the driver refuses it. No build of ublkd itself has any of this.
 */
#include <unistd.h>

#include "base/uapi.h"
#include "io/io.h"

#define PLANTS	   "/tmp/t/planted"
#define SPIN_AT	   (1u << 20)
#define REFUSED_AT (2u << 20)

static int names_no_tag;

void __real_io_done(struct io *io, int error);
void __wrap_io_done(struct io *io, int error);
int __real_ring_put_addressed(struct ring *ring, uint32_t op,
			      const void *command, uint64_t address,
			      uint64_t data);
int __wrap_ring_put_addressed(struct ring *ring, uint32_t op,
			      const void *command, uint64_t address,
			      uint64_t data);

void __wrap_io_done(struct io *io, int error)
{
	while (io->offset == SPIN_AT && access(PLANTS "/spin", F_OK) == 0)
		;
	names_no_tag = io->offset == REFUSED_AT &&
		       access(PLANTS "/refused", F_OK) == 0;
	__real_io_done(io, error);
	names_no_tag = 0;
}

int __wrap_ring_put_addressed(struct ring *ring, uint32_t op,
			      const void *command, uint64_t address,
			      uint64_t data)
{
	struct ublk_io_cmd without_tag = *(const struct ublk_io_cmd *)command;

	without_tag.tag = UINT16_MAX;
	return __real_ring_put_addressed(
		ring, op, names_no_tag ? &without_tag : command, address, data);
}
