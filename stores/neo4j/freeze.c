/*
 * The graph held still while it is read: a transaction creates an index for each label and each type
 * and never commits it, so that whoever wants to write to these waits; readers do not. It is rolled
 * back at the end, and that the server still knows it then proves that it has held.
 *
 * Not held: nodes without labels, and labels and types that appear meanwhile.
 */
#include "stores/neo4j/neo4j.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A transaction that hears nothing for 30 s is rolled back. */
#define PING_MS 5000
/* A writer that waits for us while we wait for it is one's end: then all is tried again. */
#define TRIES 5
#define PROPERTY "_bakfs_freeze"

struct bak_neo4j_freeze {
	struct bak_neo4j *neo4j;
	struct bak_http *http; /* of its own: the other one is busy with rows */
	char *transaction;     /* "query/v2/tx/<id>"; NULL: not yet */
	unsigned n;            /* statements so far */
	int64_t pinged;
	json_t *labels, *types;
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* --- the transaction --- */

static int begin(struct bak_neo4j_freeze *f, const json_t *around, struct bak_error *err)
{
	const char *id = json_string_value(
		json_object_get(json_object_get(around, "transaction"), "id"));
	BAK_AUTO(bak_free_ptr) char *path = id ? bak_http_path("query/v2/tx/%s", id) : NULL;

	if (!id)
		return bak_error_set(err, BAK_CORRUPT, "Neo4j has begun a transaction without id");
	if (!path)
		return bak_error_nomem(err);
	f->transaction = path;
	path = NULL;
	return 0;
}

static int run(struct bak_neo4j_freeze *f, const char *text, struct bak_error *err)
{
	json_t *around = NULL;
	struct bak_neo4j_statement statement = {.http = f->http,
						.text = text,
						.transaction = f->transaction ? f->transaction
									      : "query/v2/tx",
						.around = &around};
	int rc = bak_neo4j_ask(f->neo4j, &statement, NULL, NULL, err);

	if (rc == 0 && !f->transaction)
		rc = begin(f, around, err);
	json_decref(around);
	f->pinged = now_ms();
	return rc;
}

static int hold(struct bak_neo4j_freeze *f, const char *before, const char *name,
		const char *behind, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;

	if (bak_buf_printf(&text, "CREATE INDEX `" PROPERTY "_%u` FOR %s", f->n++, before) < 0)
		return bak_error_nomem(err);
	if (bak_neo4j_quote(&text, name, err) < 0)
		return -1;
	if (bak_buf_append(&text, behind, strlen(behind) + 1) < 0)
		return bak_error_nomem(err);
	return run(f, (const char *)text.p, err);
}

static int hold_all(struct bak_neo4j_freeze *f, struct bak_error *err)
{
	const char *name;
	size_t i;
	json_t *value;

	if (run(f, "RETURN 1", err) < 0)
		return -1;
	json_array_foreach(f->labels, i, value)
	{
		name = json_string_value(value);
		if (hold(f, "(n:", name, ") ON (n.`" PROPERTY "`)", err) < 0)
			return bak_error_wrap(err, "freezing label %s", name);
	}
	json_array_foreach(f->types, i, value)
	{
		name = json_string_value(value);
		if (hold(f, "()-[r:", name, "]-() ON (r.`" PROPERTY "`)", err) < 0)
			return bak_error_wrap(err, "freezing type %s", name);
	}
	return 0;
}

static int end(struct bak_neo4j_freeze *f, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *escaped = bak_http_path("/db/%s/", f->neo4j->database);
	BAK_AUTO(bak_free_ptr) char *path = NULL;
	struct bak_http_request request = {.method = "DELETE"};
	int rc;

	if (!f->transaction)
		return 0;
	if (!escaped || asprintf(&path, "%s%s", escaped, f->transaction) < 0) {
		path = NULL;
		return bak_error_nomem(err);
	}
	request.path = path;
	rc = bak_http_send(f->http, &request, NULL, err);
	free(f->transaction);
	f->transaction = NULL;
	return rc;
}

/* --- what there is --- */

static int take_name(void *ctx, const json_t *row, struct bak_error *err)
{
	const char *name = bak_neo4j_text(json_array_get(row, 0));

	if (!name)
		return bak_error_set(err, BAK_CORRUPT, "Neo4j answers with something without name");
	return json_array_append_new(ctx, json_string(name)) < 0 ? bak_error_nomem(err) : 0;
}

static int list(struct bak_neo4j *neo4j, const char *text, json_t **out, struct bak_error *err)
{
	const struct bak_neo4j_statement statement = {.text = text, .read = true};

	*out = json_array();
	return *out ? bak_neo4j_ask(neo4j, &statement, take_name, *out, err) : bak_error_nomem(err);
}

static int list_all(struct bak_neo4j *neo4j, json_t **labels, json_t **types, struct bak_error *err)
{
	if (list(neo4j, "CALL db.labels() YIELD label RETURN label ORDER BY label", labels, err) <
	    0)
		return -1;
	return list(neo4j,
		    "CALL db.relationshipTypes() YIELD relationshipType AS t RETURN t ORDER BY t",
		    types, err);
}

/* --- for the export --- */

void bak_neo4j_freeze_drop(struct bak_neo4j_freeze *f)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	struct bak_http *undoing;

