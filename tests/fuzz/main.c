/*
 * In the place of libFuzzer: gives the fuzzer each file that is named, or each of
 * its folder of seeds, $srcdir/tests/fuzz/seeds/NAME for a program fuzz_NAME.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define SIZE_MAX_OF_SEED (1u << 20)

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void run_file(const char *path)
{
	FILE *file = fopen(path, "re");
	uint8_t *bytes = malloc(SIZE_MAX_OF_SEED);
	size_t size;

	if (!file || !bytes)
		fail(path);
	size = fread(bytes, 1, SIZE_MAX_OF_SEED, file);
	fclose(file);
	/* Of its size alone, so that a sanitizer sees who reads behind it. */
	bytes = realloc(bytes, size ? size : 1);
	if (!bytes)
		fail(path);
	printf("%s\n", path);
	fflush(stdout);
	LLVMFuzzerTestOneInput(bytes, size);
	free(bytes);
}

static void run_folder(const char *path)
{
	char name[1024];
	struct dirent *entry;
	DIR *folder = opendir(path);
	unsigned count = 0;

	if (!folder)
		fail(path);
	while ((entry = readdir(folder))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		run_file(name);
		count++;
	}
	closedir(folder);
	if (!count) {
		fprintf(stderr, "%s: no seeds\n", path);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	const char *source = getenv("srcdir");
	const char *name = strstr(argv[0], "fuzz_");
	char path[300];
	int i;

	for (i = 1; i < argc; i++)
		run_file(argv[i]);
	if (argc > 1 || !name)
		return argc > 1 ? 0 : 1;
	snprintf(path, sizeof(path), "%s/tests/fuzz/seeds/%s",
		 source ? source : ".", name + strlen("fuzz_"));
	run_folder(path);
	return 0;
}
