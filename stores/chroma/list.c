/* The databases and collections of a server: see chroma.h. */
#include "stores/chroma/chroma.h"

#include "engine/objects/tree.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* So many are asked for at once. */
#define LIST_PAGE 500

/* --- one collection --- */

void bak_chroma_collection_release(struct bak_chroma_collection *c)
{
	free(c->tenant);
	free(c->database);
	free(c->name);
	free(c->id);
	json_decref(c->about);
	*c = (struct bak_chroma_collection){.name = NULL};
}

static const json_t *part(const json_t *object, const char *a, const char *b)
{
	return json_object_get(json_object_get(object, a), b);
}

/* The distance stands with one of the two kinds of index. */
bool bak_chroma_is_cosine(const struct bak_chroma_collection *c)
{
	const json_t *conf = json_object_get(c->about, "configuration_json");
	const char *space = json_string_value(part(conf, "hnsw", "space"));

	if (!space)
		space = json_string_value(part(conf, "spann", "space"));
	return space && strcmp(space, "cosine") == 0;
}

static const char *const about_keys[] = {
	"name", "tenant", "database", "dimension", "metadata", "configuration_json", "schema"};

json_t *bak_chroma_about(const struct bak_chroma_collection *c)
{
	json_t *out = json_object();

	for (size_t i = 0; out && i < sizeof about_keys / sizeof *about_keys; i++) {
		json_t *value = json_object_get(c->about, about_keys[i]);

		if (value && json_object_set(out, about_keys[i], value) < 0) {
			json_decref(out);
			return NULL;
		}
	}
	return out;
}

static char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? strdup(text) : NULL;
}

int bak_chroma_from_about(const char *text, size_t len, struct bak_chroma_collection *out,
			  struct bak_error *err)
{
	json_t *about = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);

	*out = (struct bak_chroma_collection){.tenant = text_of(about, "tenant"),
					      .database = text_of(about, "database"),
					      .name = text_of(about, "name"),
					      .about = about};
	if (out->tenant && out->database && out->name)
		return 0;
	bak_chroma_collection_release(out);
	return bak_error_set(err, BAK_CORRUPT,
			     "%s does not say which collection it is (name, tenant, database)",
			     BAK_CHROMA_ABOUT);
}

char *bak_chroma_full_name(const struct bak_chroma_collection *c)
{
	char *out;

	return asprintf(&out, "%s/%s/%s", c->tenant, c->database, c->name) < 0 ? NULL : out;
}

char *bak_chroma_path(const struct bak_chroma_collection *c, const char *behind)
{
	BAK_AUTO(bak_free_ptr)
	char *head = bak_http_path("/api/v2/tenants/%s/databases/%s/collections", c->tenant,
				   c->database);
	char *out;

	return !head || asprintf(&out, "%s%s", head, behind) < 0 ? NULL : out;
}

int bak_chroma_count(struct bak_http *http, const struct bak_chroma_collection *c, uint64_t *out,
		     struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *behind = bak_http_path("/%s/count", c->id);
	BAK_AUTO(bak_free_ptr) char *path = behind ? bak_chroma_path(c, behind) : NULL;
	json_t *answer = NULL;

	if (!path)
		return bak_error_nomem(err);
	if (bak_http_json(http, "GET", path, NULL, &answer, err) < 0)
		return -1;
	*out = json_is_integer(answer) ? (uint64_t)json_integer_value(answer) : UINT64_MAX;
	json_decref(answer);
	/* The server counts in 32 bits. */
	return *out <= UINT32_MAX
		       ? 0
		       : bak_error_set(err, BAK_CORRUPT, "%s: its count is no number", c->name);
}

/* The server takes names in these paths, and ids where something is done. */
int bak_chroma_find(struct bak_http *http, const struct bak_chroma_collection *at, const char *name,
		    char **out_id, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *behind = bak_http_path("/%s", name);
	BAK_AUTO(bak_free_ptr) char *path = behind ? bak_chroma_path(at, behind) : NULL;
	json_t *found = NULL;
	const char *id;

	*out_id = NULL;
	if (!path)
		return bak_error_nomem(err);
	if (bak_http_json(http, "GET", path, NULL, &found, err) < 0) {
		if (err->code != BAK_NOT_FOUND)
			return -1;
		*err = (struct bak_error)BAK_ERROR_INIT;
		return 0;
	}
	id = json_string_value(json_object_get(found, "id"));
	*out_id = id ? strdup(id) : NULL;
	json_decref(found);
	return *out_id ? 1 : bak_error_set(err, BAK_CORRUPT, "%s has no id", name);
}

/* --- what we leave out --- */