	if (!f)
		return;
	/* Writers must not wait for it to expire because somebody cancelled. */
	if (f->transaction && bak_http_undoing(f->http, &undoing, &scratch) == 0) {
		bak_http_close(f->http);
		f->http = undoing;
	}
	if (f->http && end(f, &scratch) < 0 && scratch.code != BAK_NOT_FOUND)
		bak_store_log(f->neo4j->env, "the freeze ends by itself within a minute: %s",
			      scratch.msg);
	bak_http_close(f->http);
	json_decref(f->labels);
	json_decref(f->types);
	free(f);
}

static int hold_at_last(struct bak_neo4j_freeze *f, struct bak_error *err)
{
	struct bak_error scratch = BAK_ERROR_INIT;

	for (int i = 1;; i++) {
		if (hold_all(f, err) == 0)
			return 0;
		if (i == TRIES || !strstr(err->msg, "DeadlockDetected"))
			return -1;
		bak_store_log(f->neo4j->env, "%s: once more", err->msg);
		end(f, &scratch);
	}
}

int bak_neo4j_freeze(struct bak_neo4j *neo4j, struct bak_neo4j_freeze **out, struct bak_error *err)
{
	struct bak_neo4j_freeze *f = calloc(1, sizeof *f);
	int rc;

	if (!f)
		return bak_error_nomem(err);
	f->neo4j = neo4j;
	rc = bak_http_again(neo4j->http, &f->http, err);
	if (rc == 0)
		rc = list_all(neo4j, &f->labels, &f->types, err);
	if (rc == 0)
		rc = hold_at_last(f, err);
	if (rc < 0) {
		bak_neo4j_freeze_drop(f);
		return -1;
	}
	bak_store_log(neo4j->env, "frozen: %zu labels and %zu types", json_array_size(f->labels),
		      json_array_size(f->types));
	*out = f;
	return 0;
}

static int lost(struct bak_error *err)
{
	if (err->code == BAK_CANCELLED)
		return -1;
	err->code = BAK_UNAVAILABLE;
	return bak_error_wrap(err, "the freeze was lost, so what was read is not one instant");
}

int bak_neo4j_freeze_ping(struct bak_neo4j_freeze *f, struct bak_error *err)
{
	if (now_ms() - f->pinged < PING_MS)
		return 0;
	return run(f, "RETURN 1", err) < 0 ? lost(err) : 0;
}

int bak_neo4j_thaw(struct bak_neo4j_freeze *f, struct bak_error *err)
{
	json_t *labels = NULL, *types = NULL;
	int rc = list_all(f->neo4j, &labels, &types, err);

	if (rc == 0 && (!json_equal(labels, f->labels) || !json_equal(types, f->types)))
		rc = bak_error_set(err, BAK_UNAVAILABLE,
				   "a label or type appeared during the freeze, which does not "
				   "hold those: try again");
	/* One that was terminated can still be rolled back: only a statement tells. */
	if (rc == 0 && (run(f, "RETURN 1", err) < 0 || end(f, err) < 0))
		rc = lost(err);
	json_decref(labels);
	json_decref(types);
	bak_neo4j_freeze_drop(f);
	return rc;
}
