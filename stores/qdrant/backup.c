/*
 * A backup: each collection's snapshot as it is, or its points, and in the manifest what else it
 * takes to have them back: aliases, configuration, exact counts.
 */
#include "stores/qdrant/qdrant.h"

#include "engine/base/bytes.h"
#include "engine/objects/tree.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

/* A file whose content is stored, and which gets its place among the others at the end. */
struct file {
	char *name;
	struct bak_inode inode;
};

struct work {
	struct bak_qdrant *q;
	struct bak_writer *writer;
	json_t *facts, *collections, *counts; /* being filled */
	json_t *names, *aliases, *filter;
	bool snapshots, fallback; /* the ways that are open */
	struct file *files;
	size_t n, cap;
};

/* --- which --- */

static bool matches(const struct bak_store_conf *conf, const char *option, const char *name)
{
	const char *pattern;

	for (size_t i = 0; (pattern = bak_store_get_item(conf, option, i)) != NULL; i++) {
		if (fnmatch(pattern, name, 0) == 0)
			return true;
	}
	return false;
}

bool bak_qdrant_chosen(const struct bak_qdrant *q, const char *collection, const json_t *aliases)
{
	bool all = !bak_store_get_item(q->conf, "collection", 0);
	bool in = all || matches(q->conf, "collection", collection);
	const char *alias;
	json_t *to;

	json_object_foreach((json_t *)(uintptr_t)aliases, alias, to)
	{
		if (strcmp(json_string_value(to), collection) == 0)
			in |= matches(q->conf, "collection", alias);
	}
	return in && !matches(q->conf, "exclude", collection);
}

/* A name in the configuration that is no pattern must be there. */
static int check_named(const struct work *w, struct bak_error *err)
{
	const char *name;

	for (size_t i = 0; (name = bak_store_get_item(w->q->conf, "collection", i)) != NULL; i++) {
		if (strpbrk(name, "*?[\\") || bak_qdrant_has(w->names, name) ||
		    json_object_get(w->aliases, name))
			continue;
		return bak_error_set(err, BAK_NOT_FOUND, "the server has no collection %s", name);
	}
	return 0;
}

/* --- files --- */

char *bak_qdrant_file_name(const char *collection, const char *suffix)
{
	char *out = malloc(strlen(collection) * 3 + strlen(suffix) + 1), *at = out;

	for (const char *p = collection; out && *p; p++) {
		unsigned char c = (unsigned char)*p;

		if (c < ' ' || c == '/' || c == '%' || c == 0x7f || (p == collection && c == '.'))
			at += snprintf(at, 4, "%%%02X", c);
		else
			*at++ = (char)c;
	}
	if (out)
		memcpy(at, suffix, strlen(suffix) + 1);
	return out;
}

static int begin_file(struct work *w, const char *collection, const char *suffix,
		      struct bak_error *err)
{
	struct bak_source_inode in;
	struct file *file;

	if (bak_grow(&w->files, &w->cap, w->n, sizeof *w->files) < 0)
		return bak_error_nomem(err);
	file = &w->files[w->n];
	*file = (struct file){.name = bak_qdrant_file_name(collection, suffix)};
	if (!file->name)
		return bak_error_nomem(err);
	w->n++;
	if (strlen(file->name) > BAK_QDRANT_NAME_MAX)
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "the name of collection %.60s... is too long for a file's",
				     collection);
	bak_payload_inode(&in, BAK_TYPE_FILE, 0600);
	return bak_writer_loose(w->writer, file->name, &in, BAK_HINT_NONE, err);
}

static int end_file(struct work *w, struct bak_error *err)
{
	return bak_writer_loose_end(w->writer, &w->files[w->n - 1].inode, err);
}

static int by_name(const void *a, const void *b)
{
	const struct file *x = a, *y = b;

	return bak_name_cmp(x->name, strlen(x->name), y->name, strlen(y->name));
}

static int place_files(struct work *w, struct bak_error *err)
{
	if (w->n)
		qsort(w->files, w->n, sizeof *w->files, by_name);
	for (size_t i = 0; i < w->n; i++) {
		if (bak_writer_place(w->writer, w->files[i].name, &w->files[i].inode, err) < 0)
			return -1;
	}
	return 0;
}

