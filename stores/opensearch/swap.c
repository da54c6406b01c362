/*
 * The exchange: all names lead to the new indices from one moment on, by one call that the server
 * does as a whole.
 *
 * An index cannot be renamed. One that has the name itself is copied before (by hard links; writing
 * to it is blocked from then on), and goes in the call that gives its name to the new one as an
 * alias; where the name is an alias already, the index behind it just loses it. Either is kept, and
 * a rollback is the same exchange the other way.
 *
 * state: {"text", "indices": [{"name", "fresh", "kept"?, "before": {alias: ...}, "after": {...}}],
 *         "moved": [{"index", "alias", "how"}], "definitions": [...]}
 * after: what leads to fresh; before: what led to kept; moved: aliases that other indices lost, as
 * they are the snapshot's.
 */
#include "stores/opensearch/opensearch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- what is there --- */

static int get_aliases(struct bak_os *os, const char *index, json_t **out, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *answer = NULL;

	if (bak_os_call(os->http, "GET", bak_http_path("/%s/_alias", index), NULL, &answer, err) <
	    0)
		return -1;
	*out = json_incref(bak_os_at(answer, index, "aliases"));
	if (!*out)
		*out = json_object();
	return *out ? 0 : bak_error_nomem(err);
}

static json_t *member(const json_t *list, const char *name)
{
	json_t *item;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)list, i, item)
	{
		if (strcmp(bak_os_text(item, "name"), name) == 0)
			return item;
	}
	return NULL;
}

/* *out: the index that the name leads to, to free, NULL for none. *out_alias: by an alias. */
static int resolve(struct bak_os *os, const char *name, char **out, bool *out_alias,
		   struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *answer = NULL;
	const json_t *index, *alias, *behind;
	const char *found = NULL;

	*out = NULL;
	*out_alias = false;
	if (bak_os_call(os->http, "GET",
			bak_http_path("/_resolve/index/%s?expand_wildcards=all", name), NULL,
			&answer, err) < 0)
		return err->code == BAK_NOT_FOUND ? 0 : -1;
	index = member(json_object_get(answer, "indices"), name);
	alias = member(json_object_get(answer, "aliases"), name);
	behind = json_object_get(alias, "indices");
	if (member(json_object_get(answer, "data_streams"), name))
		return bak_error_set(err, BAK_REFUSED, "%s is a data stream on the server", name);
	if (json_array_size(behind) > 1)
		return bak_error_set(err, BAK_REFUSED,
				     "%s is an alias of %zu indices on the server: it cannot be "
				     "replaced by one",
				     name, json_array_size(behind));
	*out_alias = alias != NULL;
	if (alias)
		found = json_string_value(json_array_get(behind, 0));
	else if (index)
		found = name;
	if (found && !(*out = strdup(found)))
		return bak_error_nomem(err);
	return 0;
}

int bak_os_find_old(struct bak_os_restore *r, struct bak_os_target *t, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *index = NULL;
	BAK_AUTO(bak_os_json_free) json_t *aliases = NULL;
	BAK_AUTO(bak_os_json_free) json_t *body = NULL;
	uint64_t bytes;
	bool alias;

	if (resolve(r->os, t->name, &index, &alias, err) < 0)
		return -1;
	if (!index)
		return 0;
	if (get_aliases(r->os, index, &aliases, err) < 0 ||
	    bak_os_describe(r->os, index, &body, &bytes, err) < 0)
		return bak_error_wrap(err,
				      "index %s cannot be kept as it is: open it or delete it "
				      "first",
				      index);
	t->old = json_pack("{s:s, s:b, s:O, s:O*}", "index", index, "alias", alias, "aliases",
			   aliases, "settings", bak_os_at(body, "settings", "index"));
	return t->old ? 0 : bak_error_nomem(err);
}

/* --- keeping the old one --- */

static void kept_name(const struct bak_os_restore *r, const struct bak_os_target *t, char *out,
		      size_t len)
{
	snprintf(out, len, "bakfs-before-%s-%s", r->stamp, t->name);
}

