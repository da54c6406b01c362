/* One store's backup within a run, up to its commit: see backup.h. */
#include "engine/ops/backup.h"

#include "engine/ops/forget.h"
#include "engine/ops/settle.h"

#include <stdio.h>
#include <stdlib.h>

struct bak_backup {
	struct bak_run *run;
	char *store, *driver;
	struct bak_snapshot previous;
	bool has_previous;
	struct bak_writer *writer;
	struct bak_writer_result result;
	int64_t start, stamp;
	unsigned lapses; /* of the lease, when what is there was looked at */
};

/* --- predecessor --- */

struct newest {
	uint64_t good, any; /* numbers: newest that counts as latest, newest of all */
	char host[256];     /* of the newest of all */
};

static int look_at_row(void *ctx, const struct bak_snapshot_row *row)
{
	struct newest *n = ctx;
	n->any = row->number;
	snprintf(n->host, sizeof n->host, "%s", row->host);
	if (bak_type_counts_as_latest(row->type))
		n->good = row->number;
	return 0;
}

/* Loads the newest good snapshot of the store, else the newest. One that cannot be read is done
 * without: everything is then read and stored where it is not known. */
static int find_previous(struct bak_backup *b, bool take_over, struct bak_error *err)
{
	struct bak_repo *repo = b->run->repo;
	struct newest n = {0};
	struct bak_error scratch = BAK_ERROR_INIT;
	if (bak_index_each_snapshot(bak_repo_index(repo), b->store, look_at_row, &n, err) < 0)
		return -1;
	if (n.any && !take_over && strcmp(n.host, bak_repo_host(repo)) != 0)
		return bak_error_set(err, BAK_REFUSED,
				     "store %s belongs to host %s so far, and this is %s: choose "
				     "another name, or --take-over",
				     b->store, n.host, bak_repo_host(repo));
	if (n.any && bak_repo_snapshot(repo, n.good ? n.good : n.any, &b->previous, &scratch) == 1)
		b->has_previous = true;
	return 0;
}

static int new_writer(struct bak_backup *b, const struct bak_backup_conf *conf,
		      struct bak_error *err)
{
	struct bak_repo *repo = b->run->repo;
	struct bak_writer_conf writer = {
		.backend = bak_repo_backend(repo),
		.ring = bak_repo_ring(repo),
		.index = bak_repo_index(repo),
		.source = bak_repo_source(repo),
		.chunk = *bak_repo_chunk_conf(repo),
		.run_start = b->run->start,
		.level = conf->level ? conf->level : 3,
		.workers = conf->workers,
		.memory = (size_t)(bak_repo_memory(repo) / BAK_MEMORY_SHARES),
		.parity = bak_repo_parity(repo),
		.no_alike = conf->no_alike,
		.no_dedup = conf->no_dedup,
		.previous = b->has_previous ? &b->previous : NULL,
		.lost = bak_repo_lost(repo),
		.scan_start_s = b->start,
		.progress = conf->progress,
		.progress_ctx = conf->progress_ctx};
	memcpy(writer.run, b->run->bytes, sizeof writer.run);
	return bak_writer_new(&writer, &b->writer, err);
}

/* A run of many stores may be long: if the lease has lapsed, what was listed is old. */
static int look_again(struct bak_backup *b, struct bak_error *err)
{
	unsigned before = b->run->lapses;
	if (bak_hold_check(b->run->hold, &b->run->lapses, err) < 0)
		return -1;
	b->lapses = b->run->lapses;
	return b->lapses != before ? bak_run_look(b->run, err) : 0;
}

int bak_backup_begin(struct bak_run *run, const struct bak_backup_conf *conf,
		     struct bak_backup **out_backup, struct bak_error *err)
{
	struct bak_backup *b = calloc(1, sizeof *b);
	if (!b)
		return bak_error_nomem(err);
	b->run = run;
	b->start = bak_repo_now(run->repo);
	b->store = strdup(conf->store);
	b->driver = strdup(conf->driver);
	if (!b->store || !b->driver) {
		bak_error_nomem(err);
		goto fail;
	}
	if (!bak_store_name_ok(conf->store)) {
		bak_error_set(err, BAK_USAGE, "a store's name is 1 to 64 letters, digits, _ or -");
		goto fail;
	}
	if (look_again(b, err) < 0 || find_previous(b, conf->take_over, err) < 0 ||
	    new_writer(b, conf, err) < 0)
		goto fail;
	*out_backup = b;
	return 0;
fail:
	bak_backup_free(b);
	return -1;
}

