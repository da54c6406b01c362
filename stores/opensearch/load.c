/*
 * Loading documents with the bulk API: one thread reads the files and cuts them into requests,
 * others send them. An answer of 200 may hold failures, so each item of it is looked at; those that
 * the server had no room for are sent again, any other ends the restore.
 */
#include "stores/opensearch/opensearch.h"

#include "engine/content/folder.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LANES_MAX = 16 };
#define BATCH_BYTES (4u << 20)
#define BATCH_DOCUMENTS 5000u

/* One request. */
struct batch {
	struct bak_buf body;
	size_t *starts, n, cap; /* of its documents */
};

struct load {
	struct bak_os_restore *r;
	char *path; /* of the bulk API, for the index that is loaded now */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct batch *waiting; /* handed over, nobody has begun it; or NULL */
	size_t busy;           /* lanes that send */
	bool stop;
	struct bak_error err;
	/* the reading side */
	struct batch *filling;
	uint64_t documents;
};

struct lane {
	struct load *load;
	struct bak_http *http;
	pthread_t thread;
	bool runs;
};

static void batch_free(struct batch *batch)
{
	if (!batch)
		return;
	bak_buf_release(&batch->body);
	free(batch->starts);
	free(batch);
}

/* --- one request --- */

/* The id of a document of a batch, for messages. */
static void id_of(const struct batch *batch, size_t i, char *out, size_t len)
{
	const char *p = (const char *)batch->body.p + batch->starts[i];
	size_t n = batch->body.len - batch->starts[i];
	const char *end = memchr(p, '\n', n);
	struct bak_os_span meta = {.p = NULL}, id = {.p = NULL};

	if (end && bak_os_object_get(p, (size_t)(end - p), "index", &meta) && meta.p)
		bak_os_object_get(meta.p, meta.len, "_id", &id);
	snprintf(out, len, "%.*s", id.len < len ? (int)id.len : (int)len - 1, id.p ? id.p : "");
}

/* 1 stored, 0 not now, -1 never. */
static int check_item(const struct batch *batch, size_t i, const json_t *item,
		      struct bak_error *err)
{
	const json_t *result = json_object_get(item, "index");
	const json_t *error = json_object_get(result, "error");
	uint64_t status = bak_os_number(result, "status");
	const char *deeper = bak_os_text(json_object_get(error, "caused_by"), "reason");
	char id[80];

	if (status == 200 || status == 201)
		return 1;
	bak_error_set(err, BAK_CORRUPT, "%s: %.150s%s%.150s", bak_os_text(error, "type"),
		      bak_os_text(error, "reason"), *deeper ? ": " : "", deeper);
	bak_os_advise(err);
	if (status == 429 && err->code != BAK_NO_SPACE)
		return 0;
	id_of(batch, i, id, sizeof id);
	return bak_error_wrap(err, "document %s was not taken (status %" PRIu64 ")", id, status);
}

/* Leaves in the batch what must be sent again. */
static int keep_refused(struct batch *batch, const json_t *items, struct bak_error *err)
{
	struct bak_buf again = BAK_BUF_INIT;
	size_t left = 0;

	for (size_t i = 0; i < batch->n; i++) {
		size_t begin = batch->starts[i];
		size_t end = i + 1 < batch->n ? batch->starts[i + 1] : batch->body.len;
		int rc = check_item(batch, i, json_array_get(items, i), err);

		if (rc == 0 && bak_buf_append(&again, batch->body.p + begin, end - begin) < 0)
			rc = bak_error_nomem(err);
		if (rc < 0) {
			bak_buf_release(&again);
			return -1;
		}
		if (rc == 0)
			batch->starts[left++] = again.len - (end - begin);
	}
	bak_buf_release(&batch->body);
	batch->body = again;
	batch->n = left;
	return 0;
}

static int send_once(struct lane *lane, struct batch *batch, struct bak_error *err)
{
	const struct bak_http_request request = {
		.method = "POST",
		.path = lane->load->path,
		.content_type = "application/x-ndjson",
		.body = batch->body.p,
		.body_len = batch->body.len,
		.again = true, /* each document has its _id */
	};
	BAK_AUTO(bak_http_answer_release) struct bak_http_answer answer = {.status = 0};
	BAK_AUTO(bak_os_json_free) json_t *json = NULL;
	const json_t *items;

	if (bak_http_send(lane->http, &request, &answer, err) < 0)
		return bak_os_advise(err);
	json = json_loadb((const char *)answer.body.p, answer.body.len, 0, NULL);
	items = json_object_get(json, "items");
	if (json_array_size(items) != batch->n || !json_object_get(json, "errors"))
		return bak_error_set(err, BAK_CORRUPT,
				     "the bulk API was given %zu documents and answers for %zu",
				     batch->n, json_array_size(items));
	return keep_refused(batch, items, err);
}