static bool was_blocked(const struct bak_os_target *t)
{
	const json_t *blocks = bak_os_at(t->old, "settings", "blocks");

	return strcmp(bak_os_text(blocks, "write"), "true") == 0;
}

static int unblock(struct bak_os *os, const char *index, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *body = json_pack("{s:n}", "index.blocks.write");

	if (!body)
		return bak_error_nomem(err);
	return bak_os_call(os->http, "PUT", bak_http_path("/%s/_settings", index), body, NULL, err);
}

/* By then no write is under way any more. */
static int block(struct bak_os *os, const char *index, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *answer = NULL;

	if (bak_os_call(os->http, "PUT", bak_http_path("/%s/_block/write", index), NULL, &answer,
			err) < 0)
		return -1;
	if (!json_is_true(json_object_get(answer, "shards_acknowledged")))
		return bak_error_set(err, BAK_UNAVAILABLE,
				     "index %s: not all shards stop to take writes", index);
	return 0;
}

static int copy_old(struct bak_os *os, const struct bak_os_target *t, const char *kept,
		    struct bak_error *err)
{
	const json_t *settings = json_object_get(t->old, "settings");
	const char *replicas = bak_os_text(settings, "number_of_replicas");
	BAK_AUTO(bak_os_json_free)
	json_t *body = json_pack("{s:{s:s}}", "settings", "index.number_of_replicas",
				 *replicas ? replicas : "1");
	uint64_t was, is;

	if (!body)
		return bak_error_nomem(err);
	if (bak_os_count(os, t->name, &was, err) < 0 || block(os, t->name, err) < 0 ||
	    bak_os_call(os->http, "POST",
			bak_http_path("/%s/_clone/%s?wait_for_active_shards=0", t->name, kept),
			body, NULL, err) < 0 ||
	    bak_os_wait_active(os, kept, err) < 0 || bak_os_count(os, t->name, &was, err) < 0 ||
	    bak_os_count(os, kept, &is, err) < 0)
		return -1;
	if (is == was)
		return was_blocked(t) ? 0 : unblock(os, kept, err);
	return bak_error_set(err, BAK_CORRUPT, "the copy has %llu documents, and it %llu",
			     (unsigned long long)is, (unsigned long long)was);
}

/* Those that have the name themselves. */
static int keep_all(struct bak_os_restore *r, json_t *entries, struct bak_error *err)
{
	for (size_t i = 0; i < r->n; i++) {
		const char *kept = bak_os_text(json_array_get(entries, i), "kept");

		if (!r->v[i].old || json_is_true(json_object_get(r->v[i].old, "alias")))
			continue;
		bak_store_log(r->os->env, "keeping %s as %s", r->v[i].name, kept);
		if (copy_old(r->os, &r->v[i], kept, err) < 0)
			return bak_error_wrap(err, "keeping index %s as %s", r->v[i].name, kept);
	}
	return 0;
}

/* Nothing was exchanged: the old ones are as they were. */
static void forget_kept(struct bak_os_restore *r, const json_t *entries)
{
	struct bak_error err = BAK_ERROR_INIT;

	for (size_t i = 0; i < r->n; i++) {
		const char *kept = bak_os_text(json_array_get(entries, i), "kept");
		const struct bak_os_target *t = &r->v[i];

		if (!t->old || json_is_true(json_object_get(t->old, "alias")))
			continue;
		if (!was_blocked(t) && unblock(r->os, t->name, &err) < 0)
			bak_store_warn(r->os->env, "index %s may refuse writes: %s", t->name,
				       err.msg);
		if (bak_os_delete(r->os->http, bak_http_path("/%s", kept), NULL, 0, &err) < 0)
			bak_store_warn(r->os->env, "index %s is left over: delete it: %s", kept,
				       err.msg);
	}
}

/* --- the exchange --- */

