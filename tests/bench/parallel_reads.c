/* parallel_reads N FILE...: reads all FILEs once by N threads, each taking the next one; prints MB/s. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 64
#define PIECE (128u << 10)

struct work {
	char **files;
	atomic_int next;
	int n, failed;
	atomic_ullong bytes;
};

static int read_all(const char *path, char *buf, atomic_ullong *bytes)
{
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return -1;
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* as cat does */
	ssize_t n;
	while ((n = read(fd, buf, PIECE)) > 0)
		*bytes += (unsigned long long)n;
	close(fd);
	return n < 0 ? -1 : 0;
}

static void *reader(void *arg)
{
	struct work *w = arg;
	char *buf = malloc(PIECE);
	for (int i; buf && (i = w->next++) < w->n;)
		if (read_all(w->files[i], buf, &w->bytes) < 0) {
			perror(w->files[i]);
			w->failed = 1;
		}
	free(buf);
	return NULL;
}

int main(int argc, char **argv)
{
	int n = argc > 2 ? atoi(argv[1]) : 0;
	if (n < 1 || n > THREADS_MAX) {
		fprintf(stderr, "usage: parallel_reads N FILE...\n");
		return 2;
	}
	struct work w = {.files = argv + 2, .n = argc - 2};
	pthread_t threads[THREADS_MAX];
	struct timespec a, b;
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, reader, &w) != 0)
			return 1;
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	clock_gettime(CLOCK_MONOTONIC, &b);
	double s = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
	printf("%.0f\n", (double)w.bytes / 1e6 / s);
	return w.failed;
}
