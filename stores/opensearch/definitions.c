/*
 * What stands beside the indices: templates, pipelines, stored scripts. Each kind is one file of the
 * snapshot, an object of name -> definition, and each definition is what PUT takes.
 */
#include "stores/opensearch/opensearch.h"

#include "engine/content/folder.h"

#include <stdlib.h>
#include <string.h>

#define JSON_FILE_MAX (64u << 20)

/* In the order in which they need each other. */
static const struct kind {
	const char *file;
	const char *get, *put; /* put: with the name */
	const char *list;      /* [{"name", item}] in it, else name -> definition */
	const char *item;
	const char *at;   /* deeper in the answer, NULL: it itself */
	const char *wrap; /* PUT wants it as the value of this */
} kinds[] = {
	{"component_templates.json", "/_component_template", "/_component_template/%s",
	 "component_templates", "component_template", NULL, NULL},
	{"scripts.json", "/_cluster/state/metadata?filter_path=metadata.stored_scripts",
	 "/_scripts/%s", NULL, NULL, "stored_scripts", "script"},
	{"pipelines.json", "/_ingest/pipeline", "/_ingest/pipeline/%s", NULL, NULL, NULL, NULL},
	{"search_pipelines.json", "/_search/pipeline", "/_search/pipeline/%s", NULL, NULL, NULL,
	 NULL},
	{"templates.json", "/_template", "/_template/%s", NULL, NULL, NULL, NULL},
	{"index_templates.json", "/_index_template", "/_index_template/%s", "index_templates",
	 "index_template", NULL, NULL},
};
#define N_KINDS (sizeof kinds / sizeof *kinds)

bool bak_os_is_definitions(const char *file)
{
	for (size_t i = 0; i < N_KINDS; i++) {
		if (strcmp(kinds[i].file, file) == 0)
			return true;
	}
	return false;
}

/* --- from the server --- */

/* Those of plugins begin with a dot, as do their indices. */
static int keep(struct bak_os *os, json_t *out, const char *name, json_t *definition)
{
	if (*name == '.' && !bak_store_get_bool(os->conf, "system"))
		return 0;
	return json_object_set(out, name, definition);
}

static int get_kind(struct bak_os *os, const struct kind *kind, json_t *out, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *answer = NULL;
	int there = bak_os_ask(os->http, strdup(kind->get), &answer, err), rc = 0;
	json_t *found = answer, *item;
	const char *name;
	size_t i;

	if (there <= 0)
		return there;
	if (kind->at)
		found = bak_os_at(answer, "metadata", kind->at);
	if (kind->list) {
		json_array_foreach(json_object_get(found, kind->list), i, item)
		{
			rc |= keep(os, out, bak_os_text(item, "name"),
				   json_object_get(item, kind->item));
		}
	} else {
		json_object_foreach(found, name, item)
		{
			rc |= keep(os, out, name, item);
		}
	}
	return rc < 0 ? bak_error_nomem(err) : 0;
}

int bak_os_definitions_get(struct bak_os *os, json_t **out, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *all = json_object();
	struct bak_error why;

	for (size_t i = 0; i < N_KINDS; i++) {
		BAK_AUTO(bak_os_json_free) json_t *found = json_object();

		if (!all || !found)
			return bak_error_nomem(err);
		why = (struct bak_error)BAK_ERROR_INIT;
		if (get_kind(os, &kinds[i], found, &why) < 0) {
			if (why.code != BAK_REFUSED && why.code != BAK_USAGE) {
				*err = why;
				return -1;
			}
			bak_store_warn(os->env, "%s is not saved: %s", kinds[i].file, why.msg);
			continue;
		}
		if (json_object_size(found) && json_object_set(all, kinds[i].file, found) < 0)
			return bak_error_nomem(err);
	}
	*out = all;
	all = NULL;
	return 0;
}

/* --- as files --- */

int bak_os_write_json(struct bak_writer *writer, const char *name, const json_t *value,
		      struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *text = json_dumps(value, JSON_SORT_KEYS | JSON_INDENT(1));
	struct bak_source_inode inode;

	if (!text)
		return bak_error_nomem(err);
	bak_payload_inode(&inode, BAK_TYPE_FILE, 0600);
	if (bak_writer_file(writer, name, &inode, BAK_HINT_NONE, err) < 0 ||
	    bak_writer_data(writer, text, strlen(text), err) < 0 ||
	    bak_writer_data(writer, "\n", 1, err) < 0)
		return -1;
	return bak_writer_file_end(writer, NULL, err);
}

static int compare(const char *a, const char *b)
{
	return bak_name_cmp(a, strlen(a), b, strlen(b));
}

int bak_os_definitions_write(const json_t *definitions, struct bak_writer *writer,
			     const char *after, const char *before, struct bak_error *err)
{
	/* the names of kinds, sorted */
	const char *last = NULL;

	for (;;) {
		const char *next = NULL;

		for (size_t i = 0; i < N_KINDS; i++) {
			const char *file = kinds[i].file;

			if (json_object_get(definitions, file) &&
			    (!last || compare(file, last) > 0) &&
			    (!next || compare(file, next) < 0) &&
			    (!after || compare(file, after) > 0) &&
			    (!before || compare(file, before) < 0))
				next = file;
		}
		if (!next)
			return 0;
		if (bak_os_write_json(writer, next, json_object_get(definitions, next), err) < 0)
			return -1;
		last = next;
	}
}

