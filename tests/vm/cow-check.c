/*
 * cow-check BASE LAYER [SHOWN]: reads a layer of the target cow, whose device is not
 * there, by what ublkd-targets(7) says of the format. 1 if it is not whole, or does
 * not belong to the base. With SHOWN, whether that has the same bytes as the layer
 * on its base. Prints how many clusters are what.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR	 512u
#define A_SECTOR 2016u
#define MIB	 (UINT64_C(1) << 20)

static uint8_t header[SECTOR];
static uint64_t counts[4];

__attribute__((format(printf, 1, 2))) static void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "cow-check: ");
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	exit(1);
}

static uint64_t number(const uint8_t *at, unsigned bytes)
{
	uint64_t value = 0;

	while (bytes--)
		value = value << 8 | at[bytes];
	return value;
}

/* CRC-32C, a bit at a time. */
static uint32_t sum_of(uint32_t sum, const uint8_t *bytes, size_t length)
{
	int bit;

	sum = ~sum;
	for (; length; length--) {
		sum ^= *bytes++;
		for (bit = 0; bit < 8; bit++)
			sum = sum & 1 ? sum >> 1 ^ 0x82f63b78u : sum >> 1;
	}
	return ~sum;
}

static int open_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	return fd;
}

static void read_all(int fd, void *bytes, size_t length, uint64_t offset)
{
	ssize_t n = pread(fd, bytes, length, (off_t)offset);

	if (n != (ssize_t)length)
		die("%zd of %zu bytes at %llu", n, length,
		    (unsigned long long)offset);
}

static void check_header(int base)
{
	struct stat status;

	if (memcmp(header, "ublkcow\n", 8) != 0)
		die("no layer");
	if (number(header + 508, 4) != sum_of(0, header, 508))
		die("the header's checksum");
	if (number(header + 8, 4) != 1)
		die("version %u", (unsigned)number(header + 8, 4));
	if (number(header + 40, 8) != 64 * MIB ||
	    number(header + 48, 8) != 128 * MIB ||
	    number(header + 56, 8) != 192 * MIB)
		die("things are not in their places");
	if (fstat(base, &status) < 0 ||
	    number(header + 64, 8) != (uint64_t)status.st_size)
		die("another base");
	/* An export has no time; here the base is what a server gives. */
	if (number(header + 88, 4) == 0 &&
	    number(header + 72, 8) !=
		    (uint64_t)status.st_mtim.tv_sec * 1000000000 +
			    (uint64_t)status.st_mtim.tv_nsec)
		die("another base");
}

static void check_sector(const uint8_t *sector, uint32_t at)
{
	static const uint8_t blank[SECTOR];
	uint32_t sum = sum_of(0, header + 24, 16);

	if (memcmp(sector, blank, SECTOR) == 0)
		return;
	if (number(sector + 4, 4) != at)
		die("sector %u of the map is number %u", at,
		    (unsigned)number(sector + 4, 4));
	if (number(sector, 4) != sum_of(sum, sector + 4, SECTOR - 4))
		die("the checksum of sector %u of the map", at);
}

static void compare(const uint8_t *shown, const uint8_t *expected,
		    uint32_t length, uint64_t cluster)
{
	if (memcmp(shown, expected, length) != 0)
		die("the device shows something else in cluster %llu",
		    (unsigned long long)cluster);
}

int main(int argc, char **argv)
{
	static uint8_t sector[SECTOR], bytes[MIB], shown[MIB];
	uint64_t size, cluster, at, length;
	int base, layer, device;

	if (argc < 3)
		die("BASE LAYER [SHOWN]");
	base = open_file(argv[1]);
	layer = open_file(argv[2]);
	device = argc > 3 ? open_file(argv[3]) : -1;
	read_all(layer, header, SECTOR, 0);
	check_header(base);
	length = number(header + 12, 4);
	size = number(header + 16, 8);
	for (at = 0, cluster = 0; at < size; at += length, cluster++) {
		uint32_t in_sector = (uint32_t)(cluster % A_SECTOR);
		unsigned state;
		uint32_t part =
			(uint32_t)(size - at < length ? size - at : length);

		if (in_sector == 0) {
			read_all(layer, sector, SECTOR,
				 64 * MIB + cluster / A_SECTOR * SECTOR);
			check_sector(sector, (uint32_t)(cluster / A_SECTOR));
		}
		state = sector[8 + in_sector / 4] >> in_sector % 4 * 2 & 3;
		if (state == 3)
			die("cluster %llu is nothing",
			    (unsigned long long)cluster);
		counts[state]++;
		memset(bytes, 0, part);
		if (state == 0)
			read_all(base, bytes, part, at);
		else if (state == 2)
			read_all(layer, bytes, part, 192 * MIB + at);
		if (device < 0)
			continue;
		read_all(device, shown, part, at);
		compare(shown, bytes, part, cluster);
	}
	printf("clusters: base=%llu zero=%llu here=%llu\n",
	       (unsigned long long)counts[0], (unsigned long long)counts[1],
	       (unsigned long long)counts[2]);
	return 0;
}
