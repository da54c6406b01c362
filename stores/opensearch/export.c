/*
 * Saving documents: a point in time of each index first, one right after the other, then all of
 * them are read. What is written meanwhile is not in it, and nobody waits.
 */
#include "stores/opensearch/opensearch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SHARDS_MAX 1024u     /* what a server allows for an index */
#define RESULT_WINDOW 10000u /* index.max_result_window, unless it is set */

/* An index that is being saved. */
struct saved {
	const struct bak_os_index *index;
	json_t *body;   /* its index.json */
	uint64_t bytes; /* of its primary shards */
	char *pit;
	unsigned n_shards;
	uint64_t page_max;
	size_t first; /* of its slices */
	uint64_t documents;
};

struct export
{
	struct bak_os *os;
	struct bak_writer *writer;
	struct bak_os_indices indices;
	struct saved *v;
	size_t n;
	struct bak_os_slice *slices;
	size_t n_slices;
	json_t *definitions;
	char keep_alive[32]; /* as the server has times */
	/* while it is written */
	size_t at; /* of v: whose folder is open */
	size_t slice;
	bool in_folder, in_file;
};

/* --- which --- */

static bool can_export(struct bak_os *os, const struct bak_os_index *index)
{
	if (index->stream)
		return false; /* told once for each stream */
	if (!index->closed)
		return true;
	bak_store_warn(os->env, "index %s is closed and not saved: open it, or use mode = snapshot",
		       index->concrete);
	return false;
}

static int describe(struct export *x, struct saved *s, struct bak_error *err)
{
	const json_t *source, *settings;

	if (bak_os_describe(x->os, s->index->concrete, &s->body, &s->bytes, err) < 0)
		return -1;
	source = bak_os_at(s->body, "mappings", "_source");
	settings = bak_os_at(s->body, "settings", "index");
	s->n_shards = (unsigned)bak_os_number(settings, "number_of_shards");
	s->page_max = bak_os_number(settings, "max_result_window");
	if (!s->page_max)
		s->page_max = RESULT_WINDOW;
	if (!s->n_shards || s->n_shards > SHARDS_MAX)
		return bak_error_set(err, BAK_CORRUPT, "index %s has %u shards", s->index->concrete,
				     s->n_shards);
	if (json_is_false(json_object_get(source, "enabled")))
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "index %s keeps no _source, so its documents cannot be read: "
				     "exclude it, or use mode = snapshot",
				     s->index->concrete);
	if (json_object_get(source, "includes") || json_object_get(source, "excludes"))
		bak_store_warn(x->os->env,
			       "index %s keeps a part of each document in _source: only that is "
			       "saved",
			       s->index->concrete);
	return 0;
}

static int choose(struct export *x, struct bak_error *err)
{
	const json_t *stream;
	size_t i;

	if (bak_os_indices(x->os, &x->indices, err) < 0)
		return -1;
	json_array_foreach(x->indices.streams, i, stream)
	{
		bak_store_warn(x->os->env,
			       "data stream %s is not saved: mode = snapshot has data streams",
			       json_string_value(stream));
	}
	x->v = calloc(x->indices.n + 1, sizeof *x->v);
	if (!x->v)
		return bak_error_nomem(err);
	for (i = 0; i < x->indices.n; i++) {
		if (!can_export(x->os, &x->indices.v[i]))
			continue;
		x->v[x->n].index = &x->indices.v[i];
		x->v[x->n].first = x->n_slices;
		if (describe(x, &x->v[x->n++], err) < 0)
			return -1;
		x->n_slices += x->v[x->n - 1].n_shards;
	}
	return 0;
}

/* --- points in time --- */

/* Of the primary shards: a copy may lag behind. */
static int open_pit(struct export *x, struct saved *s, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *answer = NULL;
	struct bak_error refused = BAK_ERROR_INIT;
	const char *index = s->index->concrete;

	/* What was written is seen by searches from then on. */
	if (bak_os_call(x->os->http, "POST", bak_http_path("/%s/_refresh", index), NULL, NULL,
			&refused) < 0) {
		if (refused.code != BAK_REFUSED) {
			*err = refused;
			return -1;
		}
		bak_store_warn(x->os->env,
			       "index %s: documents of the last moment may be missing: %s", index,
			       refused.msg);
	}
	if (bak_os_call(x->os->http, "POST",
			bak_http_path("/%s/_search/point_in_time?keep_alive=%s&preference=_primary"
				      "&allow_partial_pit_creation=false",
				      index, x->keep_alive),
			NULL, &answer, err) < 0)
		return bak_error_wrap(err, "index %s: no point in time", index);
	if (!*bak_os_text(answer, "pit_id"))
		return bak_error_set(err, BAK_CORRUPT, "index %s: a point in time without an id",
				     index);
	/* one that is not whole is open too, and to be closed */
	s->pit = strdup(bak_os_text(answer, "pit_id"));
	if (!s->pit)
		return bak_error_nomem(err);
	if (bak_os_check_shards(answer, err) < 0)
		return bak_error_wrap(err, "index %s: no point in time", index);
	return 0;
}