void bak_backup_free(struct bak_backup *b)
{
	if (!b)
		return;
	bak_writer_free(b->writer);
	if (b->has_previous)
		bak_snapshot_release(&b->previous);
	free(b->store);
	free(b->driver);
	free(b);
}

struct bak_writer *bak_backup_writer(struct bak_backup *b)
{
	return b->writer;
}

const struct bak_writer_result *bak_backup_result(const struct bak_backup *b)
{
	return &b->result;
}

int64_t bak_backup_stamp(const struct bak_backup *b)
{
	return b->stamp;
}

/* --- stamps --- */

struct taken {
	const struct bak_backup *b;
	int64_t stamp; /* wanted; set to 0 by a row that has it */
	bool of_runs;  /* look at the stamps of other runs, not of this store */
};

static int row_takes(void *ctx, const struct bak_snapshot_row *row)
{
	struct taken *t = ctx;
	if (t->of_runs ? row->run_stamp == t->stamp && strcmp(row->run, t->b->run->id) != 0
		       : row->stamp == t->stamp)
		t->stamp = 0;
	return 0;
}

/* The first free second from now on: stamps are names. */
static int free_stamp(const struct bak_backup *b, bool of_runs, int64_t from, int64_t *out,
		      struct bak_error *err)
{
	for (*out = from;; ++*out) {
		struct taken t = {b, *out, of_runs};
		if (bak_index_each_snapshot(bak_repo_index(b->run->repo), of_runs ? NULL : b->store,
					    row_takes, &t, err) < 0)
			return -1;
		if (t.stamp)
			return 0;
	}
}

/* --- commit --- */

static json_t *string_list(char *const *v, size_t n)
{
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_string(v[i]));
	return list;
}

