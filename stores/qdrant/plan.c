/*
 * What a restore is going to do: which collections, under which names, by which way. All that can
 * be refused is refused here, before anything is sent.
 */
#include "stores/qdrant/qdrant.h"

#include "engine/objects/snapshot.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* --- which collections --- */

static bool is_chosen(const struct bak_restore_from *from, const char *file)
{
	for (size_t i = 0; i < from->n_only; i++) {
		const char *path = from->only[i];

		path += strspn(path, "./");
		if (strncmp(path, file, strlen(file)) == 0 && !path[strlen(file)])
			return true;
	}
	return from->n_only == 0;
}

static int choose_target(struct bak_qdrant_plan *p, const json_t *facts, struct bak_error *err)
{
	const char *mode = text_of(facts, "mode");
	struct bak_qdrant_target *t = &p->targets[p->n];
	int rc;

	*t = (struct bak_qdrant_target){.facts = facts,
					.source = text_of(facts, "name"),
					.file = text_of(facts, "file"),
					.exported = mode && strcmp(mode, "export") == 0,
					.found = BAK_FOUND_INIT};
	if (!t->source || !t->file || strlen(t->source) > BAK_QDRANT_NAME_MAX)
		return bak_error_set(err, BAK_CORRUPT, "the manifest names no collections");
	if (!is_chosen(p->from, t->file) ||
	    (p->repair && !bak_qdrant_has(p->q->replaced, t->source)))
		return 0;
	p->n++;
	t->name = t->source;
	t->aliases = json_object();
	if (!t->aliases)
		return bak_error_nomem(err);
	rc = bak_tree_path(&p->tree, t->file, &t->found, err);
	if (rc == 0 || (rc == 1 && t->found.entry.inode.type != BAK_TYPE_FILE))
		return bak_error_set(err, BAK_CORRUPT, "the snapshot has no file %s", t->file);
	if (rc == 1)
		p->bytes += t->found.entry.inode.size;
	return rc < 0 ? -1 : 0;
}

static int choose(struct bak_qdrant_plan *p, struct bak_error *err)
{
	const char *name = bak_restore_wish(p->from, "to-collection", 0);
	const json_t *list, *facts;
	size_t i;

	p->facts = bak_snapshot_facts(p->from->snapshot);
	list = json_object_get(p->facts, "collections");
	p->targets = calloc(json_array_size(list) + 1, sizeof *p->targets);
	if (!p->facts || !p->targets)
		return bak_error_nomem(err);
	p->repair = json_array_size(p->q->replaced) > 0;
	json_array_foreach(list, i, facts)
	{
		if (choose_target(p, facts, err) < 0)
			return -1;
	}
	if (!p->n)
		return bak_error_set(err, BAK_NOT_FOUND, "no collection of the snapshot is chosen");
	if (!name)
		return 0;
	if (p->n != 1 || !*name || strlen(name) > BAK_QDRANT_NAME_MAX)
		return bak_error_set(err, BAK_USAGE,
				     "--to-collection is for one collection, its name up to %d "
				     "bytes: choose one with --only",
				     BAK_QDRANT_NAME_MAX);
	p->targets[0].name = name;
	return 0;
}

/* --- versions --- */

/* A snapshot is for servers of the same minor version and the next one. */
static int check_version(const struct bak_qdrant_plan *p, struct bak_error *err)
{
	const char *made_by = text_of(json_object_get(p->facts, "server"), "version");
	const struct bak_qdrant *q = p->q;
	unsigned major, minor;

	if (!made_by || sscanf(made_by, "%u.%u", &major, &minor) != 2)
		return 0;
	if (q->major < major || (q->major == major && q->minor < minor))
		return bak_error_set(
			err, BAK_REFUSED,
			"the snapshot was made by Qdrant %s, and %s at %s is older: it "
			"cannot read it; upgrade it first",
			made_by, q->version, bak_http_url(q->http));
	if ((q->major > major || q->minor > minor + 1) &&
	    !bak_store_get_bool(q->conf, "any_version"))
		return bak_error_set(err, BAK_REFUSED,
				     "the snapshot was made by Qdrant %s, and the server is %s: "
				     "only the next minor version is sure to read it; restore into "
				     "that one first, or set any_version = yes to try",
				     made_by, q->version);
	return 0;
}

