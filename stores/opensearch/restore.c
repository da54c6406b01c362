/*
 * Restoring indices: each under a new name, filled and complete there, counted, and then all of
 * them get their names in one call (swap.c). Until then nobody sees anything of it; a failure
 * deletes the new ones.
 */
#include "stores/opensearch/opensearch.h"

#include "engine/objects/snapshot.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- what is to be restored --- */

/* "indices/NAME" or something below it. */
static bool is_path_of(const char *path, const char *name)
{
	size_t head = strlen(BAK_OS_INDICES), len = strlen(name);

	path += strspn(path, "./");
	if (strncmp(path, BAK_OS_INDICES, head) != 0)
		return false;
	path += head;
	path += strspn(path, "/");
	return !*path || (strncmp(path, name, len) == 0 && (!path[len] || path[len] == '/'));
}

static bool is_chosen(const struct bak_restore_from *from, const char *name)
{
	const char *pattern;

	for (size_t i = 0; (pattern = bak_restore_wish(from, "index", i)) != NULL; i++) {
		if (bak_os_matches(pattern, name))
			return true;
	}
	for (size_t i = 0; i < from->n_only; i++) {
		if (is_path_of(from->only[i], name))
			return true;
	}
	return from->n_only == 0 && !bak_restore_wish(from, "index", 0);
}

static int add_target(struct bak_os_restore *r, const json_t *facts, struct bak_error *err)
{
	const char *name = bak_os_text(facts, "name"), *concrete = bak_os_text(facts, "concrete");
	struct bak_os_target *t = &r->v[r->n];
	int len;

	if (!bak_os_is_name(name) || (*concrete && !bak_os_is_name(concrete)))
		return bak_error_set(err, BAK_CORRUPT, "the manifest names no indices");
	if (!is_chosen(r->from, name))
		return 0;
	*t = (struct bak_os_target){
		.facts = facts, .name = name, .concrete = *concrete ? concrete : name};
	r->n++;
	len = snprintf(t->fresh, sizeof t->fresh, "bakfs-%s-%s", r->stamp, name);
	/* "before-" must fit too. */
	if (len < 0 || (size_t)len + strlen("before-") > BAK_OS_NAME_MAX)
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "index %.40s...: its name is too long for a new one beside it",
				     name);
	return 0;
}

static int choose(struct bak_os_restore *r, struct bak_error *err)
{
	const json_t *list, *facts;
	size_t i;

	r->facts = bak_snapshot_facts(r->from->snapshot);
	if (!r->facts)
		return bak_error_nomem(err);
	list = json_object_get(r->facts, "indices");
	r->v = calloc(json_array_size(list) + 1, sizeof *r->v);
	if (!r->v)
		return bak_error_nomem(err);
	json_array_foreach(list, i, facts)
	{
		if (add_target(r, facts, err) < 0)
			return -1;
	}
	r->whole = r->from->n_only == 0 && r->from->n_wishes == 0;
	if (!r->n && (!r->whole || json_array_size(list)))
		return bak_error_set(
			err, BAK_NOT_FOUND,
			"the snapshot has no such index: its indices are paths %s/NAME, "
			"or --index NAME",
			BAK_OS_INDICES);
	return 0;
}

/* --- before anything is done --- */

/* Names of one second that are not taken. */
static int choose_stamp(struct bak_os *os, char *out, struct bak_error *err)
{
	for (time_t now = time(NULL);; now++) {
		BAK_AUTO(bak_os_json_free) json_t *answer = NULL;
		char upper[BAK_STAMP_LEN + 1];

		bak_stamp_format(now, upper);
		for (size_t i = 0; i <= BAK_OS_STAMP_LEN; i++)
			out[i] = (char)tolower((unsigned char)upper[i]);
		if (bak_os_call(os->http, "GET",
				bak_http_path("/_resolve/index/bakfs-*?expand_wildcards=all"), NULL,
				&answer, err) < 0)
			return -1;
		BAK_AUTO(bak_free_ptr) char *names = json_dumps(answer, JSON_COMPACT);

		if (!names)
			return bak_error_nomem(err);
		if (!strstr(names, out))
			return 0;
	}
}

/* A server reads snapshots of its own major version and the one before, and of none that is newer
 * than itself. */
