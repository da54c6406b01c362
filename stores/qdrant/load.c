/*
 * Filling a collection: by upload of its snapshot, with the checksum always, or by making it and
 * putting its points there. What fails leaves nothing behind, in this order: the uploaded file, which
 * can only be deleted while a collection of its name is there, then the collection.
 */
#include "stores/qdrant/qdrant.h"

#include "engine/base/bytes.h"
#include "engine/base/hash.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A server that is too busy is asked so often. */
#define TRIES 4
/* How long a recovery that nobody waits for any more may go on before it is cleared up. */
#define SETTLE_MS 60000

struct load {
	struct bak_qdrant_plan *plan;
	struct bak_qdrant_target *t;
	const char *into;
	bool is_there; /* into was there before */
	bool sent;     /* something of the file */
	char upload[48];
	struct bak_payload_reader reader;
};

/* --- clearing up --- */

/* The server goes on with what it has, though we are gone. */
static void settle(struct bak_qdrant *q, const char *collection)
{
	struct bak_error ignored = BAK_ERROR_INIT;
	uint64_t begun = bak_qdrant_now_ms();
	unsigned round = 0;

	while (bak_qdrant_now_ms() - begun < SETTLE_MS &&
	       bak_qdrant_running(q->clean, "running_snapshot_recovery", collection) > 0 &&
	       bak_http_wait(q->clean, &round, &ignored) == 0)
		;
}

/* A file whose collection was never made: one is made, so that the file can be named. One that does
 * not say what it is is there all the same. */
static int drop_orphan(struct load *l, struct bak_error *err)
{
	struct bak_qdrant *q = l->plan->q;
	struct bak_error ignored = BAK_ERROR_INIT;
	json_t *body, *info = NULL;
	int rc = bak_qdrant_info(q->clean, l->into, &info, &ignored);

	json_decref(info);
	if (rc != 0)
		return 0;
	body = json_pack("{s:{}}", "vectors");
	rc = body ? bak_qdrant_call(q->clean, "PUT", bak_http_path("/collections/%s", l->into),
				    body, true, NULL, err)
		  : bak_error_nomem(err);
	json_decref(body);
	if (rc == 0)
		rc = bak_qdrant_drop_snapshot(q, l->into, l->upload, err);
	return rc;
}

static void clear_up(struct load *l)
{
	struct bak_qdrant *q = l->plan->q;
	struct bak_error why = BAK_ERROR_INIT;
	int rc = 0;

	if (l->sent && !l->t->exported) {
		settle(q, l->into);
		rc = bak_qdrant_drop_snapshot(q, l->into, l->upload, &why);
		if (rc == 0 && !l->is_there)
			rc = drop_orphan(l, &why);
	}
	if (!l->is_there && l->sent && bak_qdrant_drop(q, l->into, &why) < 0)
		rc = -1;
	if (rc < 0)
		bak_store_warn(q->env,
			       "what the failed restore left could not be deleted (%s%s): %s",
			       l->is_there ? "a snapshot file of collection " : "collection ",
			       l->into, why.msg);
}

/* --- a snapshot --- */

static int give(void *ctx, const void **out_p, size_t *out_len, struct bak_error *err)
{
	struct load *l = ctx;

	l->sent = true;
	return bak_payload_give(&l->reader, out_p, out_len, err);
}

static int send_snapshot(struct load *l, const char *path, struct bak_http_answer *answer,
			 struct bak_error *err)
{
	struct bak_http_request request = {.method = "POST",
					   .path = path,
					   .give = give,
					   .give_ctx = l,
					   .give_len = l->t->found.entry.inode.size,
					   .form_field = "snapshot",
					   .form_file = l->upload};

	l->reader.at = 0;
	return bak_http_send(l->plan->q->http, &request, answer, err);
}

static bool is_busy(long status)
{
	return status == 429 || status == 503;
}

static int upload(struct load *l, struct bak_error *err)
{
	BAK_AUTO(bak_http_answer_release) struct bak_http_answer answer = {.status = 0};
	char hex[65];
	uint8_t random[8];
	unsigned round = 5; /* 640 ms */
	int rc;

	if (bak_random(random, sizeof random, err) < 0)
		return -1;
	bak_hex(hex, random, sizeof random);
	snprintf(l->upload, sizeof l->upload, "bakfs-%.16s" BAK_QDRANT_SNAPSHOT, hex);
	bak_hex(hex, l->t->found.entry.inode.sha256, 32);
	BAK_AUTO(bak_free_ptr)
	char *path = bak_http_path("/collections/%s/snapshots/upload?wait=true&priority=snapshot&"
				   "checksum=%s",
				   l->into, hex);
	if (!path)
		return bak_error_nomem(err);
	rc = send_snapshot(l, path, &answer, err);
	for (int i = 1; rc < 0 && is_busy(answer.status) && i < TRIES; i++) {
		if (bak_http_wait(l->plan->q->http, &round, err) < 0)
			return -1;
		rc = send_snapshot(l, path, &answer, err);
	}
	/* Who may not has left nothing. */
	if (rc < 0 && (answer.status == 401 || answer.status == 403))
		l->sent = false;
	return rc;
}

