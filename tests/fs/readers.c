/*
 * Many readers at random over a mounted tree, each byte held against the source. What damaged bytes
 * cover is an I/O error, to the page, and nothing else is.
 *
 * readers [OPTION...] SOURCE MOUNTED
 *   -t N     threads (64)           -n N   reads of all together (20000)
 *   -r SEED  (1)                    -s     a signal every other millisecond, which interrupts
 *   -c FILE  lines "OFFSET LENGTH PATH": what is damaged. Errors are expected there...
 *   -l       ... but right bytes, too: the damage comes while we read, or what we read is cached
 *   -h FILE  a FIFO that gets a line when half of the reads are done
 *   -e       any read may fail, but not for ever: errors are counted, bytes are right
 * Prints how many reads there were, and how many failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define READ_MAX 300000u

struct range {
	uint64_t off, len;
};

struct file {
	char *path; /* below both trees */
	uint64_t size;
	struct range *bad;
	size_t n_bad;
};

/* One run: the program's only state. */
static struct {
	const char *source, *mounted, *half;
	struct file *files;
	size_t n_files;
	unsigned threads;
	unsigned long reads;
	uint64_t seed;
	bool lenient, any_error, signals;
	atomic_ulong done, failed;
} run = {.threads = 64, .reads = 20000, .seed = 1};

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fprintf(stderr, "readers: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	_exit(1);
}

static void *must(void *p)
{
	if (!p)
		fail("no memory");
	return p;
}

/* --- what there is --- */

static int add_file(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)at;
	if (type != FTW_F || !S_ISREG(st->st_mode) || !st->st_size)
		return 0;
	run.files = must(realloc(run.files, (run.n_files + 1) * sizeof *run.files));
	run.files[run.n_files++] = (struct file){
		.path = must(strdup(path + strlen(run.source) + 1)), .size = (uint64_t)st->st_size};
	return 0;
}

static void load_damage(const char *path)
{
	FILE *f = fopen(path, "re");
	char line[4400];
	if (!f)
		fail("%s: %s", path, strerror(errno));
	while (fgets(line, sizeof line, f)) {
		char *end;
		struct range range;
		range.off = strtoull(line, &end, 10);
		range.len = strtoull(end, &end, 10);
		end[strcspn(end, "\n")] = '\0';
		for (size_t i = 0; i < run.n_files; i++) {
			struct file *file = &run.files[i];
			if (strcmp(file->path, end + 1) != 0)
				continue;
			file->bad = must(realloc(file->bad, (file->n_bad + 1) * sizeof range));
			file->bad[file->n_bad++] = range;
		}
	}
	fclose(f);
}

/* How many of len bytes from off come before the first page that is damaged anywhere. */
static size_t good_until(const struct file *file, uint64_t off, size_t len)
{
	uint64_t first = UINT64_MAX;
	for (size_t i = 0; i < file->n_bad; i++) {
		uint64_t begin = file->bad[i].off, end = begin + file->bad[i].len;
		/* Of the pages that we touch, the first that this range touches. */
		uint64_t from = off - off % PAGE > begin ? off - off % PAGE : begin - begin % PAGE;
		if (from < end && from < off + len && from < first)
			first = from;
	}
	if (first >= off + len)
		return len;
	return first > off ? (size_t)(first - off) : 0;
}

/* --- reading --- */

static uint64_t draw(uint64_t *random, uint64_t below)
{
	*random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (*random >> 33) % below;
}

static ssize_t read_at(int fd, void *p, size_t len, uint64_t off)
{
	ssize_t n;
	do
		n = pread(fd, p, len, (off_t)off);
	while (n < 0 && errno == EINTR);
	return n;
}

static int open_below(const char *root, const char *path)
{
	char *name;
	if (asprintf(&name, "%s/%s", root, path) < 0)
		fail("no memory");
	int fd;
	do
		fd = open(name, O_RDONLY | O_CLOEXEC);
	while (fd < 0 && errno == EINTR);
	free(name);
	return fd;
}