static void close_pits(struct export *x)
{
	BAK_AUTO(bak_os_json_free) json_t *ids = json_array();
	BAK_AUTO(bak_os_json_free) json_t *body = NULL;
	struct bak_error scratch = BAK_ERROR_INIT;

	for (size_t i = 0; i < x->n; i++) {
		if (x->v[i].pit)
			json_array_append_new(ids, json_string(x->v[i].pit));
	}
	if (!json_array_size(ids))
		return;
	bak_os_go_on(x->os);
	body = json_pack("{s:O}", "pit_id", ids);
	if (body && bak_os_delete(x->os->http, bak_http_path("/_search/point_in_time"), body, 0,
				  &scratch) < 0)
		bak_store_log(x->os->env, "points in time stay open for %s: %s", x->keep_alive,
			      scratch.msg);
}

/* A search of one document, the last one written, in a shard or (n_shards 0) in all. */
static int search(struct export *x, const struct saved *s, unsigned shard, unsigned n_shards,
		  json_t **out, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free)
	json_t *body = json_pack("{s:i, s:{s:s, s:s}, s:[{s:{s:s, s:s}}], s:b, s:b}", "size", 1,
				 "pit", "id", s->pit, "keep_alive", x->keep_alive, "sort",
				 "_seq_no", "order", "desc", "unmapped_type", "long",
				 "track_total_hits", 1, "_source", 0);

	if (body && n_shards > 1)
		json_object_set_new(
			body, "slice",
			json_pack("{s:i, s:i}", "id", (int)shard, "max", (int)n_shards));
	if (bak_os_search(x->os->http, body, out, err) < 0)
		return bak_error_wrap(err, "index %s", s->index->concrete);
	return 0;
}

static uint64_t total(const json_t *answer)
{
	return bak_os_number(bak_os_at(answer, "hits", "total"), "value");
}

/* How many documents a shard has, and where the last one stands. */
static int look_at_shard(struct export *x, const struct saved *s, unsigned shard,
			 struct bak_error *err)
{
	struct bak_os_slice *slice = &x->slices[s->first + shard];
	BAK_AUTO(bak_os_json_free) json_t *answer = NULL;
	const json_t *hit;

	if (search(x, s, shard, s->n_shards, &answer, err) < 0)
		return -1;
	hit = json_array_get(bak_os_at(answer, "hits", "hits"), 0);
	slice->documents = total(answer);
	if (hit)
		slice->last = (uint64_t)json_integer_value(
			json_array_get(json_object_get(hit, "sort"), 0));
	return 0;
}

/* One that never had a document has no fields, and cannot be cut into shards. */
static int look_at(struct export *x, struct saved *s, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *answer = NULL;
	uint64_t sum = 0;

	if (search(x, s, 0, 0, &answer, err) < 0)
		return -1;
	s->documents = total(answer);
	for (unsigned shard = 0; shard < s->n_shards; shard++) {
		x->slices[s->first + shard] = (struct bak_os_slice){.index = s->index->concrete,
								    .pit = s->pit,
								    .keep_alive = x->keep_alive,
								    .shard = shard,
								    .n_shards = s->n_shards,
								    .page_max = s->page_max};
		if (s->documents && look_at_shard(x, s, shard, err) < 0)
			return -1;
		sum += x->slices[s->first + shard].documents;
	}
	if (sum == s->documents)
		return 0;
	return bak_error_set(err, BAK_CORRUPT,
			     "index %s has %" PRIu64 " documents, and its shards %" PRIu64,
			     s->index->concrete, s->documents, sum);
}

static int open_all(struct export *x, struct bak_error *err)
{
	x->slices = calloc(x->n_slices + 1, sizeof *x->slices);
	if (!x->slices)
		return bak_error_nomem(err);
	for (size_t i = 0; i < x->n; i++) {
		if (open_pit(x, &x->v[i], err) < 0)
			return -1;
	}
	for (size_t i = 0; i < x->n; i++) {
		if (look_at(x, &x->v[i], err) < 0)
			return -1;
	}
	return 0;
}

/* --- files --- */

static int enter(struct bak_writer *writer, const char *name, struct bak_error *err)
{
	struct bak_source_inode inode;

	bak_payload_inode(&inode, BAK_TYPE_DIR, 0700);
	return bak_writer_enter(writer, name, &inode, err);
}

static int end_file(struct export *x, struct bak_error *err)
{
	if (!x->in_file)
		return 0;
	x->in_file = false;
	return bak_writer_file_end(x->writer, NULL, err);
}

/* Ends the folder of v[at]: its last file, and what the index is. */
static int leave_index(struct export *x, struct bak_error *err)
{
	struct saved *s = &x->v[x->at];

	if (end_file(x, err) < 0)
		return -1;
	if (!x->in_folder && enter(x->writer, s->index->name, err) < 0)
		return -1;
	x->in_folder = false;
	if (bak_os_write_json(x->writer, BAK_OS_INDEX_FILE, s->body, err) < 0 ||
	    bak_writer_leave(x->writer, err) < 0)
		return -1;
	bak_store_log(x->os->env, "%s: %" PRIu64 " documents", s->index->name, s->documents);
	x->at++;
	return 0;
}