/* --- a collection --- */

/* Of the manifest; counts of before and after differ when somebody wrote meanwhile. */
static int note_points(struct work *w, json_t *entry, const char *name, json_int_t before,
		       json_int_t after, struct bak_error *err)
{
	char key[BAK_QDRANT_NAME_MAX + 16];
	int rc;

	snprintf(key, sizeof key, "%s points", name);
	if (before == after) {
		rc = json_object_set_new(entry, "points", json_integer(before));
		rc |= json_object_set_new(w->counts, key, json_integer(before));
	} else {
		rc = json_object_set_new(entry, "points_before", json_integer(before));
		rc |= json_object_set_new(entry, "points_after", json_integer(after));
	}
	return rc ? bak_error_nomem(err) : 0;
}

static int check_sum(const struct bak_qdrant_made *made, const struct bak_inode *inode,
		     const char *name, char hex[65], struct bak_error *err)
{
	bak_hex(hex, inode->sha256, sizeof inode->sha256);
	if (!made->checksum || strcasecmp(made->checksum, hex) == 0)
		return 0;
	return bak_error_set(err, BAK_CORRUPT,
			     "the snapshot of %s is not what the server made: its SHA-256 is %s, "
			     "and the server says %.64s",
			     name, hex, made->checksum);
}

static int fetch(struct work *w, const char *name, const struct bak_qdrant_made *made,
		 json_t *entry, struct bak_error *err)
{
	char hex[65];
	int rc;

	if (begin_file(w, name, BAK_QDRANT_SNAPSHOT, err) < 0 ||
	    bak_qdrant_fetch(w->q, name, made, w->writer, err) < 0 || end_file(w, err) < 0 ||
	    check_sum(made, &w->files[w->n - 1].inode, name, hex, err) < 0)
		return -1;
	if (!made->checksum)
		bak_store_log(w->q->env, "%s: the server has no checksum for its snapshot", name);
	rc = json_object_set_new(entry, "mode", json_string("snapshot"));
	rc |= json_object_set_new(entry, "file", json_string(w->files[w->n - 1].name));
	rc |= json_object_set_new(entry, "snapshot", json_string(made->name));
	rc |= json_object_set_new(entry, "sha256", json_string(hex));
	return rc ? bak_error_nomem(err) : 0;
}

/* 1 done, 0 none was to be had (err) and nothing is written, -1. */
static int save_snapshot(struct work *w, const char *name, json_t *entry, struct bak_error *err)
{
	struct bak_qdrant_made made = {.name = NULL};
	struct bak_error second = BAK_ERROR_INIT;
	int rc;

	bak_store_log(w->q->env, "%s: asking for a snapshot", name);
	if (bak_qdrant_make(w->q, name, &made, err) < 0)
		return err->code == BAK_REFUSED || err->code == BAK_NO_SPACE || err->code == BAK_IO
			       ? 0
			       : -1;
	rc = fetch(w, name, &made, entry, err);
	if (!made.shared && bak_qdrant_drop_snapshot(w->q, name, made.name, &second) < 0)
		bak_store_warn(w->q->env,
			       "the snapshot %s of %s is left on the server, delete it there: %s",
			       made.name, name, second.msg);
	bak_qdrant_made_release(&made);
	return rc < 0 ? -1 : 1;
}

