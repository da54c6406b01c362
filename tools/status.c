/*
 * bakfs status: the stores with their last good snapshots, what runs now, and the latest jobs.
 */
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/snapshots.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* As many jobs as fit on a screen. */
#define JOBS_SHOWN 10

struct store {
	char name[BAK_STORE_NAME_MAX + 1];
	char driver[32];
	bool configured;
	uint64_t n;
	struct bak_snapshot_row last; /* newest that counts; number 0: none */
};

struct status {
	struct bak_tool *tool;
	int64_t now;
	size_t n_stores;
	struct store *stores;
	json_t *running, *jobs; /* arrays */
};

/* ---- gathering ---- */

static struct store *store_of(struct status *status, const char *name, const char *driver)
{
	struct store *stores;
	size_t i;

	for (i = 0; i < status->n_stores; i++) {
		if (!strcmp(status->stores[i].name, name))
			return &status->stores[i];
	}
	stores = realloc(status->stores, (status->n_stores + 1) * sizeof(*stores));
	if (!stores)
		return NULL;
	status->stores = stores;
	stores += status->n_stores++;
	*stores = (struct store){.n = 0};
	snprintf(stores->name, sizeof(stores->name), "%s", name);
	snprintf(stores->driver, sizeof(stores->driver), "%s", driver);
	return stores;
}

static char *copy(const char *text)
{
	return strdup(text ? text : "");
}

static int add_snapshot(void *ctx, const struct bak_snapshot_row *row)
{
	struct status *status = ctx;
	struct store *store = store_of(status, row->store, row->driver);

	if (!store)
		return -1;
	store->n++;
	if (!bak_type_counts_as_latest(row->type))
		return 0;
	bak_snapshot_row_release(&store->last);
	store->last = *row;
	store->last.store = copy(row->store);
	store->last.type = copy(row->type);
	store->last.host = copy(row->host);
	store->last.run = copy(row->run);
	store->last.description = copy(row->description);
	store->last.driver = copy(row->driver);
	store->last.tags = copy(row->tags);
	return 0;
}

static int add_lease(void *ctx, const char *name, const struct bak_lease *lease)
{
	struct status *status = ctx;
	char start[BAK_TIME_LEN + 1];
	json_t *stores;
	size_t i;

	(void)name;
	if (bak_lease_dead(lease, status->now))
		return 0;
	stores = json_array();
	for (i = 0; i < lease->n_stores; i++)
		json_array_append_new(stores, json_string(lease->stores[i]));
	bak_time_format(lease->start, start);
	return json_array_append_new(status->running,
				     json_pack("{s:s, s:s, s:s, s:I, s:o}", "kind", lease->kind,
					       "since", start, "host", lease->host, "pid",
					       (json_int_t)lease->pid, "stores", stores));
}

/* Names end with a time in nanoseconds: "app-1795274853018223970.json". */
#define JOB_TIME_DIGITS 19
#define JOB_SUFFIX ".json"
#define JOB_TAIL (JOB_TIME_DIGITS + sizeof(JOB_SUFFIX) - 1)

static int is_job(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);
	const char *tail = entry->d_name + (len > JOB_TAIL ? len - JOB_TAIL : 0);

	return len > JOB_TAIL + 1 && tail[-1] == '-' &&
	       strspn(tail, "0123456789") == JOB_TIME_DIGITS &&
	       !strcmp(tail + JOB_TIME_DIGITS, JOB_SUFFIX);
}

/* Newest first. Both are jobs' names. */
static int newer(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*b)->d_name + strlen((*b)->d_name) - JOB_TAIL,
		      (*a)->d_name + strlen((*a)->d_name) - JOB_TAIL);
}

static bool is_over(const char *state)
{
	return !strcmp(state, "done") || !strcmp(state, "failed") || !strcmp(state, "cancelled");
}

/* A job whose process is gone says for ever what it did last. */
static void settle_dead(json_t *job)
{
	const char *state = json_string_value(json_object_get(job, "state"));
	json_int_t pid = json_integer_value(json_object_get(job, "pid"));
	char why[192];

	if (!state || is_over(state) || pid <= 0 || kill((pid_t)pid, 0) == 0 || errno != ESRCH)
		return;
	/* As fs/jobs.c says it in a mount. */
	snprintf(why, sizeof(why), "the job's process ended while it was %s: %s", state,
		 json_is_true(json_object_get(job, "cancellable"))
			 ? "nothing was changed"
			 : "look at the store, then roll back or restore again");
	json_object_set_new(job, "error", json_string(why));
	json_object_set_new(job, "state", json_string("failed"));
}