static int check_server(const struct bak_qdrant_plan *p, struct bak_error *err)
{
	bool snapshots = false;

	for (size_t i = 0; i < p->n; i++)
		snapshots |= !p->targets[i].exported;
	if (!snapshots)
		return 0;
	if (p->q->peers > 1)
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "the server is one of a cluster of %u, and a snapshot would "
				     "restore the shards of one: upload it to each by hand",
				     p->q->peers);
	if (p->q->major == 1 && p->q->minor < 8)
		return bak_error_set(err, BAK_REFUSED,
				     "Qdrant %s checks no checksums: restore into 1.8 or later",
				     p->q->version);
	return check_version(p, err);
}

/* --- names --- */

static int add_alias(struct bak_qdrant_target *t, const char *alias, struct bak_error *err)
{
	return json_object_set_new(t->aliases, alias, json_null()) < 0 ? bak_error_nomem(err) : 0;
}

static const struct bak_qdrant_target *target_of(const struct bak_qdrant_plan *p,
						 const char *source)
{
	for (size_t i = 0; source && i < p->n; i++) {
		if (strcmp(p->targets[i].source, source) == 0)
			return &p->targets[i];
	}
	return NULL;
}

/* Length of the name without "-bakfs-STAMP" at its end; that of all of it, if it has none. */
static size_t base_len(const char *name)
{
	size_t end = strlen(BAK_QDRANT_FRESH) + BAK_STAMP_LEN, len = strlen(name);
	int64_t when;

	if (len > end &&
	    memcmp(name + len - end, BAK_QDRANT_FRESH, strlen(BAK_QDRANT_FRESH)) == 0 &&
	    bak_stamp_parse(name + len - BAK_STAMP_LEN, &when))
		return len - end;
	return len;
}

/* The collection itself, or a copy of it that a restore made. */
static bool is_kin(const char *a, const char *b)
{
	size_t len = base_len(a);

	return base_len(b) == len && memcmp(a, b, len) == 0;
}

/* Those of the snapshot, and those that lead to what it replaces. */
static int find_aliases(struct bak_qdrant_plan *p, struct bak_qdrant_target *t,
			struct bak_error *err)
{
	json_t *then = json_object_get(p->facts, "aliases"), *to;
	const char *alias;

	json_object_foreach(then, alias, to)
	{
		if (target_of(p, json_string_value(to)) != t)
			continue;
		if (bak_qdrant_has(p->collections, alias))
			return bak_error_set(err, BAK_REFUSED,
					     "there is a collection %s, which was an alias of %s: "
					     "delete it, or restore with --to-collection",
					     alias, t->source);
		if (add_alias(t, alias, err) < 0)
			return -1;
	}
	json_object_foreach(p->aliases, alias, to)
	{
		if (!is_kin(json_string_value(to), t->name) || target_of(p, text_of(then, alias)))
			continue;
		if (add_alias(t, alias, err) < 0)
			return -1;
	}
	if (json_object_get(p->aliases, t->name))
		return add_alias(t, t->name, err);
	return 0;
}

static void choose_way(const struct bak_qdrant_plan *p, struct bak_qdrant_target *t)
{
	const char *alias;
	json_t *unused;
	bool led = false;

	json_object_foreach(t->aliases, alias, unused)
		led |= json_object_get(p->aliases, alias) != NULL;
	if (led &&
	    (bak_qdrant_has(p->collections, t->name) || json_object_get(p->aliases, t->name)))
		t->way = BAK_QDRANT_ALIAS;
	else if (bak_qdrant_has(p->collections, t->name))
		t->way = BAK_QDRANT_IN_PLACE;
	else
		t->way = BAK_QDRANT_NEW;
}

bool bak_qdrant_is_led_to(const json_t *aliases, const char *name)
{
	const char *alias;
	json_t *to;

	json_object_foreach((json_t *)(uintptr_t)aliases, alias, to)
	{
		if (strcmp(json_string_value(to), name) == 0)
			return true;
	}
	return false;
}

bool bak_qdrant_is_kept(const char *name, const json_t *aliases)
{
	return base_len(name) < strlen(name) && !bak_qdrant_is_led_to(aliases, name);
}

/* "NAME-bakfs-STAMP", of a name without such an end. */
static int name_fresh(const struct bak_qdrant_plan *p, struct bak_qdrant_target *t,
		      struct bak_error *err)
{
	size_t len = base_len(t->name);
	char stamp[BAK_STAMP_LEN + 1];
	int64_t when = time(NULL);

