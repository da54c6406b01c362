/* What /status says to people and /metrics to Prometheus: the same facts. */
#include "fs/fs.h"
#include "fs/jobs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Facts about the whole repository. */
struct facts {
	struct bak_index_counts counts;
	uint64_t free, total;
	struct bak_source_stats source;
	char *omissions; /* NULL when nothing is missing */
	char *jobs_dir;
	struct bak_catalog *cat;
};

static void facts_release(struct facts *f)
{
	free(f->omissions);
	free(f->jobs_dir);
	bak_catalog_unref(f->cat);
}

static int facts_get(struct bak_fs *fs, struct facts *f, struct bak_error *err)
{
	struct bak_backend *be = bak_repo_backend(fs->repo);
	f->free = UINT64_MAX;
	f->cat = bak_catalog_box_get(fs->catalog);
	bak_source_stats(fs->source, &f->source);
	if (bak_index_counts(bak_repo_index(fs->repo), &f->counts, err) < 0 ||
	    bak_jobs_dir(bak_repo_state_dir(fs->repo), &f->jobs_dir, err) < 0)
		return -1;
	/* A repository that is away for a moment has a status all the same. */
	struct bak_error ignored = BAK_ERROR_INIT;
	if (be->ops->space(be, &f->free, &f->total, &ignored) < 0)
		f->free = UINT64_MAX;
	if (bak_repo_omissions(fs->repo, &f->omissions, &ignored) < 0)
		f->omissions = NULL;
	return 0;
}

static const char *human_size(uint64_t n, char out[32])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)n;
	size_t unit = 0;
	for (; value >= 1024 && unit < 6; unit++)
		value /= 1024;
	snprintf(out, 32, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return out;
}

static const char *human_age(int64_t seconds, char out[32])
{
	if (seconds < 60)
		snprintf(out, 32, "just now");
	else if (seconds < 2 * 3600)
		snprintf(out, 32, "%lld min", (long long)seconds / 60);
	else if (seconds < 2 * 86400)
		snprintf(out, 32, "%lld h", (long long)seconds / 3600);
	else
		snprintf(out, 32, "%lld days", (long long)seconds / 86400);
	return out;
}

static int store_line(const struct facts *f, const char *name, struct bak_buf *out)
{
	const struct bak_cat_store *store = bak_catalog_store(f->cat, name, strlen(name));
	struct bak_job_info job;
	struct bak_error ignored = BAK_ERROR_INIT;
	char age[32], size[32];
	if (store && store->latest != BAK_CAT_NONE) {
		const struct bak_cat_snap *snap = &f->cat->snaps[store->latest];
		if (bak_buf_printf(out, "%-16s %-17s %-9s %-11s %9u", name, snap->name,
				   human_age(time(NULL) - snap->stamp, age),
				   human_size(snap->totals.bytes, size), store->n_snaps) < 0)
			return -1;
	} else if (bak_buf_printf(out, "%-16s %-17s %-9s %-11s %9u", name, "none", "-", "-",
				  store ? store->n_snaps : 0) < 0) {
		return -1;
	}
	if (bak_jobs_last(f->jobs_dir, name, &job, &ignored) > 0 &&
	    bak_buf_printf(out, "  %s%s%s", job.state, *job.error ? ": " : "", job.error) < 0)
		return -1;
	return bak_buf_append(out, "\n", 1);
}

static int omission_lines(struct bak_fs *fs, const struct facts *f, struct bak_buf *out)
{
	uint64_t damaged = atomic_load(&fs->damaged_reads);
	if (f->omissions && bak_buf_printf(out, "\nmissing: %s\n", f->omissions) < 0)
		return -1;
	if (damaged &&
	    bak_buf_printf(out,
			   "\ndamage: %llu %s of snapshots could not be read since this "
			   "mount began; the log names them, `bakfs check` says more\n",
			   (unsigned long long)damaged, damaged == 1 ? "piece" : "pieces") < 0)
		return -1;
	if (f->source.repaired &&
	    bak_buf_printf(out,
			   "\nrepaired: parity served %llu reads since this mount began; "
			   "`bakfs check --repair` stores what it gave back\n",
			   (unsigned long long)f->source.repaired) < 0)
		return -1;
	return 0;
}