static int act(json_t *actions, const char *what, const char *index, const char *alias,
	       const json_t *how)
{
	json_t *detail = json_object();
	int rc = json_object_set_new(detail, "index", json_string(index));

	if (json_is_object(how))
		rc |= json_object_update(detail, (json_t *)(uintptr_t)how);
	if (alias)
		rc |= json_object_set_new(detail, "alias", json_string(alias));
	rc |= json_array_append_new(actions, json_pack("{s:o}", what, detail));
	return rc;
}

/* The name and the aliases, from one index to another; either may be NULL. */
static int move_aliases(json_t *actions, const char *name, const char *from, const json_t *have,
			const char *to, const json_t *want)
{
	json_t *how;
	const char *alias;
	int rc = 0;

	json_object_foreach((json_t *)(uintptr_t)have, alias, how)
	{
		if (from)
			rc |= act(actions, "remove", from, alias, NULL);
	}
	if (!to)
		return rc;
	rc |= act(actions, "add", to, name, json_object_get(want, name));
	json_object_foreach((json_t *)(uintptr_t)want, alias, how)
	{
		if (strcmp(alias, name) != 0)
			rc |= act(actions, "add", to, alias, how);
	}
	return rc;
}

static int send_actions(struct bak_os *os, json_t *actions, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *body = json_pack("{s:O}", "actions", actions);

	if (!body)
		return bak_error_nomem(err);
	return bak_os_call(os->http, "POST", bak_http_path("/_aliases"), body, NULL, err);
}

/* --- aliases that others have --- */

/* In the snapshot, the index that is called so had that alias. */
static bool had_alias(const struct bak_os_restore *r, const char *index, const char *alias)
{
	const char *own = bak_os_own_name(index);
	const json_t *its = member(json_object_get(r->facts, "indices"), own ? own : index);

	return bak_os_at(its, "aliases", alias) != NULL;
}

static bool is_restored(const json_t *entries, const char *index)
{
	const json_t *entry;
	size_t i;

	json_array_foreach(entries, i, entry)
	{
		if (strcmp(bak_os_text(entry, "kept"), index) == 0 ||
		    strcmp(bak_os_text(entry, "name"), index) == 0 ||
		    strcmp(bak_os_text(entry, "fresh"), index) == 0)
			return true;
	}
	return false;
}

/* An alias of the snapshot that leads to an index which did not have it then: a restore of all takes
 * it from there, one of a part leaves it there alone. */
static int settle_alias(struct bak_os_restore *r, const json_t *entries, const char *index,
			const char *alias, json_t *how, json_t *moved)
{
	bool wanted = false;
	json_t *entry;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)entries, i, entry)
	{
		json_t *after = json_object_get(entry, "after");

		wanted = wanted || json_object_get(after, alias);
		if (!r->whole)
			json_object_del(after, alias);
	}
	if (!wanted)
		return 0;
	if (!r->whole) {
		bak_store_warn(r->os->env, "alias %s stays with index %s alone", alias, index);
		return 0;
	}
	bak_store_log(r->os->env, "alias %s goes from index %s", alias, index);
	return json_array_append_new(
		moved, json_pack("{s:s, s:s, s:O}", "index", index, "alias", alias, "how", how));
}

static int settle_aliases(struct bak_os_restore *r, const json_t *entries, json_t *moved,
			  struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *all = NULL;
	const char *index, *alias;
	json_t *its, *how;
	int rc = 0;

	if (bak_os_call(r->os->http, "GET", bak_http_path("/_alias"), NULL, &all, err) < 0)
		return -1;
	json_object_foreach(all, index, its)
	{
		if (is_restored(entries, index))
			continue;
		json_object_foreach(json_object_get(its, "aliases"), alias, how)
		{
			if (!had_alias(r, index, alias))
				rc |= settle_alias(r, entries, index, alias, how, moved);
		}
	}
	return rc < 0 ? bak_error_nomem(err) : 0;
}

/* Takes them away, or gives them back. */
static int move_others(json_t *actions, const json_t *moved, bool back)
{
	const json_t *one;
	size_t i;
	int rc = 0;

	json_array_foreach(moved, i, one)
	{
		rc |= act(actions, back ? "add" : "remove", bak_os_text(one, "index"),
			  bak_os_text(one, "alias"), back ? json_object_get(one, "how") : NULL);
	}
	return rc;
}

