/* Leases of runs: who is at work on the repository, since when. See snapshot.h. */
#include "engine/objects/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A day, and an hour for clocks that differ. */
#define LEASE_LIFE (25 * 3600)

void bak_lease_release(struct bak_lease *lease)
{
	for (size_t i = 0; i < lease->n_stores; i++)
		free(lease->stores[i]);
	free(lease->stores);
	*lease = (struct bak_lease){.n_stores = 0};
}

/* Where /proc is missing the fields stay empty, and the lease is judged by its time alone. */
static void read_boot(char *out, size_t len)
{
	BAK_AUTO(bak_close_fd)
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, len - 1);
	out[n > 0 ? n : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
}

/* Of a process: its state's letter, and when it began, in ticks since the machine started. */
static bool read_process(int64_t pid, char *out_state, int64_t *out_start)
{
	char path[64], text[1024];
	long long start;

	snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
	FILE *stat = fopen(path, "re");
	if (!stat)
		return false;
	text[fread(text, 1, sizeof text - 1, stat)] = 0;
	fclose(stat);
	const char *end = strrchr(text, ')'); /* "pid (name) state ..."; the start is field 22 */
	if (!end || sscanf(end + 1,
			   " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
			   "%*d %*d %lld",
			   out_state, &start) != 2)
		return false;
	*out_start = start;
	return true;
}

int bak_lease_self(struct bak_lease *lease, const char *kind, const char *run, const char *host,
		   int64_t now, struct bak_error *err)
{
	struct stat st;
	char state;
	*lease = (struct bak_lease){.pid = getpid(), .start = now, .time = now};
	if (!read_process(lease->pid, &state, &lease->pid_start))
		lease->pid_start = 0;
	snprintf(lease->run, sizeof lease->run, "%s", run);
	snprintf(lease->kind, sizeof lease->kind, "%s", kind);
	if (snprintf(lease->host, sizeof lease->host, "%s", host) >= (int)sizeof lease->host)
		return bak_error_set(err, BAK_USAGE, "the host's name is too long");
	read_boot(lease->boot, sizeof lease->boot);
	if (stat("/proc/self/ns/pid", &st) == 0)
		lease->pid_ns = (int64_t)st.st_ino;
	return 0;
}

static char *lease_json(const struct bak_lease *lease)
{
	char start[BAK_TIME_LEN + 1], last[BAK_TIME_LEN + 1];
	bak_time_format(lease->start, start);
	bak_time_format(lease->time, last);
	json_t *stores = json_array();
	for (size_t i = 0; i < lease->n_stores; i++)
		json_array_append_new(stores, json_string(lease->stores[i]));
	json_t *json = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:s, s:o, s:s}", "boot",
				 lease->boot, "host", lease->host, "kind", lease->kind, "pid",
				 (json_int_t)lease->pid, "pid_ns", (json_int_t)lease->pid_ns,
				 "pid_start", (json_int_t)lease->pid_start, "run", lease->run,
				 "start", start, "stores", stores, "time", last);
	char *text = json ? json_dumps(json, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
	json_decref(json);
	return text;
}

static void lease_name(char *out, size_t len, const char *run, unsigned n)
{
	snprintf(out, len, "running/%s-%u", run, n);
}

int bak_lease_put(struct bak_backend *backend, const struct bak_keyring *ring,
		  const struct bak_lease *lease, unsigned n, struct bak_error *err)
{
	char name[48];
	BAK_AUTO(bak_free_ptr) char *json = lease_json(lease);
	if (!json)
		return bak_error_set(err, BAK_USAGE, "the host's name is not UTF-8");
	lease_name(name, sizeof name, lease->run, n);
	int result = bak_record_put(backend, ring, name, json, err);
	if (result == 0)
		return bak_error_set(err, BAK_EXISTS, "%s is there already", name);
	return result < 0 ? -1 : 0;
}

int bak_lease_remove(struct bak_backend *backend, const char *run, unsigned n,
		     struct bak_error *err)
{
	char name[48];
	lease_name(name, sizeof name, run, n);
	return bak_backend_remove(backend, name, err) < 0 ? -1 : 0;
}

static bool copy_text(char *out, size_t len, const char *text)
{
	return snprintf(out, len, "%s", text) < (int)len;
}