static int send_batch(struct lane *lane, struct batch *batch, struct bak_error *err)
{
	uint64_t waited = 0, limit = bak_store_get_duration_ms(lane->load->r->os->conf, "timeout");
	unsigned round = 0;

	for (;;) {
		size_t before = batch->n;

		if (send_once(lane, batch, err) < 0)
			return -1;
		if (batch->n == 0)
			return 0;
		if (batch->n < before)
			round = 0, waited = 0;
		if (waited > limit)
			return bak_error_wrap(err, "the server has too much to do, and takes no "
						   "more documents");
		waited += round < 7 ? 20u << round : 2000;
		if (bak_http_wait(lane->http, &round, err) < 0)
			return -1;
	}
}

/* --- workers --- */

static void fail(struct load *load, const struct bak_error *err)
{
	if (!load->stop)
		load->err = *err;
	load->stop = true;
}

static void *work(void *ctx)
{
	struct lane *lane = ctx;
	struct load *load = lane->load;

	pthread_mutex_lock(&load->lock);
	while (!load->stop) {
		struct bak_error err = BAK_ERROR_INIT;
		struct batch *batch = load->waiting;

		if (!batch) {
			pthread_cond_wait(&load->changed, &load->lock);
			continue;
		}
		load->waiting = NULL;
		load->busy++;
		pthread_cond_broadcast(&load->changed);
		pthread_mutex_unlock(&load->lock);
		int rc = send_batch(lane, batch, &err);

		batch_free(batch);
		pthread_mutex_lock(&load->lock);
		load->busy--;
		if (rc < 0)
			fail(load, &err);
		pthread_cond_broadcast(&load->changed);
	}
	pthread_mutex_unlock(&load->lock);
	return NULL;
}

/* Waits for room, gives the batch away. */
static int hand_over(struct load *load, struct bak_error *err)
{
	int rc = 0;

	pthread_mutex_lock(&load->lock);
	while (!load->stop && load->waiting)
		pthread_cond_wait(&load->changed, &load->lock);
	if (load->stop) {
		*err = load->err;
		rc = -1;
	} else {
		load->waiting = load->filling;
		load->filling = NULL;
	}
	pthread_cond_broadcast(&load->changed);
	pthread_mutex_unlock(&load->lock);
	return rc;
}

/* Until all that was handed over is stored. */
static int settle(struct load *load, struct bak_error *err)
{
	int rc = 0;

	if (load->filling && hand_over(load, err) < 0)
		return -1;
	pthread_mutex_lock(&load->lock);
	while (!load->stop && (load->waiting || load->busy))
		pthread_cond_wait(&load->changed, &load->lock);
	if (load->stop) {
		*err = load->err;
		rc = -1;
	}
	pthread_mutex_unlock(&load->lock);
	return rc;
}

static int start(struct load *load, struct lane *lanes, size_t n, struct bak_error *err)
{
	for (size_t i = 0; i < n; i++) {
		lanes[i].load = load;
		if (bak_http_again(load->r->os->http, &lanes[i].http, err) < 0)
			return -1;
		bak_http_is_known(lanes[i].http);
		if (pthread_create(&lanes[i].thread, NULL, work, &lanes[i]) != 0)
			return bak_error_set(err, BAK_NO_MEMORY, "no thread to be had");
		lanes[i].runs = true;
	}
	return 0;
}

static void end(struct load *load, struct lane *lanes, size_t n)
{
	const struct bak_error none = BAK_ERROR_INIT;

	pthread_mutex_lock(&load->lock);
	fail(load, &none);
	pthread_cond_broadcast(&load->changed);
	pthread_mutex_unlock(&load->lock);
	for (size_t i = 0; i < n; i++) {
		if (lanes[i].runs)
			pthread_join(lanes[i].thread, NULL);
		bak_http_close(lanes[i].http);
	}
	batch_free(load->waiting);
	batch_free(load->filling);
	free(load->path);
	pthread_cond_destroy(&load->changed);
	pthread_mutex_destroy(&load->lock);
}

/* --- files --- */