static bool configured(const struct bak_mount_conf *conf, const char *store)
{
	for (size_t i = 0; i < conf->n_stores; i++)
		if (strcmp(conf->stores[i].name, store) == 0)
			return true;
	return false;
}

/* The stores that are configured, then those of which there are only snapshots. */
typedef int store_fn(const struct facts *f, const char *store, struct bak_buf *out);

static int each_store(struct bak_fs *fs, const struct facts *f, store_fn *fn, struct bak_buf *out)
{
	for (size_t i = 0; i < fs->conf->n_stores; i++)
		if (fn(f, fs->conf->stores[i].name, out) < 0)
			return -1;
	for (uint32_t i = 0; i < f->cat->n_stores; i++)
		if (!configured(fs->conf, f->cat->stores[i].name) &&
		    fn(f, f->cat->stores[i].name, out) < 0)
			return -1;
	return 0;
}

static int status_text(struct bak_fs *fs, const struct facts *f, struct bak_buf *out)
{
	char since[BAK_TIME_LEN + 1], used[32], room[32];
	bak_time_format(fs->mounted, since);
	human_size(f->counts.pack_bytes, used);
	if (f->free != UINT64_MAX)
		human_size(f->free, room);
	else
		snprintf(room, sizeof room, "unknown");
	if (bak_buf_printf(out,
			   "repository  %s\nsnapshots   %u\nused        %s\nfree        %s\n"
			   "mounted     %s%s\n\n%-16s %-17s %-9s %-11s %9s  %s\n",
			   bak_repo_path(fs->repo), f->cat->n_snaps, used, room, since,
			   fs->control ? "" : ", read-only", "store", "newest good", "age", "size",
			   "snapshots", "last restore") < 0)
		return -1;
	if (each_store(fs, f, store_line, out) < 0)
		return -1;
	return omission_lines(fs, f, out);
}

int bak_report_status(struct bak_fs *fs, struct bak_buf *out, struct bak_error *err)
{
	BAK_AUTO(facts_release) struct facts facts = {.cat = NULL};
	if (facts_get(fs, &facts, err) < 0)
		return -1;
	return status_text(fs, &facts, out) < 0 ? bak_error_nomem(err) : 0;
}

static int metric(struct bak_buf *out, const char *name, const char *type, const char *help,
		  uint64_t value)
{
	return bak_buf_printf(out, "# HELP bakfs_%s %s\n# TYPE bakfs_%s %s\nbakfs_%s %llu\n", name,
			      help, name, type, name, (unsigned long long)value);
}

/* One metric of a store; newest is NULL without a good snapshot, then there is no line. */
struct store_metric {
	const char *name, *help;
	uint64_t (*value)(const struct bak_cat_snap *newest, const struct bak_cat_store *store);
};

static uint64_t newest_time(const struct bak_cat_snap *newest, const struct bak_cat_store *store)
{
	(void)store;
	return (uint64_t)newest->stamp;
}

static uint64_t newest_bytes(const struct bak_cat_snap *newest, const struct bak_cat_store *store)
{
	(void)store;
	return newest->totals.bytes;
}

static uint64_t newest_files(const struct bak_cat_snap *newest, const struct bak_cat_store *store)
{
	(void)store;
	return newest->totals.files;
}

static uint64_t newest_added(const struct bak_cat_snap *newest, const struct bak_cat_store *store)
{
	(void)store;
	return newest->added;
}

static uint64_t n_snapshots(const struct bak_cat_snap *newest, const struct bak_cat_store *store)
{
	(void)newest;
	return store->n_snaps;
}