static int begin_file(struct export *x, size_t slice, struct bak_error *err)
{
	struct bak_source_inode inode;
	char name[40];

	if (end_file(x, err) < 0)
		return -1;
	while (slice >= x->v[x->at].first + x->v[x->at].n_shards) {
		if (leave_index(x, err) < 0)
			return -1;
	}
	if (!x->in_folder && enter(x->writer, x->v[x->at].index->name, err) < 0)
		return -1;
	x->in_folder = x->in_file = true;
	x->slice = slice;
	snprintf(name, sizeof name, "documents-%04u.ndjson", x->slices[slice].shard);
	bak_payload_inode(&inode, BAK_TYPE_FILE, 0600);
	return bak_writer_file(x->writer, name, &inode, BAK_HINT_NONE, err);
}

static int take(void *ctx, size_t slice, const void *p, size_t len, struct bak_error *err)
{
	struct export *x = ctx;

	if ((!x->in_file || x->slice != slice) && begin_file(x, slice, err) < 0)
		return -1;
	return bak_writer_data(x->writer, p, len, err);
}

static int check_read(const struct export *x, struct bak_error *err)
{
	for (size_t i = 0; i < x->n_slices; i++) {
		const struct bak_os_slice *slice = &x->slices[i];

		if (slice->read != slice->documents)
			return bak_error_set(
				err, BAK_CORRUPT,
				"index %s: shard %u has %" PRIu64 " documents and gave %" PRIu64,
				slice->index, slice->shard, slice->documents, slice->read);
	}
	return 0;
}

static int write_all(struct export *x, struct bak_error *err)
{
	if (bak_os_definitions_get(x->os, &x->definitions, err) < 0 ||
	    bak_os_definitions_write(x->definitions, x->writer, NULL, BAK_OS_INDICES, err) < 0 ||
	    enter(x->writer, BAK_OS_INDICES, err) < 0 ||
	    bak_os_pages_read(x->os, x->slices, x->n_slices, take, x, err) < 0)
		return -1;
	while (x->at < x->n) {
		if (leave_index(x, err) < 0)
			return -1;
	}
	if (bak_writer_leave(x->writer, err) < 0 ||
	    bak_os_definitions_write(x->definitions, x->writer, BAK_OS_INDICES, NULL, err) < 0)
		return -1;
	return check_read(x, err);
}

/* --- the whole --- */

static int fill_facts(const struct export *x, time_t begin, json_t *facts, struct bak_error *err)
{
	json_t *counts = json_object(), *list = json_array();
	char from[BAK_TIME_LEN + 1];
	int rc;

	bak_time_format(begin, from);
	rc = json_object_set_new(facts, "counts", counts);
	rc |= json_object_set_new(facts, "indices", list);
	rc |= json_object_set_new(facts, "mode", json_string("export"));
	rc |= json_object_set_new(facts, "version", json_string(x->os->version));
	rc |= json_object_set_new(facts, "cluster", json_string(x->os->cluster));
	rc |= json_object_set_new(facts, "moment", json_string(from));
	for (size_t i = 0; i < x->n; i++) {
		const struct saved *s = &x->v[i];

		rc |= json_object_set_new(counts, s->index->name,
					  json_integer((json_int_t)s->documents));
		rc |= json_array_append_new(list, json_pack("{s:s, s:I, s:i, s:O*, s:I}", "name",
							    s->index->name, "documents",
							    (json_int_t)s->documents, "shards",
							    (int)s->n_shards, "aliases",
							    bak_os_at(s->body, "aliases", NULL),
							    "bytes", (json_int_t)s->bytes));
	}
	return rc == 0 ? 0 : bak_error_nomem(err);
}

static void release(struct export *x)
{
	for (size_t i = 0; i < x->n; i++) {
		json_decref(x->v[i].body);
		free(x->v[i].pit);
	}
	free(x->v);
	free(x->slices);
	json_decref(x->definitions);
	bak_os_indices_release(&x->indices);
}

int bak_os_export(struct bak_os *os, struct bak_writer *writer, json_t *facts,
		  struct bak_error *err)
{
	struct export x = {.os = os, .writer = writer};
	time_t begin = time(NULL);
	int rc = bak_os_look(os, err);

	snprintf(x.keep_alive, sizeof x.keep_alive, "%" PRIu64 "s",
		 bak_store_get_duration_ms(os->conf, "keep_alive") / 1000);

	if (rc == 0)
		rc = choose(&x, err);
	if (rc == 0)
		rc = open_all(&x, err);
	if (rc == 0)
		rc = write_all(&x, err);
	close_pits(&x);
	if (rc == 0)
		rc = fill_facts(&x, begin, facts, err);
	release(&x);
	return rc;
}
