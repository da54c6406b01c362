/*
 * Collections put on a server: each is made whole under a name of its own and compared, then all
 * old ones take a name that says when they were replaced, and the new ones theirs.
 *
 * state: {"collections": [{"tenant", "database", "name", "kept", "replaced", "made"}], "text": in
 * words}: names to be exchanged again by a rollback; replaced: there was an old one; made: there is a
 * new one.
 */
#include "stores/chroma/chroma.h"

#include "engine/objects/snapshot.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct target {
	struct bak_chroma *chroma;
	const struct bak_chroma_source *source;
	struct bak_http *tidy; /* cleans up, whoever cancels */
	struct bak_chroma_list live;
	json_t *state, *counts;
	struct made {
		char fresh[BAK_CHROMA_NAME_LEN];
		char *id;
	} * made;
	size_t n_made;
	struct bak_chroma_database *databases; /* that we made */
	size_t n_databases;
};

/* --- databases --- */

static bool has_database(const struct target *t, const struct bak_chroma_collection *c)
{
	for (size_t i = 0; i < t->live.n_databases; i++) {
		if (strcmp(t->live.databases[i].tenant, c->tenant) == 0 &&
		    strcmp(t->live.databases[i].name, c->database) == 0)
			return true;
	}
	return false;
}

/* Makes what may be there already: 1 made, 0 it was there, -1. */
static int make(struct target *t, const char *path, const char *name, struct bak_error *err)
{
	json_t *body = json_pack("{s:s}", "name", name);
	int rc = path && body ? bak_http_json(t->chroma->http, "POST", path, body, NULL, err)
			      : bak_error_nomem(err);

	json_decref(body);
	if (rc == 0)
		return 1;
	if (err->code != BAK_EXISTS)
		return -1;
	*err = (struct bak_error)BAK_ERROR_INIT;
	return 0;
}

static int need_database(struct target *t, const struct bak_chroma_collection *c,
			 struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr)
	char *path = bak_http_path("/api/v2/tenants/%s/databases", c->tenant);
	int rc;

	if (has_database(t, c))
		return 0;
	if (make(t, "/api/v2/tenants", c->tenant, err) < 0)
		return -1;
	rc = make(t, path, c->database, err);
	if (rc <= 0)
		return rc;
	struct bak_chroma_database made = {strdup(c->tenant), strdup(c->database)};

	t->databases[t->n_databases] = made;
	if (!made.tenant || !made.name)
		return bak_error_nomem(err);
	t->n_databases++;
	return 0;
}

/* --- making the new ones --- */

static int make_one(struct target *t, size_t i, struct bak_error *err)
{
	const struct bak_chroma_collection *c = &t->source->collections[i];
	BAK_AUTO(bak_free_ptr) char *full = bak_chroma_full_name(c);
	struct made *made = &t->made[t->n_made];
	struct bak_chroma_rows rows;
	uint64_t n = 0;
	int rc;

	if (!full)
		return bak_error_nomem(err);
	if (need_database(t, c, err) < 0 || t->source->open(t->source->ctx, i, &rows, err) < 0)
		return -1;
	rc = bak_chroma_anew(t->chroma, c, &rows, made->fresh, &made->id, &n, err);
	t->source->close(t->source->ctx, &rows);
	if (rc < 0)
		return bak_error_wrap(err, "collection %s", c->name);
	t->n_made++;
	bak_store_log(t->chroma->env, "%s: %" PRIu64 " rows added and compared", full, n);
	return json_object_set_new(t->counts, full, json_integer((json_int_t)n)) < 0
		       ? bak_error_nomem(err)
		       : 0;
}