/* --- points --- */

#define CONFIG_MAX (4u << 20)
#define BATCH_BYTES (8u << 20) /* servers take 32 MiB unless told otherwise */

static int read_small(struct load *l, const char *path, struct bak_buf *out, struct bak_error *err)
{
	static const struct bak_store_env quiet = {.ctx = NULL};
	BAK_AUTO(bak_found_release) struct bak_found found = BAK_FOUND_INIT;
	int rc = bak_tree_path(&l->plan->tree, path, &found, err);
	BAK_AUTO(bak_payload_reader_release)
	struct bak_payload_reader reader = {
		.env = &quiet, .source = l->plan->tree.source, .inode = &found.entry.inode};
	const void *p;
	size_t len;

	if (rc < 0)
		return -1;
	if (rc == 0 || found.entry.inode.type != BAK_TYPE_FILE ||
	    found.entry.inode.size > CONFIG_MAX)
		return bak_error_set(err, BAK_CORRUPT, "the snapshot has no configuration %s",
				     path);
	while ((rc = bak_payload_give(&reader, &p, &len, err)) > 0) {
		if (bak_buf_append(out, p, len) < 0)
			return bak_error_nomem(err);
	}
	return rc;
}

/* {"config": ..., "payload_schema": ...} */
static int read_config(struct load *l, json_t **out, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *path = bak_qdrant_file_name(l->t->source, BAK_QDRANT_CONFIG);
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;

	if (!path)
		return bak_error_nomem(err);
	if (read_small(l, path, &text, err) < 0)
		return -1;
	*out = json_loadb((const char *)text.p, text.len, 0, NULL);
	return *out ? 0
		    : bak_error_set(err, BAK_CORRUPT, "the snapshot's file %s is no JSON", path);
}

static int put_index(struct bak_qdrant *q, const char *collection, const char *field,
		     const json_t *schema, struct bak_error *err)
{
	const json_t *params = json_object_get(schema, "params");
	json_t *body = json_pack("{s:s, s:O*}", "field_name", field, "field_schema",
				 json_is_object(params) ? params
							: json_object_get(schema, "data_type"));
	int rc = body ? bak_qdrant_call(
				q->http, "PUT",
				bak_http_path("/collections/%s/index?wait=true", collection), body,
				true, NULL, err)
		      : bak_error_nomem(err);

	json_decref(body);
	return rc < 0 ? bak_error_wrap(err, "index on %s", field) : 0;
}

/* Indexes that the collection does not have yet. */
static int put_indexes(struct bak_qdrant *q, const char *collection, const json_t *want,
		       struct bak_error *err)
{
	json_t *info = NULL, *schema;
	const char *field;
	int rc = json_object_size(want) ? bak_qdrant_info(q->http, collection, &info, err) : 0;

	json_object_foreach((json_t *)(uintptr_t)want, field, schema)
	{
		if (rc < 0 || json_object_get(json_object_get(info, "payload_schema"), field))
			continue;
		rc = put_index(q, collection, field, schema, err);
	}
	json_decref(info);
	return rc < 0 ? -1 : 0;
}

/* Lines into requests. */
struct batch {
	struct load *l;
	const char *path;
	struct bak_buf body, line; /* line: its end has not come yet */
};

static int flush(struct batch *b, struct bak_error *err)
{
	struct bak_http_request request = {.method = "PUT", .path = b->path, .again = true};

	if (!b->body.len)
		return 0;
	if (bak_buf_append(&b->body, "]}", 2) < 0)
		return bak_error_nomem(err);
	request.body = b->body.p;
	request.body_len = b->body.len;
	if (bak_http_send(b->l->plan->q->http, &request, NULL, err) < 0)
		return -1;
	b->body.len = 0;
	return 0;
}

static int add_line(struct batch *b, const void *p, size_t len, struct bak_error *err)
{
	static const char head[] = "{\"points\":[";

	if (b->body.len && b->body.len + len > BATCH_BYTES && flush(b, err) < 0)
		return -1;
	if (bak_buf_append(&b->body, b->body.len ? "," : head, b->body.len ? 1 : sizeof head - 1) <
		    0 ||
	    bak_buf_append(&b->body, p, len) < 0)
		return bak_error_nomem(err);
	return 0;
}

