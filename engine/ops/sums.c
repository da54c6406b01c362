/* Checksum files, and the JSON of runs: see sums.h. */
#include "engine/ops/sums.h"

#include <jansson.h>
#include <stdlib.h>

uint64_t bak_sums_len(const struct bak_totals *totals, size_t prefix_len)
{
	return totals->sums_len + totals->files * prefix_len;
}

/* The range that is wanted of the text; what comes before it is passed over by its length, which
 * the totals tell without opening what lies below. */
struct sums {
	const struct bak_tree *tree;
	const char *prefix;
	size_t prefix_len;
	struct bak_buf path; /* escaped, with a '/' behind each folder */
	bool escaped;        /* something in path needed it */
	struct bak_buf line;
	uint64_t skip; /* bytes still to pass over */
	size_t room;   /* bytes still wanted */
	struct bak_buf *out;
};

static int append_escaped(struct bak_buf *out, const char *name, size_t len, bool *out_escaped)
{
	for (size_t i = 0; i < len; i++) {
		const char *as = name[i] == '\\'   ? "\\\\"
				 : name[i] == '\n' ? "\\n"
				 : name[i] == '\r' ? "\\r"
						   : NULL;
		*out_escaped |= as != NULL;
		if (bak_buf_append(out, as ? as : &name[i], as ? 2 : 1) < 0)
			return -1;
	}
	return 0;
}

static bool pass_over(struct sums *s, uint64_t len)
{
	if (s->skip < len)
		return false;
	s->skip -= len;
	return true;
}

/* Of all lines below something, as they come out under the path so far. */
static uint64_t lines_len(const struct sums *s, const struct bak_totals *totals)
{
	return totals->sums_len + totals->files * (s->prefix_len + s->path.len) +
	       (s->escaped ? totals->files - totals->escaped : 0);
}

static int make_line(struct sums *s, const struct bak_entry *entry, const struct bak_inode *inode)
{
	static const char empty[] =
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
	char hex[65];
	bool escaped = s->escaped;
	size_t len = s->path.len;
	s->line.len = 0;
	bak_hex(hex, inode->sha256, 32);
	int bad = append_escaped(&s->path, entry->name, entry->name_len, &escaped) < 0 ||
		  (escaped && bak_buf_append(&s->line, "\\", 1) < 0) ||
		  bak_buf_append(&s->line, inode->size ? hex : empty, 64) < 0 ||
		  bak_buf_append(&s->line, "  ", 2) < 0 ||
		  bak_buf_append(&s->line, s->prefix, s->prefix_len) < 0 ||
		  bak_buf_append(&s->line, s->path.p, s->path.len) < 0 ||
		  bak_buf_append(&s->line, "\n", 1) < 0;
	s->path.len = len;
	return bad ? -1 : 0;
}

static int sum_file(struct sums *s, const struct bak_entry *entry, struct bak_error *err)
{
	BAK_AUTO(bak_found_release) struct bak_found link = BAK_FOUND_INIT;
	const struct bak_inode *inode = &entry->inode;
	if (entry->linked) {
		int rc = bak_tree_link(s->tree, entry->link, &link, err);
		if (rc == 0)
			bak_error_set(err, BAK_CORRUPT, "link %llu is not in the link table",
				      (unsigned long long)entry->link);
		if (rc <= 0)
			return -1;
		inode = &link.entry.inode;
	}
	if (inode->flags & BAK_INODE_NOSUM)
		return 0;
	if (make_line(s, entry, inode) < 0)
		return bak_error_nomem(err);
	if (pass_over(s, s->line.len))
		return 0;
	size_t len = s->line.len - (size_t)s->skip;
	if (len > s->room)
		len = s->room;
	if (bak_buf_append(s->out, s->line.p + s->skip, len) < 0)
		return bak_error_nomem(err);
	s->skip = 0;
	s->room -= len;
	return 0;
}

static int sum_folder(struct sums *s, const struct bak_ref *dir, struct bak_error *err);

static int sum_entry(struct sums *s, const struct bak_entry *entry, struct bak_error *err)
{
	if (entry->inode.type == BAK_TYPE_FILE)
		return sum_file(s, entry, err);
	if (entry->inode.type != BAK_TYPE_DIR || entry->inode.totals.files == 0)
		return 0;
	size_t len = s->path.len;
	bool escaped = s->escaped;
	if (append_escaped(&s->path, entry->name, entry->name_len, &s->escaped) < 0 ||
	    bak_buf_append(&s->path, "/", 1) < 0)
		return bak_error_nomem(err);
	int rc = 0;
	if (!pass_over(s, lines_len(s, &entry->inode.totals)))
		rc = sum_folder(s, &entry->inode.dir, err);
	s->path.len = len;
	s->escaped = escaped;
	return rc;
}