/* What was made and is of no use any more. */
static void remove_made(struct target *t)
{
	struct bak_error scratch = BAK_ERROR_INIT;

	for (size_t i = 0; i < t->n_made; i++) {
		if (bak_chroma_delete(t->tidy, &t->source->collections[i], t->made[i].fresh,
				      &scratch) < 0)
			bak_store_warn(t->chroma->env, "collection %s is left over: %s",
				       t->made[i].fresh, scratch.msg);
	}
	for (size_t i = 0; i < t->n_databases; i++) {
		BAK_AUTO(bak_free_ptr)
		char *path = bak_http_path("/api/v2/tenants/%s/databases/%s",
					   t->databases[i].tenant, t->databases[i].name);

		if (!path || bak_http_json(t->tidy, "DELETE", path, NULL, NULL, &scratch) < 0)
			bak_store_warn(t->chroma->env, "database %s is left over: %s",
				       t->databases[i].name, scratch.msg);
	}
}

/* --- names --- */

#define KEPT_TRIES 100

static int kept_name(struct target *t, const struct bak_chroma_collection *c,
		     char out[BAK_CHROMA_NAME_LEN], struct bak_error *err)
{
	char stamp[BAK_STAMP_LEN + 1];

	bak_stamp_format(time(NULL), stamp);
	snprintf(out, BAK_CHROMA_NAME_LEN, "%.*s.before-%s", bak_chroma_head_len(c->name), c->name,
		 stamp);
	for (int i = 2; i < KEPT_TRIES; i++) {
		BAK_AUTO(bak_free_ptr) char *taken = NULL;
		int rc = bak_chroma_find(t->chroma->http, c, out, &taken, err);

		if (rc <= 0)
			return rc;
		snprintf(out, BAK_CHROMA_NAME_LEN, "%.*s.before-%s-%d",
			 bak_chroma_head_len(c->name), c->name, stamp, i);
	}
	return bak_error_set(err, BAK_EXISTS, "no name is free to keep %s under", c->name);
}

static int note(struct target *t, const struct bak_chroma_collection *c, const char *kept,
		bool replaced, bool made, struct bak_error *err)
{
	json_t *entry = json_pack("{s:s, s:s, s:s, s:s, s:b, s:b}", "tenant", c->tenant, "database",
				  c->database, "name", c->name, "kept", kept, "replaced", replaced,
				  "made", made);

	return entry && json_array_append_new(json_object_get(t->state, "collections"), entry) == 0
		       ? 0
		       : bak_error_nomem(err);
}

static bool same_place(const struct bak_chroma_collection *a, const struct bak_chroma_collection *b)
{
	return strcmp(a->name, b->name) == 0 && strcmp(a->database, b->database) == 0 &&
	       strcmp(a->tenant, b->tenant) == 0;
}

static int plan_new(struct target *t, size_t i, struct bak_chroma_swap *swap, struct bak_error *err)
{
	const struct bak_chroma_collection *c = &t->source->collections[i];
	BAK_AUTO(bak_free_ptr) char *old = NULL;
	char kept[BAK_CHROMA_NAME_LEN];

	/* By its name, as the options need not choose it. */
	if (bak_chroma_find(t->chroma->http, c, c->name, &old, err) < 0 ||
	    kept_name(t, c, kept, err) < 0 || note(t, c, kept, old != NULL, true, err) < 0)
		return -1;
	if (old && bak_chroma_swap_add(swap, c, c->name, old, kept, err) < 0)
		return -1;
	return bak_chroma_swap_add(swap, c, t->made[i].fresh, t->made[i].id, c->name, err);
}

/* What the snapshot does not have makes way too. */
static int plan_rest(struct target *t, struct bak_chroma_swap *swap, struct bak_error *err)
{
	for (size_t i = 0; i < t->live.n; i++) {
		const struct bak_chroma_collection *c = &t->live.v[i];
		bool there = false;
		char kept[BAK_CHROMA_NAME_LEN];

		for (size_t j = 0; j < t->source->n && !there; j++)
			there = same_place(c, &t->source->collections[j]);
		if (there)
			continue;
		if (kept_name(t, c, kept, err) < 0 || note(t, c, kept, true, false, err) < 0 ||
		    bak_chroma_swap_add(swap, c, c->name, c->id, kept, err) < 0)
			return -1;
		bak_store_log(t->chroma->env, "%s is not in the snapshot: it is kept as %s",
			      c->name, kept);
	}
	return 0;
}