/* A job that cannot be read is one that another process is about to replace or remove. */
static int gather_jobs(struct status *status, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *folder = NULL;
	struct dirent **names;
	int n, i;

	if (asprintf(&folder, "%s/jobs", bak_repo_state_dir(status->tool->repo)) < 0)
		return bak_error_nomem(err);
	n = scandir(folder, &names, is_job, newer);
	if (n < 0)
		return errno == ENOENT ? 0 : bak_error_sys(err, errno, "%s", folder);
	for (i = 0; i < n; i++) {
		BAK_AUTO(bak_free_ptr) char *path = NULL;
		json_t *job = NULL;

		if (i < JOBS_SHOWN && asprintf(&path, "%s/%s", folder, names[i]->d_name) >= 0)
			job = json_load_file(path, 0, NULL);
		if (job)
			settle_dead(job);
		if (job)
			json_array_append_new(status->jobs, job);
		free(names[i]);
	}
	free(names);
	return 0;
}

static int gather(struct status *status, struct bak_error *err)
{
	struct bak_tool *tool = status->tool;
	size_t i;

	for (i = 0; i < tool->config.n_stores; i++) {
		const struct bak_store_conf *conf = &tool->config.stores[i].conf;
		struct store *store = store_of(status, conf->name, conf->driver);

		if (!store)
			return bak_error_nomem(err);
		store->configured = true;
	}
	if (bak_index_each_snapshot(bak_repo_index(tool->repo), NULL, add_snapshot, status, err) <
	    0)
		return err->code ? -1 : bak_error_nomem(err);
	if (bak_lease_each(bak_repo_backend(tool->repo), bak_repo_ring(tool->repo), add_lease,
			   status, err) < 0)
		return err->code ? -1 : bak_error_nomem(err);
	return gather_jobs(status, err);
}

/* ---- printing ---- */

static uint64_t age_of(const struct status *status, int64_t stamp)
{
	return status->now > stamp ? (uint64_t)(status->now - stamp) : 0;
}