static int sum_folder(struct sums *s, const struct bak_ref *dir, struct bak_error *err)
{
	BAK_AUTO(bak_pin_put_ptr) struct bak_pin *pin = NULL;
	const struct bak_page *page;
	const struct bak_names *names;
	if (dir->len == 0)
		return 0;
	if (bak_source_folder(s->tree->source, dir, &page, &names, &pin, err) < 0)
		return -1;
	int rc = 0;
	for (size_t i = 0; page && i < page->n && s->room && rc == 0; i++)
		rc = sum_entry(s, &page->entries[i], err);
	for (size_t i = 0; names && i < names->n && s->room && rc == 0; i++)
		if (!pass_over(s, lines_len(s, &names->lines[i].totals)))
			rc = sum_folder(s, &names->lines[i].ref, err);
	return rc;
}

int bak_sums_range(const struct bak_tree *tree, const char *prefix, uint64_t off, size_t len,
		   struct bak_buf *out, struct bak_error *err)
{
	struct sums s = {.tree = tree,
			 .prefix = prefix,
			 .prefix_len = strlen(prefix),
			 .skip = off,
			 .room = len,
			 .out = out};
	int rc = sum_folder(&s, &tree->snapshot->root.dir, err);
	bak_buf_release(&s.path);
	bak_buf_release(&s.line);
	return rc;
}

int bak_sums_text(const struct bak_tree *tree, const char *prefix, struct bak_buf *out,
		  struct bak_error *err)
{
	return bak_sums_range(tree, prefix, 0, SIZE_MAX, out, err);
}

/* --- the manifest of a run --- */

struct run {
	const char *id;
	json_t *stores;
	uint64_t first; /* number of its first snapshot, 0 none */
	json_int_t files, bytes, added;
	char *type, *description;
	int64_t stamp;
	int64_t first_ms, last_ms; /* of the moments that its snapshots are of */
};

/* --- which moment a snapshot is of --- */

/* "2026-11-21T14:02:12Z", or with digits of a second before the Z. */
static bool parse_instant(const char *text, int64_t *out_ms)
{
	char whole[BAK_TIME_LEN + 1];
	size_t len = text ? strlen(text) : 0;
	int64_t seconds, ms = 0;

	if (len < BAK_TIME_LEN || text[len - 1] != 'Z')
		return false;
	memcpy(whole, text, BAK_TIME_LEN - 1);
	memcpy(whole + BAK_TIME_LEN - 1, "Z", 2);
	if (!bak_time_parse(whole, &seconds))
		return false;
	if (text[BAK_TIME_LEN - 1] == '.') {
		int64_t unit = 100;

		for (const char *p = text + BAK_TIME_LEN; *p >= '0' && *p <= '9'; p++, unit /= 10)
			ms += (*p - '0') * unit;
	}
	*out_ms = seconds * 1000 + ms;
	return true;
}

/* Drivers that know it leave "instant" in what they say of the data, for each part of it. */
static void find_instants(const json_t *json, int64_t *first_ms, int64_t *last_ms)
{
	const char *key;
	json_t *value;
	int64_t ms;
	size_t i;

	if (json_is_array(json)) {
		json_array_foreach(json, i, value) find_instants(value, first_ms, last_ms);
		return;
	}
	json_object_foreach((json_t *)(uintptr_t)json, key, value)
	{
		if (strcmp(key, "instant") != 0 || !parse_instant(json_string_value(value), &ms)) {
			find_instants(value, first_ms, last_ms);
			continue;
		}
		*first_ms = ms < *first_ms ? ms : *first_ms;
		*last_ms = ms > *last_ms ? ms : *last_ms;
	}
}

static int note_instants(struct bak_repo *repo, struct run *run, uint64_t number, int64_t stamp,
			 struct bak_error *err)
{
	struct bak_snapshot snapshot = {0};
	int64_t first_ms = INT64_MAX, last_ms = INT64_MIN;
	int rc = bak_repo_snapshot(repo, number, &snapshot, err);
	json_t *manifest = rc == 1 && snapshot.manifest
				   ? json_loadb(snapshot.manifest, snapshot.manifest_len, 0, NULL)
				   : NULL;

	find_instants(json_object_get(manifest, "data"), &first_ms, &last_ms);
	if (first_ms > last_ms)
		first_ms = last_ms = stamp * 1000;
	run->first_ms = first_ms < run->first_ms ? first_ms : run->first_ms;
	run->last_ms = last_ms > run->last_ms ? last_ms : run->last_ms;
	json_decref(manifest);
	bak_snapshot_release(&snapshot);
	return rc < 0 ? -1 : 0;
}