static int check_version(const struct bak_os_restore *r, struct bak_error *err)
{
	const char *version = bak_os_text(r->facts, "version");
	unsigned major = 0, minor = 0;

	if (strcmp(bak_os_text(r->facts, "mode"), "snapshot") != 0 ||
	    sscanf(version, "%u.%u", &major, &minor) != 2)
		return 0;
	if (major > r->os->major || (major == r->os->major && minor > r->os->minor))
		return bak_error_set(err, BAK_REFUSED,
				     "the snapshot is of OpenSearch %s, and the server is %s: it "
				     "reads none of newer ones",
				     version, r->os->version);
	if (major + 1 < r->os->major)
		return bak_error_set(err, BAK_REFUSED,
				     "the snapshot is of OpenSearch %s, and the server is %s: it "
				     "reads those of %u and %u",
				     version, r->os->version, r->os->major - 1, r->os->major);
	return 0;
}

static int check_room(struct bak_os_restore *r, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *stats = NULL;
	struct bak_error scratch = BAK_ERROR_INIT;
	uint64_t need = 0, room = 0;
	const char *id;
	json_t *node;

	for (size_t i = 0; i < r->n; i++)
		need += bak_os_number(r->v[i].facts, "bytes");
	if (bak_os_call(r->os->http, "GET", bak_http_path("/_nodes/stats/fs"), NULL, &stats,
			&scratch) < 0)
		return bak_store_check_cancelled(r->os->env, err);
	json_object_foreach(json_object_get(stats, "nodes"), id, node)
	{
		room += bak_os_number(bak_os_at(node, "fs", "total"), "available_in_bytes");
	}
	if (need <= room)
		return 0;
	return bak_error_set(err, BAK_NO_SPACE,
			     "the server's nodes have %" PRIu64
			     " bytes free, and the restore needs %" PRIu64 " beside what is there",
			     room, need);
}

static int prepare(struct bak_os_restore *r, struct bak_error *err)
{
	if (bak_os_look(r->os, err) < 0 || choose_stamp(r->os, r->stamp, err) < 0 ||
	    choose(r, err) < 0 || check_version(r, err) < 0)
		return -1;
	for (size_t i = 0; i < r->n; i++) {
		if (bak_os_find_old(r, &r->v[i], err) < 0)
			return -1;
	}
	return check_room(r, err);
}

/* --- after it --- */

static int note_counts(struct bak_os_restore *r, struct bak_error *err)
{
	const json_t *want = json_object_get(r->facts, "counts");
	json_t *counts = json_object();
	int rc = counts ? 0 : -1;

	for (size_t i = 0; i < r->n && rc == 0; i++) {
		const struct bak_os_target *t = &r->v[i];

		bak_store_log(r->os->env, "%s: %" PRIu64 " documents, as %s", t->name, t->count,
			      t->fresh);
		if (json_object_get(want, t->name))
			rc = json_object_set_new(counts, t->name,
						 json_integer((json_int_t)t->count));
	}
	json_decref(r->os->restored_counts);
	r->os->restored_counts = counts;
	return rc < 0 ? bak_error_nomem(err) : 0;
}

void bak_os_drop_fresh(struct bak_os_restore *r)
{
	struct bak_error err = BAK_ERROR_INIT;

	bak_os_go_on(r->os);
	for (size_t i = 0; i < r->n; i++) {
		const char *fresh = r->v[i].fresh;

		if (r->v[i].made &&
		    bak_os_delete(r->os->http, bak_http_path("/%s", fresh), NULL, 0, &err) < 0)
			bak_store_warn(r->os->env, "index %s is left over: delete it: %s", fresh,
				       err.msg);
		r->v[i].made = false;
	}
}

static void release(struct bak_os_restore *r)
{
	for (size_t i = 0; i < r->n; i++) {
		json_decref(r->v[i].body);
		json_decref(r->v[i].old);
	}
	free(r->v);
	json_decref(r->facts);
}

int bak_os_restore(struct bak_os *os, const struct bak_restore_from *from, json_t *state,
		   struct bak_error *err)
{
	struct bak_os_restore r = {
		.os = os, .from = from, .tree = {bak_repo_source(from->repo), from->snapshot}};
	int rc = prepare(&r, err);

	if (rc == 0 && strcmp(bak_os_text(r.facts, "mode"), "snapshot") == 0)
		rc = bak_os_fetch(&r, err);
	else if (rc == 0)
		rc = bak_os_load(&r, err);
	if (rc == 0)
		rc = bak_os_swap(&r, state, err);
	if (rc == 0)
		rc = note_counts(&r, err);
	else
		bak_os_drop_fresh(&r);
	release(&r);
	return rc;
}
