/* Collections changing names: see chroma.h. The server renames one at a time; what cannot be
 * finished is undone. */
#include "stores/chroma/chroma.h"

#include "engine/base/bytes.h"

#include <stdlib.h>
#include <string.h>

int bak_chroma_swap_add(struct bak_chroma_swap *swap, const struct bak_chroma_collection *at,
			const char *from, const char *id, const char *to, struct bak_error *err)
{
	struct bak_chroma_rename *r;

	if (bak_grow(&swap->v, &swap->cap, swap->n, sizeof *swap->v) < 0)
		return bak_error_nomem(err);
	r = &swap->v[swap->n++];
	*r = (struct bak_chroma_rename){.at = {.tenant = strdup(at->tenant),
					       .database = strdup(at->database),
					       .name = strdup(from),
					       .id = strdup(id)},
					.to = strdup(to)};
	return r->at.tenant && r->at.database && r->at.name && r->at.id && r->to
		       ? 0
		       : bak_error_nomem(err);
}

void bak_chroma_swap_release(struct bak_chroma_swap *swap)
{
	for (size_t i = 0; i < swap->n; i++) {
		bak_chroma_collection_release(&swap->v[i].at);
		free(swap->v[i].to);
	}
	free(swap->v);
	*swap = (struct bak_chroma_swap){.n = 0};
}

/* By its id: a name that it has already is no harm. */
static int rename_to(struct bak_http *http, const struct bak_chroma_collection *at, const char *to,
		     struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *behind = bak_http_path("/%s", at->id);
	BAK_AUTO(bak_free_ptr) char *path = behind ? bak_chroma_path(at, behind) : NULL;
	json_t *body = json_pack("{s:s}", "new_name", to);
	BAK_AUTO(bak_free_ptr) char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	const struct bak_http_request request = {.method = "PUT",
						 .path = path,
						 .body = text,
						 .body_len = text ? strlen(text) : 0,
						 .again = true};

	json_decref(body);
	return path && text ? bak_http_send(http, &request, NULL, err) : bak_error_nomem(err);
}

/* Surely it still has the name that it had. */
static bool is_named(struct bak_http *http, const struct bak_chroma_collection *at)
{
	BAK_AUTO(bak_free_ptr) char *id = NULL;
	struct bak_error scratch = BAK_ERROR_INIT;

	return bak_chroma_find(http, at, at->name, &id, &scratch) == 1 && strcmp(id, at->id) == 0;
}

int bak_chroma_swap_run(struct bak_http *http, struct bak_chroma_swap *swap, bool *out_undone,
			struct bak_error *err)
{
	struct bak_error second = BAK_ERROR_INIT;
	size_t done = 0;

	*out_undone = true;
	while (done < swap->n && rename_to(http, &swap->v[done].at, swap->v[done].to, err) == 0)
		done++;
	if (done == swap->n)
		return 0;
	bak_error_wrap(err, "renaming %s to %s", swap->v[done].at.name, swap->v[done].to);
	/* When the answer was lost it may have been done all the same; a name is also put back where
	 * it is. */
	if (err->code == BAK_UNAVAILABLE && !is_named(http, &swap->v[done].at))
		done++;
	while (done-- > 0) {
		const struct bak_chroma_rename *r = &swap->v[done];

		if (rename_to(http, &r->at, r->at.name, &second) == 0)
			continue;
		*out_undone = false;
		return bak_error_wrap(err, "%s is still named %s (%s)", r->at.name, r->to,
				      second.msg);
	}
	return -1;
}

/* --- and back --- */

/* "NAME.aside-STAMP" of "NAME.before-STAMP": its name while two are exchanged, which says what it is
 * when we are stopped. To free. */
static char *aside_of(const char *kept)
{
	const char *before = strstr(kept, ".before-"), *more;
	char *out;

	while (before && (more = strstr(before + 1, ".before-")) != NULL)
		before = more;
	if (!before || asprintf(&out, "%.*s" BAK_CHROMA_ASIDE "%s", (int)(before - kept), kept,
				before + 8) < 0)
		return NULL;
	return out;
}

/* Both there: exchanged; one: it takes the other's name. */
static int plan_toggle(struct bak_http *http, const json_t *entry, struct bak_chroma_swap *swap,
		       struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *live_id = NULL, *kept_id = NULL, *aside = NULL;
	const char *live = json_string_value(json_object_get(entry, "name"));
	const char *kept = json_string_value(json_object_get(entry, "kept"));
	const char *tenant = json_string_value(json_object_get(entry, "tenant"));
	const char *database = json_string_value(json_object_get(entry, "database"));
	struct bak_chroma_collection at = {.tenant = (char *)(uintptr_t)tenant,
					   .database = (char *)(uintptr_t)database};

	if (!live || !kept || !tenant || !database)
		return bak_error_set(err, BAK_CORRUPT, "the rollback's state names no collections");
	if (bak_chroma_find(http, &at, live, &live_id, err) < 0 ||
	    bak_chroma_find(http, &at, kept, &kept_id, err) < 0)
		return -1;
	bool both = json_is_true(json_object_get(entry, "replaced")) &&
		    json_is_true(json_object_get(entry, "made"));
	if ((!live_id && !kept_id) || (both && (!live_id || !kept_id)))
		return bak_error_set(err, BAK_NOT_FOUND,
				     "there is no collection %s any more: %s cannot be rolled back",
				     live_id ? kept : live, live);
	if (!kept_id)
		return bak_chroma_swap_add(swap, &at, live, live_id, kept, err);
	if (!live_id)
		return bak_chroma_swap_add(swap, &at, kept, kept_id, live, err);
	aside = aside_of(kept);
	if (!aside)
		return bak_error_nomem(err);
	return bak_chroma_swap_add(swap, &at, live, live_id, aside, err) < 0 ||
			       bak_chroma_swap_add(swap, &at, kept, kept_id, live, err) < 0 ||
			       bak_chroma_swap_add(swap, &at, aside, live_id, kept, err) < 0
		       ? -1
		       : 0;
}

int bak_chroma_api_rollback(struct bak_chroma *chroma, const json_t *state, struct bak_error *err)
{
	const json_t *entries = json_object_get(state, "collections");
	struct bak_chroma_swap swap = {.n = 0};
	bool undone;
	int rc = 0;

	if (!json_is_array(entries))
		return bak_error_set(err, BAK_CORRUPT, "the rollback's state names no collections");
	for (size_t i = 0; i < json_array_size(entries) && rc == 0; i++)
		rc = plan_toggle(chroma->http, json_array_get(entries, i), &swap, err);
	if (rc == 0)
		rc = bak_chroma_swap_run(chroma->http, &swap, &undone, err);
	bak_chroma_swap_release(&swap);
	return rc;
}