int bak_os_read_json(struct bak_tree *tree, const char *path, const struct bak_store_env *env,
		     json_t **out, struct bak_error *err)
{
	BAK_AUTO(bak_found_release) struct bak_found found = BAK_FOUND_INIT;
	int rc = bak_tree_path(tree, path, &found, err);
	BAK_AUTO(bak_payload_reader_release)
	struct bak_payload_reader reader = {
		.env = env, .source = tree->source, .inode = &found.entry.inode};
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	const void *p;
	size_t len;

	if (rc <= 0)
		return rc;
	if (found.entry.inode.type != BAK_TYPE_FILE || found.entry.inode.size > JSON_FILE_MAX)
		return bak_error_set(err, BAK_CORRUPT, "%s is no such file", path);
	while ((rc = bak_payload_give(&reader, &p, &len, err)) > 0) {
		if (bak_buf_append(&text, p, len) < 0)
			return bak_error_nomem(err);
	}
	if (rc < 0)
		return -1;
	*out = json_loadb((const char *)text.p, text.len, 0, NULL);
	if (!json_is_object(*out))
		return bak_error_set(err, BAK_CORRUPT, "%s is not JSON", path);
	return 1;
}

int bak_os_definitions_read(struct bak_tree *tree, const struct bak_store_env *env, json_t **out,
			    struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *all = json_object();

	for (size_t i = 0; i < N_KINDS; i++) {
		json_t *found = NULL;

		if (!all)
			return bak_error_nomem(err);
		if (bak_os_read_json(tree, kinds[i].file, env, &found, err) < 0) {
			json_decref(found);
			return -1;
		}
		if (found && json_object_set_new(all, kinds[i].file, found) < 0)
			return bak_error_nomem(err);
	}
	*out = all;
	all = NULL;
	return 0;
}

/* --- back to the server --- */

static const struct kind *find_kind(const char *file)
{
	for (size_t i = 0; i < N_KINDS; i++) {
		if (file && strcmp(kinds[i].file, file) == 0)
			return &kinds[i];
	}
	return NULL;
}

/* definition: NULL or null: there shall be none. */
static int put_one(struct bak_os *os, const struct kind *kind, const char *name, json_t *definition,
		   struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *body = NULL;
	size_t stem = strlen(kind->put) - 2;
	BAK_AUTO(bak_free_ptr) char *escaped = bak_http_path("%s", name);
	char *path = NULL;

	if (!escaped || asprintf(&path, "%.*s%s", (int)stem, kind->put, escaped) < 0)
		return bak_error_nomem(err);
	if (!definition || json_is_null(definition))
		return bak_os_delete(os->http, path, NULL, 0, err);
	body = kind->wrap ? json_pack("{s:O}", kind->wrap, definition) : json_incref(definition);
	if (bak_os_call(os->http, "PUT", path, body, NULL, err) < 0)
		return bak_error_wrap(err, "%s of %s", name, kind->file);
	return 0;
}

static int put_kind(struct bak_os *os, const struct kind *kind, json_t *wanted, json_t *undo,
		    struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *there = json_object();
	json_t *definition, *old, *entry;
	const char *name;

	if (!there)
		return bak_error_nomem(err);
	if (get_kind(os, kind, there, err) < 0)
		return -1;
	json_object_foreach(wanted, name, definition)
	{
		old = json_object_get(there, name);
		if (old && json_equal(old, definition))
			continue;
		entry = json_pack("{s:s, s:s, s:O, s:o}", "kind", kind->file, "name", name, "after",
				  definition, "before", old ? json_incref(old) : json_null());
		if (!entry || json_array_append_new(undo, entry) < 0)
			return bak_error_nomem(err);
		if (put_one(os, kind, name, definition, err) < 0)
			return -1;
	}
	return 0;
}

int bak_os_definitions_put(struct bak_os *os, const json_t *definitions, json_t *undo,
			   struct bak_error *err)
{
	for (size_t i = 0; i < N_KINDS; i++) {
		json_t *wanted = json_object_get(definitions, kinds[i].file);

		if (wanted && put_kind(os, &kinds[i], wanted, undo, err) < 0)
			return -1;
	}
	return 0;
}

int bak_os_definitions_undo(struct bak_os *os, const json_t *undo, bool again,
			    struct bak_error *err)
{
	size_t n = json_array_size(undo);

	for (size_t i = 0; i < n; i++) {
		/* what needs another was set after it, and goes before it */
		const json_t *entry = json_array_get(undo, again ? i : n - 1 - i);
		const struct kind *kind = find_kind(bak_os_text(entry, "kind"));

		if (kind && put_one(os, kind, bak_os_text(entry, "name"),
				    json_object_get(entry, again ? "after" : "before"), err) < 0)
			return -1;
	}
	return 0;
}