/* --- its parts --- */

static int run_row(struct run *run, const struct bak_snapshot_row *row)
{
	char stamp[BAK_STAMP_LEN + 1];
	bak_stamp_format(row->stamp, stamp);
	json_t *store = json_pack("{s:I, s:s, s:s, s:I, s:I}", "snapshot", (json_int_t)row->number,
				  "stamp", stamp, "driver", row->driver, "files",
				  (json_int_t)row->files, "bytes", (json_int_t)row->bytes);
	if (!store || json_object_set_new(run->stores, row->store, store) < 0)
		return -1;
	run->files += (json_int_t)row->files;
	run->bytes += (json_int_t)row->bytes;
	run->added += (json_int_t)row->added;
	if (run->first == 0) {
		run->first = row->number;
		run->stamp = row->run_stamp;
		run->type = strdup(row->type);
		run->description = strdup(row->description);
	}
	return 0;
}

/* The stores that the run set out to do and that have no snapshot in it. */
static int missing_stores(struct bak_repo *repo, const struct run *run, json_t *missing,
			  struct bak_error *err)
{
	struct bak_snapshot snapshot = {0};
	int rc = bak_repo_snapshot(repo, run->first, &snapshot, err);
	for (size_t i = 0; rc == 1 && i < snapshot.n_stores; i++)
		if (!json_object_get(run->stores, snapshot.stores[i]))
			json_array_append_new(missing, json_string(snapshot.stores[i]));
	bak_snapshot_release(&snapshot);
	return rc < 0 ? -1 : 0;
}

static json_t *run_json(const struct run *run, json_t *missing)
{
	char stamp[BAK_STAMP_LEN + 1], time[BAK_TIME_LEN + 1];
	char first[BAK_TIME_LEN + 1], last[BAK_TIME_LEN + 1];
	bak_stamp_format(run->stamp, stamp);
	bak_time_format(run->stamp, time);
	bak_time_format(run->first_ms / 1000, first);
	bak_time_format(run->last_ms / 1000, last);
	return json_pack("{s:{s:s, s:s, s:I}, s:i, s:s, s:s, s:s, s:s, s:s, s:O, s:O, "
			 "s:{s:I, s:I, s:I}}",
			 "instants", "first", first, "last", last, "spread_ms",
			 (json_int_t)(run->last_ms - run->first_ms), "bakfs", 1, "run", run->id,
			 "stamp", stamp, "time", time, "type", run->type ? run->type : "",
			 "description", run->description ? run->description : "", "stores",
			 run->stores, "missing", missing, "totals", "files", run->files, "bytes",
			 run->bytes, "added", run->added);
}

/* A snapshot that was forgotten meanwhile is passed over. */
static int run_rows(struct bak_repo *repo, const uint64_t *numbers, size_t n, struct run *run,
		    struct bak_error *err)
{
	struct bak_index *index = bak_repo_index(repo);

	for (size_t i = 0; i < n; i++) {
		BAK_AUTO(bak_snapshot_row_release) struct bak_snapshot_row row = {0};
		int rc = bak_index_snapshot(index, numbers[i], &row, err);
		if (rc < 0)
			return -1;
		if (rc == 0 || row.forgotten || strcmp(row.run, run->id) != 0)
			continue;
		if (run_row(run, &row) < 0)
			return bak_error_nomem(err);
		if (note_instants(repo, run, row.number, row.stamp, err) < 0)
			return -1;
	}
	return 0;
}

int bak_run_manifest(struct bak_repo *repo, const char *run_id, const uint64_t *numbers, size_t n,
		     struct bak_buf *out, struct bak_error *err)
{
	struct run run = {
		.id = run_id, .stores = json_object(), .first_ms = INT64_MAX, .last_ms = INT64_MIN};
	json_t *missing = json_array(), *json = NULL;
	char *text = NULL;
	int rc = -1;
	if (!run.stores || !missing)
		bak_error_nomem(err);
	else if (run_rows(repo, numbers, n, &run, err) < 0 ||
		 (run.first && missing_stores(repo, &run, missing, err) < 0))
		rc = -1;
	else if (run.first == 0)
		bak_error_set(err, BAK_NOT_FOUND, "no run %s", run_id);
	else if (!(json = run_json(&run, missing)) ||
		 !(text = json_dumps(json, JSON_INDENT(2) | JSON_SORT_KEYS)) ||
		 bak_buf_append(out, text, strlen(text)) < 0 || bak_buf_append(out, "\n", 1) < 0)
		bak_error_nomem(err);
	else
		rc = 0;
	free(text);
	free(run.type);
	free(run.description);
	json_decref(json);
	json_decref(missing);
	json_decref(run.stores);
	return rc;
}
