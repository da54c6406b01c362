/* System calls under watch: see calls.h. */
#include "tests/fault/calls_private.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_FDS 4096
#define MAX_PLACES (1u << 20)
#define STACK_DEPTH 10

/* The program has these as well known globals; so have we. */
static struct calls_plan plan;
static atomic_ulong made, refused;
static char last_refused[CALL_NAME + 32];
static uint64_t *places;
static call_fn *observer;
static void *observer_ctx;
static const char *observed;
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER; /* of observed calls */
static char names[MAX_FDS][CALL_NAME];                    /* of open descriptors; "" unknown */
long calls_clock;

/* --- names --- */

/* Without "." and "..", which the engine uses to open a folder again. */
static void tidy(char *name)
{
	char *out = name;
	for (const char *in = name; *in;) {
		size_t len = 1 + strcspn(in + 1, "/");
		if (len == 3 && in[1] == '.' && in[2] == '.')
			while (out > name && *--out != '/')
				;
		else if (len > 2 || (len == 2 && in[1] != '.')) {
			memmove(out, in, len);
			out += len;
		}
		in += len;
	}
	*out = '\0';
}

/* The absolute name, "" when it cannot be told. */
const char *call_absolute(int dir, const char *name, char out[CALL_NAME])
{
	const char *base = "";
	char cwd[CALL_NAME];
	if (name[0] != '/' && dir == AT_FDCWD)
		base = getcwd(cwd, sizeof cwd) ? cwd : "";
	else if (name[0] != '/')
		base = dir >= 0 && dir < MAX_FDS ? names[dir] : "";
	out[0] = '\0';
	if ((name[0] == '/' || base[0]) &&
	    snprintf(out, CALL_NAME, "%s/%s", name[0] == '/' ? "" : base, name) < CALL_NAME)
		tidy(out);
	else
		out[0] = '\0';
	return out;
}

const char *call_name_of(int fd)
{
	return fd >= 0 && fd < MAX_FDS ? names[fd] : "";
}

void call_set_name(int fd, const char *name)
{
	if (fd >= 0 && fd < MAX_FDS)
		snprintf(names[fd], CALL_NAME, "%s", name);
}

static bool is_under(const char *name, const char *folders)
{
	while (folders && *folders && name[0]) {
		size_t len = strcspn(folders, ":");
		if (len && strncmp(name, folders, len) == 0 && (!name[len] || name[len] == '/'))
			return true;
		folders += len + (folders[len] == ':');
	}
	return false;
}

/* --- verdicts --- */

static void keep_place(unsigned long n, enum call_kind kind)
{
	void *stack[STACK_DEPTH + 3];
	int depth = backtrace(stack, STACK_DEPTH + 3);
	uint64_t hash = 14695981039346656037u + kind;
	for (int i = 3; i < depth; i++)
		hash = (hash ^ (uint64_t)(uintptr_t)stack[i]) * 1099511628211u;
	if (places && n <= MAX_PLACES)
		places[n - 1] = hash;
}

/* 0: go on; else an errno, or CALL_SHORT. */
int call_verdict(enum call_kind kind, const char *name)
{
	if (!plan.under || (plan.kinds && !(plan.kinds >> kind & 1)) || !is_under(name, plan.under))
		return 0;
	unsigned long n = atomic_fetch_add(&made, 1) + 1;
	if (plan.trace)
		keep_place(n, kind);
	if (!plan.at || n < plan.at || (n > plan.at && !plan.sticky))
		return 0;
	if (plan.error == CALL_KILL)
		kill(getpid(), SIGKILL);
	if (atomic_fetch_add(&refused, 1) == 0)
		snprintf(last_refused, sizeof last_refused, "%c %s", CALL_LETTERS[kind], name);
	return plan.error;
}

void calls_arm(const struct calls_plan *new_plan)
{
	if (new_plan->trace && !places)
		places = calloc(MAX_PLACES, sizeof *places);
	atomic_store(&made, 0);
	atomic_store(&refused, 0);
	last_refused[0] = '\0';
	plan = *new_plan;
}

unsigned long calls_disarm(void)
{
	plan = (struct calls_plan){.at = 0};
	return atomic_load(&made);
}

bool calls_hit(void)
{
	return atomic_load(&refused) > 0;
}

const char *calls_refused(void)
{
	return last_refused;
}

const uint64_t *calls_places(size_t *out_n)
{
	size_t n = atomic_load(&made);
	*out_n = n < MAX_PLACES ? n : MAX_PLACES;
	return places;
}

/* --- the observer --- */

void calls_observe(const char *under, call_fn *fn, void *ctx)
{
	observed = under;
	observer_ctx = ctx;
	observer = fn;
}

bool call_watch(const char *name)
{
	if (!observer || !is_under(name, observed))
		return false;
	pthread_mutex_lock(&order);
	return true;
}

void call_tell(bool watching, bool done, const struct call *call)
{
	int e = errno;
	if (watching && done)
		observer(observer_ctx, call);
	if (watching)
		pthread_mutex_unlock(&order);
	errno = e;
}

/* --- preloaded --- */

static unsigned kinds_of(const char *letters)
{
	unsigned kinds = 0;
	for (unsigned k = 0; k < CALL_KINDS; k++)
		if (letters && strchr(letters, CALL_LETTERS[k]))
			kinds |= 1u << k;
	return kinds;
}

static int error_of(const char *word)
{
	static const struct {
		const char *word;
		int error;
	} errors[] = {{"EIO", EIO},     {"ENOSPC", ENOSPC},    {"EROFS", EROFS},
		      {"EINTR", EINTR}, {"short", CALL_SHORT}, {"kill", CALL_KILL}};
	for (size_t i = 0; word && i < sizeof errors / sizeof *errors; i++)
		if (strcmp(word, errors[i].word) == 0)
			return errors[i].error;
	return EIO;
}

__attribute__((constructor)) static void begin(void)
{
	const char *at = getenv("FAULT_AT"), *offset = getenv("FAULT_CLOCK");
	struct calls_plan asked = {.under = getenv("FAULT_UNDER"),
				   .kinds = kinds_of(getenv("FAULT_KINDS")),
				   .at = at ? strtoul(at, NULL, 10) : 0,
				   .sticky = getenv("FAULT_STICKY") != NULL,
				   .error = error_of(getenv("FAULT_ERROR"))};
	calls_clock = offset ? strtol(offset, NULL, 10) : 0;
	if (asked.under)
		calls_arm(&asked);
}

__attribute__((destructor)) static void end(void)
{
	const char *path = getenv("FAULT_COUNT");
	unsigned long n = plan.under && path ? calls_disarm() : 0;
	FILE *f = n ? fopen(path, "we") : NULL;
	if (!f)
		return;
	fprintf(f, "%lu\n", n);
	fclose(f);
}
