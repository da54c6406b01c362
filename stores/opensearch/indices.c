/* Which indices are meant, and what each is, without what belongs to one server alone. */
#include "stores/opensearch/opensearch.h"

#include "engine/content/folder.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

/* --- names --- */

#define OWN "bakfs-"
#define OWN_OLD "bakfs-before-"

/* "20261121t140212z" */
static bool is_stamp(const char *p)
{
	for (size_t i = 0; i < BAK_OS_STAMP_LEN; i++) {
		char want = i == 8 ? 't' : i == BAK_OS_STAMP_LEN - 1 ? 'z' : '0';

		if (want == '0' ? !isdigit((unsigned char)p[i]) : p[i] != want)
			return false;
	}
	return true;
}

const char *bak_os_own_name(const char *index)
{
	size_t head = strlen(OWN);

	if (strncmp(index, OWN_OLD, strlen(OWN_OLD)) == 0)
		head = strlen(OWN_OLD);
	else if (strncmp(index, OWN, head) != 0)
		return NULL;
	if (strlen(index) < head + BAK_OS_STAMP_LEN + 2 || !is_stamp(index + head) ||
	    index[head + BAK_OS_STAMP_LEN] != '-')
		return NULL;
	return index + head + BAK_OS_STAMP_LEN + 1;
}

bool bak_os_is_name(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len <= BAK_OS_NAME_MAX && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0 && !strpbrk(name, "/\\*?\"<>| ,#:");
}

bool bak_os_matches(const char *pattern, const char *name)
{
	/* As shells have it: what is hidden is meant by its dot alone. */
	return fnmatch(pattern, name, FNM_PERIOD) == 0;
}

bool bak_os_is_chosen(const struct bak_store_conf *conf, const char *option, const char *name)
{
	const char *pattern;

	for (size_t i = 0; (pattern = bak_store_get_item(conf, option, i)) != NULL; i++) {
		if (bak_os_matches(pattern, name))
			return true;
	}
	return false;
}

/* --- the list --- */

void bak_os_indices_release(struct bak_os_indices *indices)
{
	for (size_t i = 0; i < indices->n; i++) {
		free(indices->v[i].name);
		free(indices->v[i].concrete);
		free(indices->v[i].stream);
	}
	free(indices->v);
	json_decref(indices->streams);
	*indices = (struct bak_os_indices){.n = 0};
}

static bool has(const json_t *list, const char *text)
{
	const json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
	{
		if (json_is_string(item) && strcmp(json_string_value(item), text) == 0)
			return true;
	}
	return false;
}

bool bak_os_is_wanted(const struct bak_os *os, const char *name, bool hidden)
{
	if (bak_os_is_chosen(os->conf, "exclude", name))
		return false;
	if (bak_store_get_item(os->conf, "indices", 0))
		return bak_os_is_chosen(os->conf, "indices", name);
	return !hidden || bak_store_get_bool(os->conf, "system");
}

static int add_index(struct bak_os *os, const json_t *found, struct bak_os_indices *out,
		     struct bak_error *err)
{
	const char *concrete = bak_os_text(found, "name"), *name = concrete;
	const char *stands_for = bak_os_own_name(concrete), *stream;
	const json_t *attributes = json_object_get(found, "attributes");

	if (!bak_os_is_name(concrete))
		return bak_error_set(err, BAK_CORRUPT, "the server names an index \"%.60s\"",
				     concrete);
	if (stands_for && !has(json_object_get(found, "aliases"), stands_for))
		return 0;
	name = stands_for ? stands_for : concrete;
	stream = bak_os_text(found, "data_stream");
	if (!bak_os_is_wanted(os, *stream ? stream : name,
			      *name == '.' ? !*stream : has(attributes, "hidden")))
		return 0;
	if (*stream && !has(out->streams, stream) &&
	    json_array_append_new(out->streams, json_string(stream)) < 0)
		return bak_error_nomem(err);
	if (bak_grow(&out->v, &out->cap, out->n, sizeof *out->v) < 0)
		return bak_error_nomem(err);
	struct bak_os_index *index = &out->v[out->n];
	*index = (struct bak_os_index){.name = strdup(name),
				       .concrete = strdup(concrete),
				       .stream = *stream ? strdup(stream) : NULL,
				       .closed = has(attributes, "closed")};
	out->n++;
	return index->name && index->concrete && (!*stream || index->stream) ? 0
									     : bak_error_nomem(err);
}

static int by_name(const void *a, const void *b)
{
	const struct bak_os_index *x = a, *y = b;

	return bak_name_cmp(x->name, strlen(x->name), y->name, strlen(y->name));
}