static int take_document(void *ctx, const struct bak_os_document *document, struct bak_error *err)
{
	struct load *load = ctx;
	struct batch *batch = load->filling;

	if (!batch)
		batch = load->filling = calloc(1, sizeof *batch);
	if (!batch || bak_grow(&batch->starts, &batch->cap, batch->n, sizeof *batch->starts) < 0)
		return bak_error_nomem(err);
	batch->starts[batch->n] = batch->body.len;
	if (bak_os_document_write(document, &batch->body) < 0)
		return bak_error_nomem(err);
	batch->n++;
	load->documents++;
	if (batch->body.len < BATCH_BYTES && batch->n < BATCH_DOCUMENTS)
		return 0;
	return hand_over(load, err);
}

static int load_file(struct load *load, const struct bak_found *found, uint64_t done,
		     struct bak_error *err)
{
	BAK_AUTO(bak_payload_reader_release)
	struct bak_payload_reader reader = {.env = load->r->os->env,
					    .source = load->r->tree.source,
					    .inode = &found->entry.inode,
					    .before = done,
					    .all = load->r->bytes};
	BAK_AUTO(bak_os_lines_release)
	struct bak_os_lines lines = {.take = take_document, .ctx = load};
	const void *p;
	size_t len;
	int rc;

	while ((rc = bak_payload_give(&reader, &p, &len, err)) > 0) {
		if (bak_store_check_cancelled(load->r->os->env, err) < 0 ||
		    bak_os_lines_feed(&lines, p, len, err) < 0)
			return -1;
	}
	return rc < 0 ? -1 : bak_os_lines_end(&lines, err);
}

static int find_folder(struct bak_os_restore *r, const struct bak_os_target *t,
		       struct bak_found *out, struct bak_error *err)
{
	char path[BAK_OS_NAME_MAX + sizeof BAK_OS_INDICES + 1];
	int rc;

	snprintf(path, sizeof path, BAK_OS_INDICES "/%s", t->name);
	rc = bak_tree_path(&r->tree, path, out, err);
	if (rc == 1 && out->entry.inode.type == BAK_TYPE_DIR)
		return 0;
	return rc < 0 ? -1 : bak_error_set(err, BAK_CORRUPT, "the snapshot has no folder %s", path);
}

static int load_folder(struct load *load, const struct bak_found *folder, uint64_t *done,
		       struct bak_error *err)
{
	struct bak_cursor *cursor;
	const struct bak_found *found;
	int rc = bak_cursor_open(&load->r->tree, &folder->entry.inode.dir, 1, &cursor, err);

	if (rc < 0)
		return -1;
	while (rc == 0 && (rc = bak_cursor_next(cursor, &found, err)) == 1) {
		const struct bak_entry *entry = &found->entry;
		static const char suffix[] = ".ndjson";
		size_t len = sizeof suffix - 1;

		rc = 0;
		if (entry->inode.type != BAK_TYPE_FILE || entry->name_len < len ||
		    memcmp(entry->name + entry->name_len - len, suffix, len) != 0)
			continue;
		rc = load_file(load, found, *done, err);
		if (rc < 0)
			bak_error_wrap(err, "%.*s", (int)entry->name_len, entry->name);
		*done += entry->inode.size;
	}
	bak_cursor_close(cursor);
	return rc < 0 ? -1 : 0;
}

/* --- the new index --- */

/* Settings that would hinder the loading: they come afterwards. */
static const char *const late[] = {"number_of_replicas", "auto_expand_replicas", "refresh_interval",
				   "default_pipeline",   "final_pipeline",       NULL};

/* *out_late: null for those that are not set. */
static json_t *first_body(const struct bak_os_target *t, json_t **out_late)
{
	json_t *settings = json_deep_copy(bak_os_at(t->body, "settings", "index"));
	json_t *mappings = json_object_get(t->body, "mappings");

	if (!settings)
		settings = json_object();
	*out_late = json_object();
	for (const char *const *key = late; *key; key++) {
		json_t *value = json_object_get(settings, *key);

		json_object_set_new(*out_late, *key, value ? json_incref(value) : json_null());
		json_object_del(settings, *key);
	}
	/* Of blocks, that on writing is put back; the others would be in the way of the exchange. */
	json_t *block = bak_os_at(settings, "blocks", "write");
	if (block)
		json_object_set(*out_late, "blocks.write", block);
	json_object_del(settings, "blocks");
	json_object_set_new(settings, "number_of_replicas", json_string("0"));
	json_object_set_new(settings, "refresh_interval", json_string("-1"));
	return json_pack("{s:{s:o}, s:O*}", "settings", "index", settings, "mappings", mappings);
}