static const struct store_metric store_metrics[] = {
	{"store_last_backup_timestamp_seconds", "time of the newest good snapshot", newest_time},
	{"store_last_backup_bytes", "bytes of files in the newest good snapshot", newest_bytes},
	{"store_last_backup_files", "regular files in the newest good snapshot", newest_files},
	{"store_last_backup_added_bytes", "what it added to the repository", newest_added},
	{"store_snapshots", "snapshots of the store", n_snapshots},
};

static int each_store_metric(const struct facts *f, const struct store_metric *m,
			     struct bak_buf *out)
{
	if (bak_buf_printf(out, "# HELP bakfs_%s %s\n# TYPE bakfs_%s gauge\n", m->name, m->help,
			   m->name) < 0)
		return -1;
	for (uint32_t i = 0; i < f->cat->n_stores; i++) {
		const struct bak_cat_store *store = &f->cat->stores[i];
		const struct bak_cat_snap *newest = store->latest == BAK_CAT_NONE
							    ? NULL
							    : &f->cat->snaps[store->latest];
		if (!newest && m->value != n_snapshots)
			continue;
		if (bak_buf_printf(out, "bakfs_%s{store=\"%s\"} %llu\n", m->name, store->name,
				   (unsigned long long)m->value(newest, store)) < 0)
			return -1;
	}
	return 0;
}

static int job_metric(const struct facts *f, const char *store, struct bak_buf *out)
{
	struct bak_job_info job;
	struct bak_error ignored = BAK_ERROR_INIT;
	if (bak_jobs_last(f->jobs_dir, store, &job, &ignored) <= 0)
		return 0;
	return bak_buf_printf(out, "bakfs_store_last_restore_failed{store=\"%s\"} %d\n", store,
			      strcmp(job.state, "failed") == 0);
}

static int metrics_text(struct bak_fs *fs, const struct facts *f, struct bak_buf *out)
{
	if (metric(out, "repository_bytes", "gauge", "bytes of packs", f->counts.pack_bytes) < 0 ||
	    metric(out, "repository_packs", "gauge", "packs", f->counts.packs) < 0 ||
	    metric(out, "repository_snapshots", "gauge", "snapshots shown", f->cat->n_snaps) < 0 ||
	    metric(out, "repository_omissions", "gauge", "1 when snapshots are missing",
		   f->omissions != NULL) < 0 ||
	    metric(out, "damaged_reads_total", "counter",
		   "different failures to read since the mount began",
		   atomic_load(&fs->damaged_reads)) < 0 ||
	    metric(out, "healed_reads_total", "counter", "reads that a second copy served",
		   f->source.healed) < 0 ||
	    metric(out, "repaired_reads_total", "counter", "reads that parity served",
		   f->source.repaired) < 0 ||
	    metric(out, "cache_bytes", "gauge", "decoded bytes kept", f->source.bytes) < 0 ||
	    metric(out, "prefetched_bytes_total", "counter", "bytes decoded ahead of a reader",
		   bak_prefetch_bytes(fs->prefetch)) < 0 ||
	    metric(out, "pushed_files_total", "counter",
		   "small files given to the kernel before it asked", bak_push_files(fs->push)) < 0)
		return -1;
	if (f->free != UINT64_MAX && metric(out, "repository_free_bytes", "gauge",
					    "room on the repository's disk", f->free) < 0)
		return -1;
	for (size_t i = 0; i < sizeof store_metrics / sizeof *store_metrics; i++)
		if (each_store_metric(f, &store_metrics[i], out) < 0)
			return -1;
	if (bak_buf_printf(out, "# HELP bakfs_store_last_restore_failed 1 when the last restore "
				"job failed\n# TYPE bakfs_store_last_restore_failed gauge\n") < 0)
		return -1;
	return each_store(fs, f, job_metric, out);
}

int bak_report_metrics(struct bak_fs *fs, struct bak_buf *out, struct bak_error *err)
{
	BAK_AUTO(facts_release) struct facts facts = {.cat = NULL};
	if (facts_get(fs, &facts, err) < 0)
		return -1;
	return metrics_text(fs, &facts, out) < 0 ? bak_error_nomem(err) : 0;
}