static int print_stores(const struct status *status)
{
	static const char *const heads[] = {"STORE", "TYPE",   ">SNAPSHOTS", "LAST GOOD",
					    ">AGE",  ">FILES", ">SIZE",      ""};
	struct bak_table *table = bak_table_new(heads, sizeof(heads) / sizeof(heads[0]));
	size_t i;

	for (i = 0; table && i < status->n_stores; i++) {
		const struct store *store = &status->stores[i];
		const struct bak_snapshot_row *last = &store->last;
		char n[24], stamp[BAK_STAMP_LEN + 1] = "never", age[BAK_SPAN_TEXT] = "",
						  files[24] = "", size[BAK_SIZE_TEXT] = "";

		snprintf(n, sizeof(n), "%" PRIu64, store->n);
		if (last->number) {
			bak_stamp_format(last->stamp, stamp);
			bak_span_text(age_of(status, last->stamp), age);
			snprintf(files, sizeof(files), "%" PRIu64, last->files);
			bak_size_text(last->bytes, size);
		}
		if (bak_table_row(table,
				  (const char *const[]){
					  store->name, store->driver, n, stamp, age, files, size,
					  store->configured ? "" : "not configured"}) < 0)
			return -1;
	}
	if (table)
		bak_table_print(table);
	return table ? 0 : -1;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static void print_running(const struct status *status)
{
	const json_t *entry, *store;
	size_t i, s;

	json_array_foreach(status->running, i, entry)
	{
		printf("running   %s of", text_of(entry, "kind"));
		json_array_foreach(json_object_get(entry, "stores"), s, store)
			printf(" %s", json_string_value(store));
		printf(" on %s, pid %" JSON_INTEGER_FORMAT ", since %s\n", text_of(entry, "host"),
		       json_integer_value(json_object_get(entry, "pid")), text_of(entry, "since"));
	}
}

/* " 40%, 1.2 GB, 80 MB/s": as far as it is known. */
static void moved_text(const json_t *job, char *out, size_t len)
{
	json_int_t percent = json_integer_value(json_object_get(job, "percent"));
	json_int_t bytes = json_integer_value(json_object_get(job, "bytes"));
	json_int_t rate = json_integer_value(json_object_get(job, "rate"));
	char size[BAK_SIZE_TEXT], speed[BAK_SIZE_TEXT], part[8] = "";

	if (percent >= 0)
		snprintf(part, sizeof(part), " %d%%,", (int)percent);
	if (bytes > 0)
		snprintf(out, len, "%s %s, %s/s", part, bak_size_text((uint64_t)bytes, size),
			 bak_size_text((uint64_t)rate, speed));
}

static void print_jobs(const struct status *status)
{
	const json_t *job;
	size_t i;

	json_array_foreach(status->jobs, i, job)
	{
		const char *error = text_of(job, "error");
		BAK_AUTO(bak_free_ptr)
		char *source = bak_name_text(text_of(job, "source"),
					     strlen(text_of(job, "source")));

		char moved[64] = "";

		if (!is_over(text_of(job, "state")))
			moved_text(job, moved, sizeof(moved));
		printf("job       %s  %s  %s%s%s%s%s%s\n", text_of(job, "created"),
		       text_of(job, "store"), text_of(job, "state"), moved,
		       *text_of(job, "source") ? "  from " : "",
		       source && *text_of(job, "source") ? source : "", *error ? ": " : "", error);
	}
}

static void print_text(struct status *status, const struct bak_index_counts *counts)
{
	struct bak_repo *repo = status->tool->repo;
	char bytes[BAK_SIZE_TEXT];

	printf("repository  %s (%s)\n", bak_repo_path(repo), bak_repo_id_hex(repo));
	printf("holds       %" PRIu64 " snapshot%s in %" PRIu64 " pack%s, %s\n\n",
	       counts->snapshots, bak_plural(counts->snapshots), counts->packs,
	       bak_plural(counts->packs), bak_size_text(counts->pack_bytes, bytes));
	print_stores(status);
	if (json_array_size(status->running) || json_array_size(status->jobs))
		putchar('\n');
	print_running(status);
	print_jobs(status);
}

static json_t *store_json(const struct status *status, const struct store *store)
{
	json_t *json = json_pack("{s:s, s:s, s:b, s:I}", "name", store->name, "driver",
				 store->driver, "configured", store->configured, "snapshots",
				 (json_int_t)store->n);

	if (store->last.number) {
		json_object_set_new(json, "latest", bak_row_json(&store->last));
		json_object_set_new(json, "age_seconds",
				    json_integer((json_int_t)age_of(status, store->last.stamp)));
	} else {
		json_object_set_new(json, "latest", json_null());
	}
	return json;
}

static json_t *status_json(struct status *status, const struct bak_index_counts *counts)
{
	struct bak_repo *repo = status->tool->repo;
	json_t *about = json_pack("{s:s, s:I, s:I, s:I}", "id", bak_repo_id_hex(repo), "snapshots",
				  (json_int_t)counts->snapshots, "packs", (json_int_t)counts->packs,
				  "pack_bytes", (json_int_t)counts->pack_bytes);
	json_t *stores = json_array();
	size_t i;

	bak_json_set_name(about, "path", bak_repo_path(repo), strlen(bak_repo_path(repo)));
	for (i = 0; i < status->n_stores; i++)
		json_array_append_new(stores, store_json(status, &status->stores[i]));
	return json_pack("{s:o, s:o, s:O, s:O}", "repository", about, "stores", stores, "running",
			 status->running, "jobs", status->jobs);
}

static int tell(struct status *status, struct bak_error *err)
{
	struct bak_tool *tool = status->tool;
	struct bak_index_counts counts;

	if (bak_tool_open(tool, err) < 0 || bak_tell_omissions(tool, err) < 0 ||
	    bak_index_counts(bak_repo_index(tool->repo), &counts, err) < 0 ||
	    gather(status, err) < 0)
		return -1;
	if (tool->json)
		return bak_tool_json(tool, status_json(status, &counts));
	print_text(status, &counts);
	return bak_tool_done(tool);
}

int bak_command_status(struct bak_tool *tool)
{
	struct status status = {
		.tool = tool,
		.now = time(NULL),
		.running = json_array(),
		.jobs = json_array(),
	};
	struct bak_error err = BAK_ERROR_INIT;
	int rc;
	size_t i;

	if (tool->args.n_words)
		rc = bak_tool_usage(tool, "status takes no argument");
	else
		rc = tell(&status, &err);
	for (i = 0; i < status.n_stores; i++)
		bak_snapshot_row_release(&status.stores[i].last);
	free(status.stores);
	json_decref(status.running);
	json_decref(status.jobs);
	return rc < 0 ? bak_tool_fail(tool, &err) : rc;
}