static int save_config(struct work *w, const char *name, const json_t *entry, struct bak_error *err)
{
	json_t *config = json_pack("{s:O, s:O*}", "config", json_object_get(entry, "config"),
				   "payload_schema", json_object_get(entry, "payload_schema"));
	BAK_AUTO(bak_free_ptr)
	char *text = config ? json_dumps(config, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
	int rc = text ? begin_file(w, name, BAK_QDRANT_CONFIG, err) : bak_error_nomem(err);

	json_decref(config);
	if (rc == 0 && (bak_writer_data(w->writer, text, strlen(text), err) < 0 ||
			bak_writer_data(w->writer, "\n", 1, err) < 0 || end_file(w, err) < 0))
		rc = -1;
	return rc;
}

static int save_points(struct work *w, const char *name, json_t *entry, struct bak_error *err)
{
	const json_t *params = json_object_get(json_object_get(entry, "config"), "params");
	const char *sharding = json_string_value(json_object_get(params, "sharding_method"));
	json_int_t points = 0;
	int rc;

	if (sharding && strcmp(sharding, "custom") == 0)
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "collection %s has shard keys of its own, which only a "
				     "snapshot saves",
				     name);
	bak_store_log(w->q->env, "%s: reading its points", name);
	if (begin_file(w, name, BAK_QDRANT_POINTS, err) < 0 ||
	    bak_qdrant_export(w->q, name, w->filter, w->writer, &points, err) < 0 ||
	    end_file(w, err) < 0)
		return -1;
	rc = json_object_set_new(entry, "mode", json_string("export"));
	rc |= json_object_set_new(entry, "file", json_string(w->files[w->n - 1].name));
	rc |= json_object_set_new(entry, "lines", json_integer(points));
	if (rc)
		return bak_error_nomem(err);
	return save_config(w, name, entry, err);
}

static int save_content(struct work *w, const char *name, json_t *entry, struct bak_error *err)
{
	int rc = w->snapshots ? save_snapshot(w, name, entry, err) : 0;

	if (rc > 0)
		return 0;
	if (rc < 0 || (w->snapshots && !w->fallback))
		return -1;
	if (w->snapshots)
		bak_store_warn(w->q->env,
			       "%s: saved point by point, not as of one moment, as its snapshot "
			       "failed: %s",
			       name, err->msg);
	/* the others would be refused as well */
	if (w->snapshots && err->code == BAK_REFUSED)
		w->snapshots = false;
	return save_points(w, name, entry, err);
}

static json_t *describe(const char *name, const json_t *info)
{
	return json_pack("{s:s, s:O*, s:O*, s:O*}", "name", name, "status",
			 json_object_get(info, "status"), "config", json_object_get(info, "config"),
			 "payload_schema", json_object_get(info, "payload_schema"));
}

/* An export's own lines are the count of what is in it. */
static int save_counted(struct work *w, const char *name, json_t *entry, struct bak_error *err)
{
	json_int_t before, after;
	json_t *lines;

	if (bak_qdrant_count(w->q->http, name, w->filter, &before, err) < 0 ||
	    save_content(w, name, entry, err) < 0 ||
	    bak_qdrant_count(w->q->http, name, w->filter, &after, err) < 0)
		return -1;
	if (before != after)
		bak_store_log(w->q->env,
			      "%s was written to meanwhile: %lld points before, %lld after", name,
			      (long long)before, (long long)after);
	lines = json_object_get(entry, "lines");
	/* As many may have gone as have come. */
	if (lines && before == after && json_integer_value(lines) != before)
		bak_store_warn(w->q->env,
			       "%s has %lld points, and %lld were read: others wrote meanwhile, or "
			       "not all can be read",
			       name, (long long)before, (long long)json_integer_value(lines));
	if (lines)
		before = after = json_integer_value(lines);
	return note_points(w, entry, name, before, after, err);
}

static int save_collection(struct work *w, const char *name, struct bak_error *err)
{
	json_t *info = NULL, *entry;
	int there = bak_qdrant_info(w->q->http, name, &info, err);
	int rc;

	if (there < 0)
		return -1;
	if (there == 0) {
		bak_store_warn(w->q->env, "collection %s was deleted meanwhile, and is not saved",
			       name);
		return 0;
	}
	entry = describe(name, info);
	json_decref(info);
	if (!entry || json_array_append(w->collections, entry) < 0)
		rc = bak_error_nomem(err);
	else
		rc = save_counted(w, name, entry, err);
	json_decref(entry);
	return rc;
}

/* --- all of them --- */