/* Each pattern must have something to do: a name with an error in it is no backup. */
static int check_patterns(struct bak_os *os, const struct bak_os_indices *found,
			  struct bak_error *err)
{
	const char *pattern;

	for (size_t i = 0; (pattern = bak_store_get_item(os->conf, "indices", i)) != NULL; i++) {
		bool met = false;

		for (size_t k = 0; k < found->n && !met; k++)
			met = bak_os_matches(pattern, found->v[k].stream ? found->v[k].stream
									 : found->v[k].name);
		if (!met)
			return bak_error_set(err, BAK_NOT_FOUND,
					     "no index of the server matches \"%s\": correct "
					     "indices",
					     pattern);
	}
	return 0;
}

static int check_twice(const struct bak_os_indices *found, struct bak_error *err)
{
	for (size_t i = 1; i < found->n; i++) {
		if (strcmp(found->v[i].name, found->v[i - 1].name) == 0)
			return bak_error_set(err, BAK_REFUSED, "%s and %s are both called %s",
					     found->v[i - 1].concrete, found->v[i].concrete,
					     found->v[i].name);
	}
	return 0;
}

int bak_os_indices(struct bak_os *os, struct bak_os_indices *out, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *answer = NULL;
	const json_t *list, *found;
	size_t i;
	int rc = 0;

	*out = (struct bak_os_indices){.streams = json_array()};
	if (bak_os_call(os->http, "GET", bak_http_path("/_resolve/index/*?expand_wildcards=all"),
			NULL, &answer, err) < 0)
		return -1;
	list = json_object_get(answer, "indices");
	json_array_foreach(list, i, found)
	{
		rc = add_index(os, found, out, err);
		if (rc < 0)
			return -1;
	}
	if (out->n)
		qsort(out->v, out->n, sizeof *out->v, by_name);
	return check_patterns(os, out, err) < 0 || check_twice(out, err) < 0 ? -1 : 0;
}

int bak_os_count_all(struct bak_os *os, const struct bak_os_indices *indices, json_t *counts,
		     struct bak_error *err)
{
	for (size_t i = 0; i < indices->n; i++) {
		const struct bak_os_index *index = &indices->v[i];
		uint64_t n;

		if (index->closed || index->stream)
			continue;
		if (bak_os_count(os, index->concrete, &n, err) < 0)
			return -1;
		if (json_object_set_new(counts, index->name, json_integer((json_int_t)n)) < 0)
			return bak_error_nomem(err);
	}
	return 0;
}

/* --- what an index is --- */

static void drop(json_t *object, const char *const *keys)
{
	for (; *keys; keys++)
		json_object_del(object, *keys);
}

static json_t *own_body(const json_t *index, const char *concrete)
{
	/* Which index it was, how it was made, where it lies, and a mark of a full disk. */
	static const char *const own[] = {"uuid",         "creation_date",         "version",
					  "resize",       "provided_name",         "history_uuid",
					  "routing_path", "verified_before_close", NULL};
	const char *stands_for = bak_os_own_name(concrete);
	json_t *body = json_deep_copy(index), *settings, *part;

	if (!body)
		return NULL;
	json_object_del(body, "data_stream");
	if (stands_for)
		json_object_del(json_object_get(body, "aliases"), stands_for);
	settings = bak_os_at(body, "settings", "index");
	drop(settings, own);
	part = bak_os_at(settings, "routing", "allocation");
	json_object_del(part, "initial_recovery");
	if (part && !json_object_size(part))
		json_object_del(json_object_get(settings, "routing"), "allocation");
	part = json_object_get(settings, "blocks");
	json_object_del(part, "read_only_allow_delete");
	if (part && !json_object_size(part))
		json_object_del(settings, "blocks");
	return body;
}

int bak_os_describe(struct bak_os *os, const char *concrete, json_t **out_body, uint64_t *out_bytes,
		    struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *answer = NULL;
	BAK_AUTO(bak_os_json_free) json_t *stats = NULL;

	if (bak_os_call(os->http, "GET", bak_http_path("/%s", concrete), NULL, &answer, err) < 0 ||
	    bak_os_call(os->http, "GET", bak_http_path("/%s/_stats/store", concrete), NULL, &stats,
			err) < 0)
		return -1;
	*out_bytes = bak_os_number(bak_os_at(bak_os_at(stats, "_all", "primaries"), "store", NULL),
				   "size_in_bytes");
	/* an alias is answered by what it leads to */
	void *first = json_object_iter(answer);

	*out_body = first ? own_body(json_object_iter_value(first), json_object_iter_key(first))
			  : NULL;
	if (*out_body)
		return 0;
	return bak_error_set(err, BAK_CORRUPT, "the server does not describe index %s", concrete);
}