/* A signal or an error further on ends a read early: what came must be right. */
static void judge(const struct file *file, uint64_t off, size_t len, ssize_t n, int no,
		  const uint8_t *want, const uint8_t *got)
{
	size_t good = good_until(file, off, len);
	if (n > 0 && memcmp(want, got, (size_t)n) != 0)
		fail("%s: wrong bytes in [%llu, +%zu)", file->path, (unsigned long long)off, len);
	if (n < 0)
		atomic_fetch_add(&run.failed, 1);
	if (run.any_error)
		return;
	if (n < 0 && (no != EIO || good))
		fail("%s: %s at %llu, where %zu bytes are good", file->path, strerror(no),
		     (unsigned long long)off, good);
	if (n >= 0 && (size_t)n < good && !run.signals)
		fail("%s: %zd bytes at %llu, where %zu are good", file->path, n,
		     (unsigned long long)off, good);
	if (n >= 0 && (size_t)n > good && !run.lenient)
		fail("%s: %zd bytes at %llu, where only %zu are good", file->path, n,
		     (unsigned long long)off, good);
}

/* One of the large ones two times of three: there are few. */
static const struct file *any_file(uint64_t *random)
{
	size_t at = draw(random, run.n_files);
	bool large = draw(random, 3) > 0;
	for (size_t i = 0; large && i < run.n_files && run.files[at].size < READ_MAX; i++)
		at = (at + 1) % run.n_files;
	return &run.files[at];
}

static void read_once(uint64_t *random, uint8_t *want, uint8_t *got)
{
	const struct file *file = any_file(random);
	uint64_t off = draw(random, file->size);
	size_t len = (size_t)draw(random, draw(random, 3) ? 3 * PAGE : READ_MAX) + 1;
	if (len > file->size - off)
		len = (size_t)(file->size - off);
	int source = open_below(run.source, file->path),
	    mounted = open_below(run.mounted, file->path);
	if (source < 0 || read_at(source, want, len, off) != (ssize_t)len)
		fail("%s/%s: %s", run.source, file->path, strerror(errno));
	if (mounted < 0 && !run.any_error)
		fail("%s/%s: %s", run.mounted, file->path, strerror(errno));
	if (mounted >= 0) {
		posix_fadvise(mounted, 0, 0, POSIX_FADV_RANDOM);
		ssize_t n = read_at(mounted, got, len, off);
		judge(file, off, len, n, errno, want, got);
		close(mounted);
	} else {
		atomic_fetch_add(&run.failed, 1);
	}
	close(source);
}

static void tell_half(void)
{
	int fd = open(run.half, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "half\n", 5) != 5)
		fail("%s: %s", run.half, strerror(errno));
	close(fd);
}

static void *reader(void *arg)
{
	uint64_t random = run.seed * 1000003 + (uintptr_t)arg;
	uint8_t *want = must(malloc(READ_MAX)), *got = must(malloc(READ_MAX));
	unsigned long n;
	while ((n = atomic_fetch_add(&run.done, 1)) < run.reads) {
		if (run.half && n == run.reads / 2)
			tell_half();
		read_once(&random, want, got);
	}
	free(want);
	free(got);
	return NULL;
}

static void on_signal(int signal)
{
	(void)signal;
}

static void start_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART */
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
	struct itimerspec every = {{0, 2000000}, {0, 2000000}};
	timer_t timer;
	sigaction(SIGALRM, &action, NULL);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0 ||
	    timer_settime(timer, 0, &every, NULL) < 0)
		fail("timer: %s", strerror(errno));
}

static void read_all(void)
{
	pthread_t threads[256];
	if (run.threads > 256)
		fail("at most 256 threads");
	if (run.signals)
		start_signals();
	for (uintptr_t i = 0; i < run.threads; i++)
		if (pthread_create(&threads[i], NULL, reader, (void *)i))
			fail("no thread");
	for (size_t i = 0; i < run.threads; i++)
		pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
	const char *damage = NULL;
	int option;
	while ((option = getopt(argc, argv, "t:n:r:c:h:lse")) != -1) {
		switch (option) {
		case 't':
			run.threads = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'n':
			run.reads = strtoul(optarg, NULL, 10);
			break;
		case 'r':
			run.seed = strtoull(optarg, NULL, 10);
			break;
		case 'c':
			damage = optarg;
			break;
		case 'h':
			run.half = optarg;
			break;
		case 'l':
			run.lenient = true;
			break;
		case 's':
			run.signals = true;
			break;
		case 'e':
			run.any_error = true;
			break;
		default:
			return 2;
		}
	}
	if (argc - optind != 2)
		return 2;
	run.source = argv[optind];
	run.mounted = argv[optind + 1];
	if (nftw(run.source, add_file, 32, FTW_PHYS) < 0 || !run.n_files)
		fail("%s: no files", run.source);
	if (damage)
		load_damage(damage);
	read_all();
	printf("%lu reads, %lu failed\n", run.reads, atomic_load(&run.failed));
	return 0;
}