/* --- all of it --- */

static int exchange(struct bak_os_restore *r, const json_t *entries, const json_t *moved,
		    struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *actions = json_array();
	int rc = actions ? move_others(actions, moved, false) : -1;

	for (size_t i = 0; i < r->n; i++) {
		const struct bak_os_target *t = &r->v[i];
		const json_t *entry = json_array_get(entries, i);
		bool alias = json_is_true(json_object_get(t->old, "alias"));

		if (t->old && !alias)
			rc |= act(actions, "remove_index", t->name, NULL, NULL);
		rc |= move_aliases(actions, t->name, alias ? bak_os_text(t->old, "index") : NULL,
				   json_object_get(entry, "before"), t->fresh,
				   json_object_get(entry, "after"));
	}
	if (rc < 0)
		return bak_error_nomem(err);
	return send_actions(r->os, actions, err);
}

/* 1 the names lead to the new ones, 0 they do not, -1 nobody knows. */
static int is_exchanged(struct bak_os_restore *r)
{
	struct bak_error err = BAK_ERROR_INIT;
	bool alias;
	char *index;

	if (resolve(r->os, r->v[0].name, &index, &alias, &err) < 0)
		return -1;
	int rc = index && strcmp(index, r->v[0].fresh) == 0;
	free(index);
	return rc;
}

static json_t *plan(struct bak_os_restore *r)
{
	json_t *entries = json_array();
	int rc = entries ? 0 : -1;

	for (size_t i = 0; rc == 0 && i < r->n; i++) {
		const struct bak_os_target *t = &r->v[i];
		char kept[BAK_OS_NAME_MAX + 40];
		json_t *after = json_object_get(t->facts, "aliases");
		json_t *before = json_object_get(t->old, "aliases");

		if (json_is_true(json_object_get(t->old, "alias")))
			snprintf(kept, sizeof kept, "%s", bak_os_text(t->old, "index"));
		else
			kept_name(r, t, kept, sizeof kept);
		rc = json_array_append_new(
			entries,
			json_pack("{s:s, s:s, s:s*, s:O*, s:o}", "name", t->name, "fresh", t->fresh,
				  "kept", t->old ? kept : NULL, "before", before, "after",
				  json_is_object(after) ? json_copy(after) : json_object()));
	}
	if (rc == 0)
		return entries;
	json_decref(entries);
	return NULL;
}

/* What a rollback will put back, for its question. */
static json_t *describe(const struct bak_os_restore *r)
{
	if (r->n == 0)
		return json_string("templates and pipelines");
	if (r->n == 1)
		return json_sprintf("index %s", r->v[0].name);
	return json_sprintf("index %s and %zu more", r->v[0].name, r->n - 1);
}

/* Behind the point of no return. */
static int do_swap(struct bak_os_restore *r, json_t *entries, const json_t *moved,
		   const json_t *definitions, json_t *undo, struct bak_error *err)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	int rc = keep_all(r, entries, err), done = 0;

	if (rc == 0 && definitions)
		rc = bak_os_definitions_put(r->os, definitions, undo, err);
	if (rc == 0 && r->n) {
		rc = exchange(r, entries, moved, err);
		/* The answer may be lost, and the work be done. */
		done = rc == 0 ? 1 : is_exchanged(r);
		if (done > 0)
			rc = 0;
	}
	if (rc == 0)
		return 0;
	if (done < 0) {
		for (size_t i = 0; i < r->n; i++)
			r->v[i].made = false;
		return bak_error_wrap(err,
				      "the server is gone, and nobody knows whether alias %s leads "
				      "to %s now; the old index is kept as %s",
				      r->v[0].name, r->v[0].fresh,
				      bak_os_text(json_array_get(entries, 0), "kept"));
	}
	if (bak_os_definitions_undo(r->os, undo, false, &scratch) < 0)
		bak_store_warn(r->os->env, "%s", scratch.msg);
	forget_kept(r, entries);
	return -1;
}