static int add_piece(struct batch *b, const char *p, size_t len, struct bak_error *err)
{
	const char *end;

	while ((end = memchr(p, '\n', len)) != NULL) {
		size_t n = (size_t)(end - p);

		if (bak_buf_append(&b->line, p, n) < 0)
			return bak_error_nomem(err);
		if (add_line(b, b->line.p, b->line.len, err) < 0)
			return -1;
		b->line.len = 0;
		p += n + 1;
		len -= n + 1;
	}
	return bak_buf_append(&b->line, p, len) < 0 ? bak_error_nomem(err) : 0;
}

static int put_points(struct load *l, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr)
	char *path = bak_http_path("/collections/%s/points?wait=true", l->into);
	struct batch b = {.l = l, .path = path};
	const void *p;
	size_t len;
	int rc = path ? 1 : bak_error_nomem(err);

	while (rc > 0 && (rc = bak_payload_give(&l->reader, &p, &len, err)) > 0) {
		if (add_piece(&b, p, len, err) < 0)
			rc = -1;
	}
	if (rc == 0 && b.line.len)
		rc = bak_error_set(err, BAK_CORRUPT, "the file %s ends in the middle of a line",
				   l->t->file);
	if (rc == 0)
		rc = flush(&b, err);
	bak_buf_release(&b.body);
	bak_buf_release(&b.line);
	return rc;
}

static int make_and_fill(struct load *l, struct bak_error *err)
{
	struct bak_qdrant *q = l->plan->q;
	json_t *saved = NULL, *body = NULL;
	int rc = read_config(l, &saved, err);

	if (rc == 0) {
		body = bak_qdrant_create_body(json_object_get(saved, "config"));
		rc = body ? bak_qdrant_call(q->http, "PUT",
					    bak_http_path("/collections/%s", l->into), body, false,
					    NULL, err)
			  : bak_error_nomem(err);
		/* somebody else's is not ours to delete */
		l->sent = rc == 0 || err->code != BAK_EXISTS;
	}
	if (rc == 0)
		rc = put_points(l, err);
	if (rc == 0)
		rc = put_indexes(q, l->into, json_object_get(saved, "payload_schema"), err);
	json_decref(body);
	json_decref(saved);
	return rc;
}

/* --- is it all there --- */

static int check_count(struct load *l, struct bak_error *err)
{
	const json_t *facts = l->t->facts, *points = json_object_get(facts, "points");
	json_int_t before = json_integer_value(json_object_get(facts, "points_before"));
	json_int_t after = json_integer_value(json_object_get(facts, "points_after")), n;

	if (bak_qdrant_count(l->plan->q->http, l->into, NULL, &n, err) < 0)
		return -1;
	bak_store_log(l->plan->q->env, "%s has %" JSON_INTEGER_FORMAT " points", l->into, n);
	if (points && n != json_integer_value(points))
		return bak_error_set(err, BAK_CORRUPT,
				     "validation: %s has %" JSON_INTEGER_FORMAT
				     " points, and the snapshot %" JSON_INTEGER_FORMAT,
				     l->into, n, json_integer_value(points));
	if (!points && (before || after) &&
	    (n < (before < after ? before : after) || n > (before < after ? after : before)))
		bak_store_warn(l->plan->q->env,
			       "%s has %" JSON_INTEGER_FORMAT " points; %" JSON_INTEGER_FORMAT
			       " and %" JSON_INTEGER_FORMAT
			       " were counted before and after the snapshot, while others wrote",
			       l->into, n, before, after);
	return 0;
}

static int fill(struct load *l, struct bak_error *err)
{
	struct bak_qdrant *q = l->plan->q;
	struct bak_error second = BAK_ERROR_INIT;

	if (l->t->exported)
		return make_and_fill(l, err);
	if (upload(l, err) < 0)
		return -1;
	if (bak_qdrant_drop_snapshot(q, l->into, l->upload, &second) < 0)
		bak_store_warn(q->env, "the uploaded file %s of %s is left on the server: %s",
			       l->upload, l->into, second.msg);
	/* A collection that was there keeps its own list of indexes. */
	return l->is_there ? put_indexes(q, l->into, json_object_get(l->t->facts, "payload_schema"),
					 err)
			   : 0;
}

int bak_qdrant_load(struct bak_qdrant_plan *plan, struct bak_qdrant_target *t, const char *into,
		    bool is_there, struct bak_error *err)
{
	struct load l = {.plan = plan,
			 .t = t,
			 .into = into,
			 .is_there = is_there,
			 .reader = {.env = plan->q->env,
				    .source = plan->tree.source,
				    .inode = &t->found.entry.inode,
				    .before = plan->done,
				    .all = plan->bytes}};
	int rc;

	bak_store_log(plan->q->env, "restoring %s into %s", t->file, into);
	rc = fill(&l, err);
	if (rc == 0)
		rc = check_count(&l, err);
	if (rc < 0)
		clear_up(&l);
	plan->done += t->found.entry.inode.size;
	bak_payload_reader_release(&l.reader);
	return rc;
}