static char *manifest_text(const struct bak_backup *b, json_t *facts, json_t *warnings)
{
	const struct bak_run *run = b->run;
	const struct bak_totals *totals = &b->result.root.totals;
	char stamp[BAK_STAMP_LEN + 1], run_stamp[BAK_STAMP_LEN + 1];
	char start[BAK_TIME_LEN + 1], end[BAK_TIME_LEN + 1];
	json_t *none = json_array();
	bak_stamp_format(b->stamp, stamp);
	bak_stamp_format(run->stamp, run_stamp);
	bak_time_format(b->start, start);
	bak_time_format(bak_repo_now(run->repo), end);
	json_t *json = json_pack(
		"{s:i, s:s, s:s, s:s, s:s, s:{s:s, s:s}, s:{s:s, s:s, s:s, s:s, s:o},"
		" s:{s:I, s:I, s:I, s:I}, s:I, s:O, s:O}",
		"bakfs", 1, "store", b->store, "driver", b->driver, "host",
		bak_repo_host(run->repo), "stamp", stamp, "time", "start", start, "end", end, "run",
		"id", run->id, "stamp", run_stamp, "type", run->type, "description",
		run->description, "stores", string_list(run->stores, run->n_stores), "totals",
		"entries", (json_int_t)totals->entries, "files", (json_int_t)totals->files, "bytes",
		(json_int_t)(totals->bytes + b->result.link_bytes), "links",
		(json_int_t)b->result.links, "added", (json_int_t)b->result.added, "data", facts,
		"warnings", warnings ? warnings : none);
	char *text = json ? json_dumps(json, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
	json_decref(json);
	json_decref(none);
	return text;
}

/* Borrows all strings from b; manifest is the caller's. */
static void describe(const struct bak_backup *b, char *manifest, struct bak_snapshot *out)
{
	struct bak_run *run = b->run;
	*out = (struct bak_snapshot){.store = b->store,
				     .driver = b->driver,
				     .host = (char *)bak_repo_host(run->repo),
				     .run = run->id,
				     .type = run->type,
				     .description = run->description,
				     .stamp = b->stamp,
				     .run_stamp = run->stamp,
				     .added = b->result.added,
				     .stores = run->stores,
				     .n_stores = run->n_stores,
				     .root = b->result.root,
				     .links = b->result.links,
				     .link_bytes = b->result.link_bytes,
				     .next_link = b->result.next_link,
				     .link_table = b->result.link_table,
				     .manifest = manifest,
				     .manifest_len = strlen(manifest)};
}

/* One try with the number behind the highest. 1 committed, 0 the number was taken, -1. */
static int try_commit(struct bak_backup *b, struct bak_snapshot *snapshot, uint64_t *out_number,
		      struct bak_error *err)
{
	struct bak_repo *repo = b->run->repo;
	BAK_AUTO(bak_buf_release) struct bak_buf payload = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf sealed = BAK_BUF_INIT;
	char name[40];
	bool changed;
	if (bak_repo_next_number(repo, &snapshot->number, err) < 0)
		return -1;
	snprintf(name, sizeof name, "snapshots/%llu", (unsigned long long)snapshot->number);
	if (bak_snapshot_encode(snapshot, &payload, err) < 0 ||
	    bak_object_seal(bak_repo_ring(repo), name, payload.p, payload.len, &sealed, err) < 0)
		return -1;
	int rc = bak_backend_put(bak_repo_backend(repo), b->run->id, name, sealed.p, sealed.len,
				 err);
	if (rc <= 0)
		return rc;
	*out_number = snapshot->number;
	/* It is there, and nothing that fails from here on changes that; but a record of the number
	 * that turned up meanwhile makes it no snapshot. */
	struct bak_snapshot_row row = {0};
	struct bak_error scratch = BAK_ERROR_INIT;
	bool forgotten = bak_repo_refresh_snapshots(repo, &changed, &scratch) == 0 &&
			 bak_index_snapshot(bak_repo_index(repo), snapshot->number, &row,
					    &scratch) == 1 &&
			 row.forgotten;
	bak_snapshot_row_release(&row);
	return !forgotten;
}

/* Condemnations are listed again, and what lies in those packs alone is copied. all: also what the
 * predecessor's tree refers to; a lapse of the lease demands it too. */
static int settle(struct bak_backup *b, bool all, struct bak_error *err)
{
	struct bak_run *run = b->run;
	struct bak_snapshot snapshot = {.root = b->result.root, .link_table = b->result.link_table};
	uint64_t added = 0;
	unsigned lapses;
	bool changed;
	if (bak_hold_check(run->hold, &lapses, err) < 0 ||
	    bak_repo_refresh_packs(run->repo, &changed, err) < 0)
		return -1;
	int rc = all || lapses != b->lapses
			 ? bak_settle_all(run, &snapshot, &added, err)
			 : bak_settle_found(run, bak_usable_segments(bak_writer_usable(b->writer)),
					    &added, err);
	b->result.added += added;
	b->lapses = lapses;
	return rc;
}

/* A machine that slept through its own commit may have put a snapshot of what is gone. */
static int settle_after(struct bak_backup *b, uint64_t number, struct bak_error *err)
{
	struct bak_error why;
	if (bak_hold_age(b->run->hold) < BAK_LEASE_S / 2 || settle(b, true, err) == 0)
		return 0;
	why = *err;
	if (why.code == BAK_NOT_FOUND && bak_repo_forget(b->run->repo, number, number, err) < 0)
		return -1;
	*err = why;
	return why.code == BAK_NOT_FOUND ? bak_error_wrap(err, "snapshot %llu was forgotten again",
							  (unsigned long long)number)
					 : -1;
}

int bak_backup_commit(struct bak_backup *b, json_t *facts, json_t *warnings, uint64_t *out_number,
		      struct bak_error *err)
{
	bool changed;
	if (bak_writer_finish(b->writer, &b->result, err) < 0 || settle(b, false, err) < 0)
		return -1;
	int rc = 0;
	while (rc == 0) {
		struct bak_snapshot snapshot;
		if (bak_repo_refresh_snapshots(b->run->repo, &changed, err) < 0 ||
		    free_stamp(b, false, b->stamp ? b->stamp : b->start, &b->stamp, err) < 0)
			return -1;
		if (!b->run->stamp && free_stamp(b, true, b->run->start, &b->run->stamp, err) < 0)
			return -1;
		char *manifest = manifest_text(b, facts, warnings);
		if (!manifest)
			return bak_error_nomem(err);
		describe(b, manifest, &snapshot);
		rc = try_commit(b, &snapshot, out_number, err);
		free(manifest);
	}
	return rc < 0 ? -1 : settle_after(b, *out_number, err);
}