/* Templates may fit the new name too, and add to what it was told to be. */
static int check_made(struct bak_os_restore *r, const struct bak_os_target *t,
		      struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *body = NULL;
	const json_t *want = json_object_get(t->body, "mappings");
	const char *alias;
	json_t *how;
	uint64_t bytes;

	if (bak_os_describe(r->os, t->fresh, &body, &bytes, err) < 0)
		return -1;
	json_object_foreach(json_object_get(body, "aliases"), alias, how)
	{
		if (bak_os_delete(r->os->http, bak_http_path("/%s/_alias/%s", t->fresh, alias),
				  NULL, 0, err) < 0)
			return -1;
	}
	if (want && !json_equal(want, json_object_get(body, "mappings")))
		bak_store_warn(r->os->env,
			       "index %s: a template or the server's version makes its mappings "
			       "another than in the snapshot",
			       t->name);
	return 0;
}

static int make_index(struct bak_os_restore *r, struct bak_os_target *t, json_t **out_late,
		      struct bak_error *err)
{
	char path[BAK_OS_NAME_MAX + 64];
	BAK_AUTO(bak_os_json_free) json_t *body = NULL;

	snprintf(path, sizeof path, BAK_OS_INDICES "/%s/" BAK_OS_INDEX_FILE, t->name);
	if (bak_os_read_json(&r->tree, path, r->os->env, &t->body, err) < 0)
		return -1;
	body = first_body(t, out_late);
	if (!body)
		return bak_error_nomem(err);
	t->made = true;
	if (bak_os_call(r->os->http, "PUT", bak_http_path("/%s?wait_for_active_shards=1", t->fresh),
			body, NULL, err) < 0 ||
	    bak_os_wait_active(r->os, t->fresh, err) < 0)
		return bak_error_wrap(err, "making index %s", t->name);
	return check_made(r, t, err);
}

/* All is there: as it shall be used. */
static int finish_index(struct bak_os_restore *r, struct bak_os_target *t, json_t *settings,
			uint64_t loaded, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *body = json_pack("{s:O}", "index", settings);
	const json_t *want = json_object_get(t->facts, "documents");

	if (!body)
		return bak_error_nomem(err);
	if (bak_os_count(r->os, t->fresh, &t->count, err) < 0)
		return -1;
	if (t->count != loaded || (want && t->count != (uint64_t)json_integer_value(want)))
		return bak_error_set(err, BAK_CORRUPT,
				     "validation: index %s has %" PRIu64 " documents, %" PRIu64
				     " were sent, and the snapshot has %" JSON_INTEGER_FORMAT,
				     t->name, t->count, loaded, json_integer_value(want));
	return bak_os_call(r->os->http, "PUT", bak_http_path("/%s/_settings", t->fresh), body, NULL,
			   err);
}

static int load_index(struct load *load, struct bak_os_target *t, uint64_t *done,
		      struct bak_error *err)
{
	BAK_AUTO(bak_found_release) struct bak_found folder = BAK_FOUND_INIT;
	BAK_AUTO(bak_os_json_free) json_t *settings = NULL;

	if (find_folder(load->r, t, &folder, err) < 0 || make_index(load->r, t, &settings, err) < 0)
		return -1;
	/* nobody sends anything now */
	free(load->path);
	load->path = bak_http_path("/%s/_bulk?pipeline=_none&filter_path=errors,items.*.status,"
				   "items.*.error",
				   t->fresh);
	load->documents = 0;
	if (!load->path)
		return bak_error_nomem(err);
	if (load_folder(load, &folder, done, err) < 0 || settle(load, err) < 0)
		return bak_error_wrap(err, "index %s", t->name);
	return finish_index(load->r, t, settings, load->documents, err);
}

int bak_os_load(struct bak_os_restore *r, struct bak_error *err)
{
	uint64_t wanted = bak_store_get_number(r->os->conf, "connections"), done = 0;
	size_t n_lanes = wanted < 1 ? 1 : wanted > LANES_MAX ? LANES_MAX : (size_t)wanted;
	struct lane lanes[LANES_MAX] = {{.load = NULL}};
	struct load load = {.r = r};
	int rc;

	r->bytes = r->from->snapshot->root.totals.bytes;
	pthread_mutex_init(&load.lock, NULL);
	pthread_cond_init(&load.changed, NULL);
	rc = start(&load, lanes, n_lanes, err);
	for (size_t i = 0; rc == 0 && i < r->n; i++)
		rc = load_index(&load, &r->v[i], &done, err);
	end(&load, lanes, n_lanes);
	return rc;
}