int bak_os_swap(struct bak_os_restore *r, json_t *state, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *definitions = NULL;
	json_t *entries = plan(r), *undo = json_array(), *moved = json_array();

	if (json_object_set_new(state, "text", describe(r)) < 0 ||
	    json_object_set_new(state, "indices", entries) < 0 ||
	    json_object_set_new(state, "moved", moved) < 0 ||
	    json_object_set_new(state, "definitions", undo) < 0)
		return bak_error_nomem(err);
	if (settle_aliases(r, entries, moved, err) < 0)
		return -1;
	if (r->whole && bak_os_definitions_read(&r->tree, r->os->env, &definitions, err) < 0)
		return -1;
	if (bak_store_no_return(r->os->env, err) < 0)
		return -1;
	bak_os_go_on(r->os);
	return do_swap(r, entries, moved, definitions, undo, err);
}

/* --- and back --- */

/* What leads to an index now, of all that one of the two ever had. */
static int aliases_now(struct bak_os *os, const char *index, const json_t *entry, json_t **out,
		       struct bak_error *err)
{
	const char *name = bak_os_text(entry, "name"), *alias;
	json_t *how;
	void *next;

	if (get_aliases(os, index, out, err) < 0)
		return -1;
	json_object_foreach_safe(*out, next, alias, how)
	{
		if (strcmp(alias, name) != 0 && !bak_os_at(entry, "before", alias) &&
		    !bak_os_at(entry, "after", alias))
			json_object_del(*out, alias);
	}
	return 0;
}

/* *again: the last one was undone already, so it is done again. */
static int plan_back(struct bak_os *os, const json_t *entry, bool *again, json_t *actions,
		     struct bak_error *err)
{
	const char *name = bak_os_text(entry, "name"), *fresh = bak_os_text(entry, "fresh");
	const char *kept = *bak_os_text(entry, "kept") ? bak_os_text(entry, "kept") : NULL;
	BAK_AUTO(bak_os_json_free) json_t *have = NULL;
	BAK_AUTO(bak_free_ptr) char *index = NULL;
	bool alias;

	if (!*name || !*fresh)
		return bak_error_set(err, BAK_CORRUPT,
				     "the record of the last restore names no indices");
	if (resolve(os, name, &index, &alias, err) < 0)
		return -1;
	if (index && !alias)
		return bak_error_set(err, BAK_REFUSED,
				     "%s is an index of its own again: what was there before the "
				     "restore is %s",
				     name, kept ? kept : "nothing");
	*again = !index || strcmp(index, fresh) != 0;
	const char *to = *again ? fresh : kept;
	if (index && aliases_now(os, index, entry, &have, err) < 0)
		return -1;
	if (to &&
	    bak_os_call(os->http, "GET", bak_http_path("/%s/_alias", to), NULL, NULL, err) < 0)
		return bak_error_wrap(err, "index %s is not there any more", to);
	return move_aliases(actions, name, index, have, to,
			    json_object_get(entry, *again ? "after" : "before")) < 0
		       ? bak_error_nomem(err)
		       : 0;
}

int bak_os_rollback(struct bak_os *os, const json_t *state, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *actions = json_array();
	const json_t *entries = json_object_get(state, "indices"), *entry;
	const json_t *undo = json_object_get(state, "definitions");
	bool again = false;
	size_t i;

	if (!actions)
		return bak_error_nomem(err);
	if (bak_os_look(os, err) < 0)
		return -1;
	if (!json_array_size(entries) && !json_array_size(undo))
		return bak_error_set(err, BAK_NOT_FOUND, "the last restore changed no index");
	json_array_foreach(entries, i, entry)
	{
		if (plan_back(os, entry, &again, actions, err) < 0)
			return -1;
	}
	if (move_others(actions, json_object_get(state, "moved"), !again) < 0)
		return bak_error_nomem(err);
	if (json_array_size(actions) && send_actions(os, actions, err) < 0)
		return -1;
	return bak_os_definitions_undo(os, undo, again, err);
}