static int choose_way(struct work *w, struct bak_error *err)
{
	const char *mode = bak_store_get(w->q->conf, "mode"), *why = NULL;
	bool any = strcmp(mode, "auto") == 0;

	w->snapshots = any || strcmp(mode, "snapshot") == 0;
	w->fallback = any;
	if (w->filter && !any && w->snapshots)
		return bak_error_set(err, BAK_USAGE, "a snapshot knows no filter: mode = export");
	if (w->q->peers > 1)
		why = "the server is one of a cluster, and would save its own shards only";
	else if (w->q->major == 1 && w->q->minor < 8)
		why = "a server before 1.8 gives no checksums with its snapshots";
	if (why && w->snapshots && !any)
		return bak_error_set(err, BAK_UNSUPPORTED, "%s: mode = export", why);
	if (why && w->snapshots && !w->filter)
		bak_store_log(w->q->env, "%s: saved point by point", why);
	if (why || w->filter)
		w->snapshots = false;
	return 0;
}

static int read_filter(struct work *w, struct bak_error *err)
{
	const char *text = bak_store_get(w->q->conf, "filter");
	json_error_t why;

	if (!text)
		return 0;
	w->filter = json_loads(text, 0, &why);
	if (!json_is_object(w->filter))
		return bak_error_set(err, BAK_USAGE, "filter is no JSON object: %s",
				     w->filter ? "it is something else" : why.text);
	return 0;
}

static int save_all(struct work *w, struct bak_error *err)
{
	json_t *name;
	size_t i;

	json_array_foreach(w->names, i, name)
	{
		const char *text = json_string_value(name);

		if (!bak_qdrant_chosen(w->q, text, w->aliases) ||
		    bak_qdrant_is_kept(text, w->aliases))
			continue;
		if (bak_store_check_cancelled(w->q->env, err) < 0)
			return -1;
		if (save_collection(w, text, err) < 0)
			return bak_error_wrap(err, "collection %s", text);
	}
	if (!json_array_size(w->collections))
		bak_store_warn(w->q->env, "the server has no collection to be saved");
	return place_files(w, err);
}

static int note_all(struct work *w, struct bak_error *err)
{
	json_t *led = json_object(), *to;
	const char *alias;
	size_t exported = 0, i;
	json_t *entry;
	int rc = led ? 0 : -1;

	json_object_foreach(w->aliases, alias, to)
	{
		if (rc == 0 && bak_qdrant_chosen(w->q, json_string_value(to), w->aliases))
			rc = json_object_set(led, alias, to);
	}
	json_array_foreach(w->collections, i, entry)
		exported += json_object_get(entry, "lines") != NULL;
	rc |= json_object_set_new(w->facts, "aliases", led);
	rc |= json_object_set(w->facts, "collections", w->collections);
	rc |= json_object_set(w->facts, "counts", w->counts);
	rc |= json_object_set_new(
		w->facts, "server",
		json_pack("{s:s, s:s}", "product", "Qdrant", "version", w->q->version));
	rc |= json_object_set_new(
		w->facts, "consistency",
		json_string(exported ? "each point by itself: what is written meanwhile may be "
				       "there or not"
				     : "one moment for each collection"));
	if (w->filter)
		rc |= json_object_set(w->facts, "filter", w->filter);
	return rc ? bak_error_nomem(err) : 0;
}

static void release(struct work *w)
{
	for (size_t i = 0; i < w->n; i++)
		free(w->files[i].name);
	free(w->files);
	json_decref(w->collections);
	json_decref(w->counts);
	json_decref(w->names);
	json_decref(w->aliases);
	json_decref(w->filter);
}

int bak_qdrant_backup(struct bak_qdrant *q, struct bak_writer *writer, json_t *facts,
		      struct bak_error *err)
{
	struct work w = {.q = q,
			 .writer = writer,
			 .facts = facts,
			 .collections = json_array(),
			 .counts = json_object()};
	struct bak_source_inode root;
	int rc = w.collections && w.counts ? bak_qdrant_connect(q, err) : bak_error_nomem(err);

	bak_payload_inode(&root, BAK_TYPE_DIR, 0700);
	if (rc == 0 && (read_filter(&w, err) < 0 || choose_way(&w, err) < 0 ||
			bak_qdrant_collections(q, &w.names, err) < 0 ||
			bak_qdrant_aliases(q->http, &w.aliases, err) < 0 ||
			check_named(&w, err) < 0 || bak_writer_root(writer, &root, err) < 0 ||
			save_all(&w, err) < 0 || note_all(&w, err) < 0))
		rc = -1;
	release(&w);
	return rc;
}
