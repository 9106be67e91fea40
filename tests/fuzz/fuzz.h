/*
 * A fuzzer: one function that takes whatever bytes it is given, and fails (by an
 * assertion of cmocka, which aborts outside of a test, or by a sanitizer) if the
 * code under test does not hold what it promises. With configure
 * --enable-fuzzing, libFuzzer calls it with bytes that it makes up; in all builds
 * "make check" calls it with each seed, see main.c.
 */
#ifndef UBLKD_FUZZ_H
#define UBLKD_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* The input, from its start on. */
struct fuzz_bytes {
	const uint8_t *at;
	size_t left;
};

/* The next byte, 0 behind the end. */
static inline uint8_t fuzz_byte(struct fuzz_bytes *bytes)
{
	if (!bytes->left)
		return 0;
	bytes->left--;
	return *bytes->at++;
}

#endif