/* Whether the word and a stamp are in the name, with "-2" or so behind it or not. */
static bool is_stamped(const char *name, const char *word)
{
	const char *at = strstr(name, word);

	for (; at; at = strstr(at + 1, word)) {
		char stamp[BAK_STAMP_LEN + 1];
		int64_t utc;

		snprintf(stamp, sizeof stamp, "%s", at + strlen(word));
		if (bak_stamp_parse(stamp, &utc))
			return true;
	}
	return false;
}

bool bak_chroma_is_kept(const char *name)
{
	return is_stamped(name, ".before-");
}

bool bak_chroma_is_aside(const char *name)
{
	return is_stamped(name, BAK_CHROMA_ASIDE);
}

/* "<name>.bakfs-<16 hex digits>" */
bool bak_chroma_is_left(const char *name)
{
	const char *fresh = strstr(name, ".bakfs-");

	return fresh && strlen(fresh + 7) == 16 && strspn(fresh + 7, "0123456789abcdef") == 16;
}

static bool is_chosen(const struct bak_store_conf *conf, const struct bak_chroma_collection *c,
		      const char *option, bool if_none)
{
	BAK_AUTO(bak_free_ptr) char *full = bak_chroma_full_name(c);
	const char *pattern = bak_store_get_item(conf, option, 0);

	if (!pattern)
		return if_none;
	for (size_t i = 0; (pattern = bak_store_get_item(conf, option, i)) != NULL; i++) {
		if (fnmatch(pattern, c->name, 0) == 0 || (full && fnmatch(pattern, full, 0) == 0))
			return true;
	}
	return false;
}

/* --- listing --- */

void bak_chroma_list_release(struct bak_chroma_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		bak_chroma_collection_release(&list->v[i]);
	for (size_t i = 0; i < list->n_databases; i++) {
		free(list->databases[i].tenant);
		free(list->databases[i].name);
	}
	free(list->v);
	free(list->databases);
	free(list->left);
	*list = (struct bak_chroma_list){.n = 0};
}

/* Calls fn for each object of a list that the server hands out in pages. path ends where the query
 * begins. */
static int each(struct bak_http *http, const char *path,
		int (*fn)(void *ctx, json_t *item, struct bak_error *err), void *ctx,
		struct bak_error *err)
{
	size_t n = LIST_PAGE;

	for (size_t at = 0; n == LIST_PAGE; at += n) {
		BAK_AUTO(bak_free_ptr) char *query = NULL;
		json_t *items = NULL, *item;
		size_t i;
		int rc = 0;

		if (asprintf(&query, "%s?limit=%d&offset=%zu", path, LIST_PAGE, at) < 0) {
			query = NULL;
			return bak_error_nomem(err);
		}
		if (bak_http_json(http, "GET", query, NULL, &items, err) < 0)
			return -1;
		n = json_array_size(items);
		json_array_foreach(items, i, item)
		{
			if (rc == 0)
				rc = fn(ctx, item, err);
		}
		json_decref(items);
		if (rc < 0)
			return -1;
	}
	return 0;
}

/* Nobody wants it; how to name it is remembered. */
static void add_left(struct bak_chroma_list *list, const struct bak_chroma_collection *c)
{
	BAK_AUTO(bak_free_ptr) char *behind = bak_http_path("/%s", c->name);

	if (list->n_left++ == 0 && behind)
		list->left = bak_chroma_path(c, behind);
}

struct listing {
	struct bak_chroma *chroma;
	struct bak_http *http;
	struct bak_chroma_list *list;
	const char *tenant;
};

static int add_collection(void *ctx, json_t *item, struct bak_error *err)
{
	struct listing *l = ctx;
	const struct bak_store_conf *conf = l->chroma->conf;
	struct bak_chroma_list *list = l->list;
	struct bak_chroma_collection c = {.tenant = text_of(item, "tenant"),
					  .database = text_of(item, "database"),
					  .name = text_of(item, "name"),
					  .id = text_of(item, "id"),
					  .about = json_incref(item)};
	int rc = 0;

	if (!c.tenant || !c.database || !c.name || !c.id)
		rc = bak_error_set(err, BAK_CORRUPT,
				   "the server's list of collections makes no sense");
	else if (bak_chroma_is_kept(c.name))
		list->n_kept++;
	else if (bak_chroma_is_left(c.name))
		add_left(list, &c);
	else if (is_chosen(conf, &c, "collection", true) &&
		 !is_chosen(conf, &c, "exclude", false)) {
		if (bak_grow(&list->v, &list->cap, list->n, sizeof *list->v) < 0)
			rc = bak_error_nomem(err);
		else {
			list->v[list->n++] = c;
			return 0;
		}
	}
	bak_chroma_collection_release(&c);
	return rc;
}