static int plan(struct target *t, struct bak_chroma_swap *swap, struct bak_error *err)
{
	for (size_t i = 0; i < t->source->n; i++) {
		if (plan_new(t, i, swap, err) < 0)
			return -1;
	}
	return t->source->whole ? plan_rest(t, swap, err) : 0;
}

static void log_kept(struct target *t)
{
	json_t *entry;
	size_t i;

	json_array_foreach(json_object_get(t->state, "collections"), i, entry)
	{
		if (json_is_true(json_object_get(entry, "replaced")))
			bak_store_log(t->chroma->env,
				      "what was %s is kept as %s; delete it when all is well",
				      json_string_value(json_object_get(entry, "name")),
				      json_string_value(json_object_get(entry, "kept")));
	}
}

/* --- the whole --- */

static int set_up(struct target *t, struct bak_error *err)
{
	t->made = calloc(t->source->n + 1, sizeof *t->made);
	t->databases = calloc(t->source->n + 1, sizeof *t->databases);
	if (!t->made || !t->databases || !t->counts ||
	    json_object_set_new(t->state, "collections", json_array()) < 0)
		return bak_error_nomem(err);
	/* A tenant that is not there yet has nothing. */
	if (bak_chroma_list(t->chroma, t->chroma->http, &t->live, err) < 0 &&
	    err->code != BAK_NOT_FOUND)
		return -1;
	*err = (struct bak_error)BAK_ERROR_INIT;
	return bak_http_undoing(t->chroma->http, &t->tidy, err);
}

/* For who is asked whether to roll back. */
static int describe(struct target *t, struct bak_error *err)
{
	size_t n = json_array_size(json_object_get(t->state, "collections"));

	return json_object_set_new(t->state, "text",
				   json_sprintf("%zu collection%s", n, n == 1 ? "" : "s")) < 0
		       ? bak_error_nomem(err)
		       : 0;
}

static int put_in_place(struct target *t, struct bak_error *err)
{
	struct bak_chroma_swap swap = {.n = 0};
	bool undone = true;
	int rc = plan(t, &swap, err);

	if (rc == 0)
		rc = describe(t, err);
	if (rc == 0)
		rc = bak_store_no_return(t->chroma->env, err);
	if (rc == 0 && bak_chroma_swap_run(t->chroma->http, &swap, &undone, err) < 0) {
		rc = -1;
		if (undone)
			json_object_set_new(t->state, "unchanged", json_true());
	}
	/* Where a name could not be put back, new rows may stand under the live one. */
	if (rc < 0 && !undone) {
		for (size_t i = 0; i < t->n_made; i++)
			bak_store_warn(t->chroma->env, "collection %s may be left over",
				       t->made[i].fresh);
		t->n_made = t->n_databases = 0;
	}
	bak_chroma_swap_release(&swap);
	return rc;
}

static void release(struct target *t)
{
	bak_http_close(t->tidy);
	bak_chroma_list_release(&t->live);
	json_decref(t->counts);
	for (size_t i = 0; t->made && i < t->source->n; i++)
		free(t->made[i].id);
	for (size_t i = 0; t->databases && i < t->source->n; i++) {
		free(t->databases[i].tenant);
		free(t->databases[i].name);
	}
	free(t->made);
	free(t->databases);
}

int bak_chroma_restore_source(struct bak_chroma *chroma, const struct bak_chroma_source *source,
			      json_t *state, struct bak_error *err)
{
	struct target t = {
		.chroma = chroma, .source = source, .state = state, .counts = json_object()};
	int rc = set_up(&t, err);

	for (size_t i = 0; i < source->n && rc == 0; i++)
		rc = make_one(&t, i, err);
	if (rc == 0)
		rc = put_in_place(&t, err);
	if (rc < 0) {
		remove_made(&t);
	} else {
		log_kept(&t);
		json_decref(chroma->restored_counts);
		chroma->restored_counts = json_incref(t.counts);
	}
	release(&t);
	return rc;
}
