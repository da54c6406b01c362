/* random_reads FILE SIZE COUNT: reads SIZE bytes at COUNT places of FILE, the same ones each time. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct stat st;
	int fd = argc == 4 ? open(argv[1], O_RDONLY) : -1;
	if (fd < 0 || fstat(fd, &st) < 0) {
		fprintf(stderr, "usage: random_reads FILE SIZE COUNT\n");
		return 2;
	}
	size_t size = strtoul(argv[2], NULL, 10);
	char *buf = malloc(size);
	uint64_t seed = 20261121;
	for (long n = strtol(argv[3], NULL, 10); n > 0; n--) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		off_t off = (off_t)(seed % (uint64_t)(st.st_size / (off_t)size)) * (off_t)size;
		if (!buf || pread(fd, buf, size, off) != (ssize_t)size) {
			perror(argv[1]);
			return 1;
		}
	}
	return 0;
}
