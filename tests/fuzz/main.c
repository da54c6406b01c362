/* Replays a fuzzer's corpus: each file as it is, then changed in ways that are the same each time.
 * Usage: fuzz_<name> FOLDER [MUTATIONS A FILE] */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INPUT_LIMIT (1u << 20)
#define MUTATIONS 2000

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static const uint8_t interesting[] = {0x00, 0x01, 0x7f, 0x80, 0xff, 0x20, '"', '{', '-', '9'};

/* Changes buf[0 .. len) a little: one to four bytes, a cut, or a piece moved over another. */
static size_t mutate(uint8_t *buf, size_t len, uint64_t *seed)
{
	uint64_t what = next_random(seed) % 8;
	if (len == 0)
		return 0;
	if (what == 0)
		return next_random(seed) % len;
	if (what == 1) {
		size_t from = next_random(seed) % len, to = next_random(seed) % len;
		size_t n = next_random(seed) % (len - (from > to ? from : to));
		memmove(buf + to, buf + from, n);
		return len;
	}
	for (uint64_t i = 0; i < 1 + what % 4; i++) {
		uint8_t *at = buf + next_random(seed) % len;
		if (what < 5)
			*at ^= (uint8_t)(1u << next_random(seed) % 8);
		else
			*at = interesting[next_random(seed) % sizeof interesting];
	}
	return len;
}

static void replay(const uint8_t *input, size_t len, long mutations)
{
	uint64_t seed = 88172645463325252 + len;
	LLVMFuzzerTestOneInput(input, len);
	for (long i = 0; i < mutations; i++) {
		/* Of exactly the right size, so that a sanitizer sees each byte read beyond it. */
		uint8_t *buf = malloc(len ? len : 1);
		if (!buf)
			abort();
		memcpy(buf, input, len);
		size_t n = mutate(buf, len, &seed);
		LLVMFuzzerTestOneInput(buf, n);
		free(buf);
	}
}

static int replay_file(const char *path, long mutations)
{
	uint8_t *buf = malloc(INPUT_LIMIT);
	int fd = open(path, O_RDONLY);
	size_t len = 0;
	ssize_t n = buf && fd >= 0 ? 1 : -1;
	while (n > 0 && len < INPUT_LIMIT) {
		n = read(fd, buf + len, INPUT_LIMIT - len);
		len += n > 0 ? (size_t)n : 0;
	}
	if (n < 0)
		perror(path);
	else
		replay(buf, len, mutations);
	if (fd >= 0)
		close(fd);
	free(buf);
	return n < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
	long mutations = argc > 2 ? atol(argv[2]) : MUTATIONS;
	DIR *dir = argc > 1 ? opendir(argv[1]) : NULL;
	int files = 0, failed = 0;
	if (!dir) {
		fprintf(stderr, "usage: %s FOLDER [MUTATIONS]\n", argv[0]);
		return 2;
	}
	for (const struct dirent *entry; (entry = readdir(dir));) {
		char path[PATH_MAX];
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
		failed |= replay_file(path, mutations) < 0;
		files++;
	}
	closedir(dir);
	printf("%d inputs, %ld mutations of each\n", files, mutations);
	return failed || files == 0;
}