static bool wants_database(const struct bak_store_conf *conf, const char *name)
{
	const char *want = bak_store_get_item(conf, "database", 0);

	for (size_t i = 0; want; want = bak_store_get_item(conf, "database", ++i)) {
		if (strcmp(want, name) == 0)
			return true;
	}
	return !bak_store_get_item(conf, "database", 0);
}

static int add_database(void *ctx, json_t *item, struct bak_error *err)
{
	struct listing *l = ctx;
	struct bak_chroma_list *list = l->list;
	const char *name = json_string_value(json_object_get(item, "name"));
	BAK_AUTO(bak_free_ptr) char *path = NULL;

	if (!name)
		return bak_error_set(err, BAK_CORRUPT,
				     "the server's list of databases makes no sense");
	if (!wants_database(l->chroma->conf, name))
		return 0;
	if (bak_grow(&list->databases, &list->cap_databases, list->n_databases,
		     sizeof *list->databases) < 0)
		return bak_error_nomem(err);
	list->databases[list->n_databases++] = (struct bak_chroma_database){strdup(l->tenant),
									    strdup(name)};
	path = bak_http_path("/api/v2/tenants/%s/databases/%s/collections", l->tenant, name);
	if (!path || !list->databases[list->n_databases - 1].tenant ||
	    !list->databases[list->n_databases - 1].name)
		return bak_error_nomem(err);
	return each(l->http, path, add_collection, l, err);
}

/* As the tree of a snapshot sorts them: by the names of files. */
static int by_name(const char *a, const char *b)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	char x[NAME_MAX + 1], y[NAME_MAX + 1];

	if (bak_chroma_file_name(a, x, &scratch) < 0 || bak_chroma_file_name(b, y, &scratch) < 0)
		return strcmp(a, b);
	return bak_name_cmp(x, strlen(x), y, strlen(y));
}

int bak_chroma_by_place(const struct bak_chroma_collection *a,
			const struct bak_chroma_collection *b)
{
	int order = by_name(a->tenant, b->tenant);

	if (order == 0)
		order = by_name(a->database, b->database);
	return order ? order : by_name(a->name, b->name);
}

static int by_place(const void *a, const void *b)
{
	return bak_chroma_by_place(a, b);
}

static int by_database(const void *a, const void *b)
{
	const struct bak_chroma_database *x = a, *y = b;
	int order = by_name(x->tenant, y->tenant);

	return order ? order : by_name(x->name, y->name);
}

/* The server names no tenants; one that does not exist has no databases. */
static int list_tenant(struct listing *l, const char *tenant, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *there = bak_http_path("/api/v2/tenants/%s", tenant);
	BAK_AUTO(bak_free_ptr) char *path = bak_http_path("/api/v2/tenants/%s/databases", tenant);

	if (!there || !path)
		return bak_error_nomem(err);
	l->tenant = tenant;
	if (bak_http_json(l->http, "GET", there, NULL, NULL, err) < 0)
		return -1;
	return each(l->http, path, add_database, l, err);
}

int bak_chroma_list(struct bak_chroma *chroma, struct bak_http *http, struct bak_chroma_list *out,
		    struct bak_error *err)
{
	struct listing l = {.chroma = chroma, .http = http, .list = out};
	const char *tenant = bak_store_get(chroma->conf, "tenant");

	for (size_t i = 1; tenant; i++) {
		if (list_tenant(&l, tenant, err) < 0)
			return -1;
		tenant = bak_store_get_item(chroma->conf, "tenant", i);
	}
	if (out->n > 1)
		qsort(out->v, out->n, sizeof *out->v, by_place);
	if (out->n_databases > 1)
		qsort(out->databases, out->n_databases, sizeof *out->databases, by_database);
	return 0;
}

int bak_chroma_counts(struct bak_chroma *chroma, json_t *counts, struct bak_error *err)
{
	struct bak_chroma_list list = {.n = 0};
	int rc = bak_chroma_list(chroma, chroma->http, &list, err);

	for (size_t i = 0; i < list.n && rc == 0; i++) {
		BAK_AUTO(bak_free_ptr) char *name = bak_chroma_full_name(&list.v[i]);
		uint64_t n;

		rc = bak_chroma_count(chroma->http, &list.v[i], &n, err);
		if (rc == 0 &&
		    (!name || json_object_set_new(counts, name, json_integer((json_int_t)n)) < 0))
			rc = bak_error_nomem(err);
	}
	bak_chroma_list_release(&list);
	return rc;
}
