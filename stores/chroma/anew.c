/*
 * A collection made under a name of its own, again if need be.
 *
 * Found by experiment with server 1.5: it gives rows the numbers of rows that were deleted, if those
 * were the highest, but forgets to delete their arrays (lists among the metadata). So rows that are
 * added may come back with lists that some deleted row had. Such numbers are free as long as they
 * are the highest: what was made in vain stays until the next try is over, with more and more empty
 * rows behind it, so that the next one gets other numbers.
 */
#include "stores/chroma/chroma.h"

#include "engine/base/bytes.h"
#include "engine/base/hash.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Empty rows before the second try and those behind it. */
static const unsigned fillers[] = {0, 2000, 10000, 50000};
#define TRIES (1 + sizeof fillers / sizeof *fillers)
/* At once. */
#define FILLER_BATCH 1000

/* Servers before 1.0 take names of 63 characters, newer ones of 512: what is put behind a name must
 * fit. */
#define OLD_NAME_MAX 63
#define HEAD_SHORT 36
#define HEAD_LONG 440

int bak_chroma_head_len(const char *name)
{
	return strlen(name) > OLD_NAME_MAX ? HEAD_LONG : HEAD_SHORT;
}

struct anew {
	struct bak_chroma *chroma;
	const struct bak_chroma_collection *collection;
	/* To be deleted in the end. */
	char vain[2 * TRIES][BAK_CHROMA_NAME_LEN];
	size_t n_vain;
};

static int fresh_name(const char *name, char out[BAK_CHROMA_NAME_LEN], struct bak_error *err)
{
	uint8_t random[8];
	char hex[17];

	if (bak_random(random, sizeof random, err) < 0)
		return -1;
	bak_hex(hex, random, sizeof random);
	snprintf(out, BAK_CHROMA_NAME_LEN, "%.*s.bakfs-%s", bak_chroma_head_len(name), name, hex);
	return 0;
}

static int add_fillers(struct anew *a, const char *id, unsigned from, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *behind = bak_http_path("/%s/add", id);
	BAK_AUTO(bak_free_ptr) char *path = behind ? bak_chroma_path(a->collection, behind) : NULL;
	json_t *ids = json_array(), *embeddings = json_array(), *body;
	int rc = path ? 0 : bak_error_nomem(err);

	for (unsigned i = 0; i < FILLER_BATCH; i++) {
		json_array_append_new(ids, json_sprintf("%u", from + i));
		json_array_append_new(embeddings, json_pack("[f]", (double)(from + i)));
	}
	body = json_pack("{s:o, s:o}", "ids", ids, "embeddings", embeddings);
	if (rc == 0)
		rc = body ? bak_http_json(a->chroma->http, "POST", path, body, NULL, err)
			  : bak_error_nomem(err);
	json_decref(body);
	return rc;
}

/* A collection of n empty rows. */
static int occupy(struct anew *a, unsigned n, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *path = bak_chroma_path(a->collection, "");
	char *name = a->vain[a->n_vain];
	json_t *body, *made = NULL;
	const char *id;
	int rc;

	if (n == 0)
		return 0;
	if (fresh_name(a->collection->name, name, err) < 0)
		return -1;
	/* An index that costs little and is never written. */
	body = json_pack("{s:s, s:{s:{s:i, s:i, s:i}}}", "name", name, "configuration", "hnsw",
			 "ef_construction", 4, "max_neighbors", 2, "sync_threshold", 1000000);
	rc = path && body ? bak_http_json(a->chroma->http, "POST", path, body, &made, err)
			  : bak_error_nomem(err);
	json_decref(body);
	a->n_vain++; /* without an answer it may be there */
	if (rc < 0)
		return -1;
	id = json_string_value(json_object_get(made, "id"));
	for (unsigned at = 0; at < n && rc == 0; at += FILLER_BATCH)
		rc = id ? add_fillers(a, id, at, err) : bak_error_set(err, BAK_CORRUPT, "no id");
	json_decref(made);
	return rc;
}

/* Not stopped by who cancels the restore. */
static void clean_up(struct anew *a)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	struct bak_http *http = NULL;

	if (a->n_vain == 0)
		return;
	int rc = bak_http_undoing(a->chroma->http, &http, &scratch);
	for (size_t i = 0; i < a->n_vain; i++) {
		if (rc < 0 || bak_chroma_delete(http, a->collection, a->vain[i], &scratch) < 0)
			bak_store_warn(a->chroma->env, "collection %s is left over: %s", a->vain[i],
				       scratch.msg);
	}
	bak_http_close(http);
}

int bak_chroma_anew(struct bak_chroma *chroma, const struct bak_chroma_collection *collection,
		    const struct bak_chroma_rows *rows, char out_name[BAK_CHROMA_NAME_LEN],
		    char **out_id, uint64_t *out_n, struct bak_error *err)
{
	struct anew a = {.chroma = chroma, .collection = collection};
	bool made, differs = true;
	int rc = -1;

	for (size_t i = 0; i < TRIES && rc < 0 && differs; i++) {
		if (i > 0) {
			bak_store_log(chroma->env, "%s: %s; it is made once more", collection->name,
				      err->msg);
			*err = (struct bak_error)BAK_ERROR_INIT;
			if (occupy(&a, fillers[i - 1], err) < 0 || rows->rewind(rows->ctx, err) < 0)
				break;
		}
		if (fresh_name(collection->name, out_name, err) < 0)
			break;
		rc = bak_chroma_load(chroma, collection, out_name, rows, &made, &differs, out_id,
				     out_n, err);
		if (rc < 0 && made)
			memcpy(a.vain[a.n_vain++], out_name, BAK_CHROMA_NAME_LEN);
	}
	clean_up(&a);
	return rc;
}