	if (t->way == BAK_QDRANT_NEW) {
		snprintf(t->fresh, sizeof t->fresh, "%s", t->name);
		return 0;
	}
	if (len + strlen(BAK_QDRANT_FRESH) + BAK_STAMP_LEN > BAK_QDRANT_NAME_MAX)
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "the name %.60s... leaves no room for that of a copy",
				     t->name);
	do {
		bak_stamp_format(when++, stamp);
		snprintf(t->fresh, sizeof t->fresh, "%.*s" BAK_QDRANT_FRESH "%s", (int)len, t->name,
			 stamp);
	} while (bak_qdrant_has(p->collections, t->fresh) || json_object_get(p->aliases, t->fresh));
	return 0;
}

/* --- what speaks against it --- */

/* A snapshot goes into an existing collection only if that is of the same shape. */
static int check_shape(const struct bak_qdrant_plan *p, const struct bak_qdrant_target *t,
		       struct bak_error *err)
{
	static const char *const same[] = {"vectors", "shard_number"};
	const json_t *then = json_object_get(json_object_get(t->facts, "config"), "params");
	json_t *info = NULL, *now;
	int rc = t->exported || !then ? 0 : bak_qdrant_info(p->q->http, t->name, &info, err);

	now = json_object_get(json_object_get(info, "config"), "params");
	for (size_t i = 0; rc > 0 && i < sizeof same / sizeof *same; i++) {
		if (!json_equal(json_object_get(then, same[i]), json_object_get(now, same[i])))
			rc = bak_error_set(err, BAK_REFUSED,
					   "collection %s has another %s now than in the snapshot, "
					   "which cannot replace it so: delete it, or restore with "
					   "--to-collection",
					   t->name, same[i]);
	}
	json_decref(info);
	return rc < 0 ? -1 : 0;
}

static int check_target(const struct bak_qdrant_plan *p, const struct bak_qdrant_target *t,
			struct bak_error *err)
{
	bool renamed = t->name != t->source;

	if (t->way == BAK_QDRANT_NEW)
		return 0;
	if (renamed)
		return bak_error_set(err, BAK_EXISTS, "there is a collection or alias %s already",
				     t->name);
	if (json_object_get(p->facts, "filter"))
		return bak_error_set(err, BAK_REFUSED,
				     "the snapshot has only those points of collection %s that a "
				     "filter chose, and would take the rest away: restore it with "
				     "--to-collection NAME",
				     t->name);
	if (t->way != BAK_QDRANT_IN_PLACE)
		return 0;
	if (!p->q->env->force)
		return bak_error_set(err, BAK_REFUSED,
				     "collection %s is used by its own name, no alias leads to it: "
				     "it would be replaced where it is, and fail its clients "
				     "meanwhile; to allow that: --yes, or restore = force",
				     t->name);
	return p->repair ? 0 : check_shape(p, t, err);
}

static int plan_target(struct bak_qdrant_plan *p, struct bak_qdrant_target *t,
		       struct bak_error *err)
{
	/* One with a new name is nobody's business yet. */
	if (t->name == t->source && find_aliases(p, t, err) < 0)
		return -1;
	choose_way(p, t);
	if (t->name != t->source && json_object_get(p->aliases, t->name))
		t->way = BAK_QDRANT_ALIAS;
	if (name_fresh(p, t, err) < 0)
		return -1;
	return check_target(p, t, err);
}

int bak_qdrant_plan(struct bak_qdrant *q, const struct bak_restore_from *from,
		    struct bak_qdrant_plan *out, struct bak_error *err)
{
	*out = (struct bak_qdrant_plan){
		.q = q, .from = from, .tree = {bak_repo_source(from->repo), from->snapshot}};
	if (bak_qdrant_connect(q, err) < 0 || choose(out, err) < 0 || check_server(out, err) < 0 ||
	    bak_qdrant_collections(q, &out->collections, err) < 0 ||
	    bak_qdrant_aliases(q->http, &out->aliases, err) < 0)
		return -1;
	for (size_t i = 0; i < out->n; i++) {
		if (plan_target(out, &out->targets[i], err) < 0)
			return -1;
	}
	return 0;
}

void bak_qdrant_plan_release(struct bak_qdrant_plan *plan)
{
	for (size_t i = 0; i < plan->n; i++) {
		bak_found_release(&plan->targets[i].found);
		json_decref(plan->targets[i].aliases);
	}
	free(plan->targets);
	json_decref(plan->facts);
	json_decref(plan->collections);
	json_decref(plan->aliases);
}