static bool lease_stores(const json_t *stores, struct bak_lease *out)
{
	size_t i, n = json_array_size(stores);
	const json_t *item;
	out->stores = calloc(n ? n : 1, sizeof *out->stores);
	if (!out->stores)
		return false;
	json_array_foreach(stores, i, item)
	{
		if (!json_is_string(item))
			return false;
		out->stores[i] = strdup(json_string_value(item));
		if (!out->stores[i])
			return false;
		out->n_stores++;
	}
	return true;
}

static bool lease_parse(const struct bak_buf *text, struct bak_lease *out)
{
	json_t *json = json_loadb((const char *)text->p, text->len, 0, NULL), *stores;
	const char *run, *kind, *boot, *host, *start, *last;
	json_int_t pid, pid_ns, pid_start = 0;
	*out = (struct bak_lease){.n_stores = 0};
	bool ok = json &&
		  json_unpack(json, "{s:s, s:s, s:s, s:I, s:I, s?I, s:s, s:s, s:o, s:s}", "boot",
			      &boot, "host", &host, "kind", &kind, "pid", &pid, "pid_ns", &pid_ns,
			      "pid_start", &pid_start, "run", &run, "start", &start, "stores",
			      &stores, "time", &last) == 0 &&
		  copy_text(out->run, sizeof out->run, run) &&
		  copy_text(out->kind, sizeof out->kind, kind) &&
		  copy_text(out->boot, sizeof out->boot, boot) &&
		  copy_text(out->host, sizeof out->host, host) &&
		  bak_time_parse(start, &out->start) && bak_time_parse(last, &out->time) &&
		  lease_stores(stores, out);
	if (ok) {
		out->pid = pid;
		out->pid_ns = pid_ns;
		out->pid_start = pid_start;
	} else {
		bak_lease_release(out);
	}
	json_decref(json);
	return ok;
}

struct each {
	struct bak_backend *backend;
	const struct bak_keyring *ring;
	bak_lease_fn *fn;
	void *ctx;
	struct bak_error *err;
};

/* Reads running/<run>-<n>; one that was renewed since it was listed is <n + 1> by now. */
static int get_lease(const struct each *each, const char *name, struct bak_buf *out,
		     struct bak_error *err)
{
	char run[17], next[48];
	unsigned n;
	int found = bak_record_get(each->backend, each->ring, name, out, err);
	if (found != 0 || sscanf(name, "running/%16[0-9a-f]-%u", run, &n) != 2)
		return found;
	lease_name(next, sizeof next, run, n + 1);
	return bak_record_get(each->backend, each->ring, next, out, err);
}

static int each_lease(void *ctx, const char *name, uint64_t size)
{
	const struct each *each = ctx;
	struct bak_error why = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf json = BAK_BUF_INIT;
	struct bak_lease lease;
	(void)size;
	int found = get_lease(each, name, &json, &why);
	/* What does not open was not written by anybody who has the key. */
	if (found < 0 && why.code != BAK_CORRUPT) {
		*each->err = why;
		return -1;
	}
	if (found <= 0 || !lease_parse(&json, &lease))
		return 0;
	int result = each->fn(each->ctx, name, &lease);
	bak_lease_release(&lease);
	return result;
}

int bak_lease_each(struct bak_backend *backend, const struct bak_keyring *ring, bak_lease_fn *fn,
		   void *ctx, struct bak_error *err)
{
	struct each each = {backend, ring, fn, ctx, err};
	return bak_backend_list(backend, "running", each_lease, &each, err);
}

/* Also a zombie is gone: in containers often nobody collects them. So is a process of which
 * another one has the number now. Clocks are not asked: they are set while a lease lives. */
static bool is_gone(const struct bak_lease *lease)
{
	char state;
	int64_t start;

	if (kill((pid_t)lease->pid, 0) < 0 && errno == ESRCH)
		return true;
	if (!read_process(lease->pid, &state, &start))
		return false;
	return state == 'Z' || state == 'X' || (lease->pid_start && lease->pid_start != start);
}

bool bak_lease_dead(const struct bak_lease *lease, int64_t now)
{
	struct bak_lease self;
	struct bak_error ignored;
	if (now - lease->time > LEASE_LIFE)
		return true;
	if (bak_lease_self(&self, "", "", "", now, &ignored) < 0 || !self.boot[0] || !self.pid_ns)
		return false;
	if (strcmp(lease->boot, self.boot) != 0 || lease->pid_ns != self.pid_ns || lease->pid <= 0)
		return false;
	return is_gone(lease);
}
