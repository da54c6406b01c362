/* A collection made anew on a server: created, filled in batches, read back and compared. See
 * chroma.h. */
#include "stores/chroma/chroma.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A batch is sent when it has one of these; the server takes 40 MiB, a proxy perhaps less. */
#define BATCH_BYTES ((size_t)6 << 20)
#define BATCH_ROWS 2000

struct load {
	struct bak_chroma *chroma;
	const struct bak_chroma_collection *collection;
	const char *into;
	const struct bak_chroma_rows *rows;
	struct bak_chroma_facts server;
	char *id;
	uint64_t n;
	/* The batch: lines, and where each ends. */
	struct bak_buf lines;
	size_t *ends;
	size_t n_ends, cap_ends;
	size_t batch_bytes; /* grows smaller when the server takes no more */
	bool differs;
	bool unsure; /* whether the collection was made */
};

/* --- the empty collection --- */

/* Everything that was asked for is so; a newer server may say more. */
static bool is_within(const json_t *want, const json_t *have)
{
	const char *key;
	json_t *value;

	if (!want)
		return true;
	if (!json_is_object(want))
		return json_equal(want, have);
	json_object_foreach((json_t *)(uintptr_t)want, key, value)
	{
		json_t *other = json_object_get(have, key);

		if (!json_is_null(value) && (!other || !is_within(value, other)))
			return false;
	}
	return true;
}

/* Schema and configuration say the same; the server takes one of them. */
static json_t *creation(const struct load *l, bool by_schema)
{
	json_t *about = l->collection->about;
	json_t *body = json_pack("{s:s, s:b}", "name", l->into, "get_or_create", 0);
	json_t *metadata = json_object_get(about, "metadata");
	const char *from = by_schema ? "schema" : "configuration_json";

	if (!body)
		return NULL;
	if ((json_object_size(metadata) && json_object_set(body, "metadata", metadata) < 0) ||
	    (json_is_object(json_object_get(about, from)) &&
	     json_object_set(body, by_schema ? "schema" : "configuration",
			     json_object_get(about, from)) < 0)) {
		json_decref(body);
		return NULL;
	}
	return body;
}

/* The name is nobody else's: what has it was made by us, even if the answer was lost and the second
 * try was told that it exists. */
static int ask_made(struct load *l, json_t **out, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *behind = bak_http_path("/%s", l->into);
	BAK_AUTO(bak_free_ptr) char *path = behind ? bak_chroma_path(l->collection, behind) : NULL;
	struct bak_error scratch = BAK_ERROR_INIT;

	l->unsure = err->code == BAK_UNAVAILABLE || err->code == BAK_CANCELLED;
	if (!path || (err->code != BAK_EXISTS && err->code != BAK_UNAVAILABLE))
		return -1;
	if (bak_http_json(l->chroma->http, "GET", path, NULL, out, &scratch) < 0) {
		l->unsure = l->unsure && scratch.code != BAK_NOT_FOUND;
		return -1;
	}
	*err = (struct bak_error)BAK_ERROR_INIT;
	return 0;
}

static int create(struct load *l, bool by_schema, bool *out_same, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *path = bak_chroma_path(l->collection, "");
	const json_t *about = l->collection->about;
	json_t *body = creation(l, by_schema), *made = NULL;
	const char *id;
	int rc = path && body ? 0 : bak_error_nomem(err);

	if (rc == 0 && bak_http_json(l->chroma->http, "POST", path, body, &made, err) < 0)
		rc = ask_made(l, &made, err);
	id = json_string_value(json_object_get(made, "id"));
	if (rc == 0) {
		free(l->id);
		l->id = id ? strdup(id) : NULL;
		if (!l->id)
			rc = bak_error_set(err, BAK_CORRUPT,
					   "the server made a collection "
					   "without an id");
	}
	*out_same = rc == 0 && is_within(json_object_get(about, "configuration_json"),
					 json_object_get(made, "configuration_json"));
	json_decref(made);
	json_decref(body);
	return rc;
}

int bak_chroma_delete(struct bak_http *http, const struct bak_chroma_collection *collection,
		      const char *name, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *behind = bak_http_path("/%s", name);
	BAK_AUTO(bak_free_ptr) char *path = behind ? bak_chroma_path(collection, behind) : NULL;

	const struct bak_http_request request = {.method = "DELETE", .path = path, .again = true};
	struct bak_error why = BAK_ERROR_INIT;

	if (!path)
		return bak_error_nomem(err);
	if (bak_http_send(http, &request, NULL, &why) == 0 || why.code == BAK_NOT_FOUND)
		return 0;
	*err = why;
	return -1;
}

/* Servers that know no schema ignore it: what comes out is compared. */
static int create_any(struct load *l, struct bak_error *err)
{
	bool by_schema = json_is_object(json_object_get(l->collection->about, "schema"));
	bool same;

	if (create(l, by_schema, &same, err) < 0)
		return -1;
	if (!same && by_schema &&
	    (bak_chroma_delete(l->chroma->http, l->collection, l->into, err) < 0 ||
	     create(l, false, &same, err) < 0))
		return -1;
	if (same)
		return 0;
	return bak_error_set(err, BAK_UNSUPPORTED,
			     "the server makes a collection of another configuration than it had; "
			     "is it of another version?");
}

/* --- batches --- */

static int append(struct bak_buf *out, struct bak_text text)
{
	return bak_buf_append(out, text.p, text.len);
}

static int append_word(struct bak_buf *out, const char *word)
{
	return bak_buf_append(out, word, strlen(word));
}

/* As numbers, with the nine digits that bring each float32 back. */
static int append_floats(struct bak_buf *out, struct bak_text base64)
{
	BAK_AUTO(bak_buf_release) struct bak_buf floats = BAK_BUF_INIT;
	int rc = bak_text_to_bytes(base64, &floats);

	for (size_t at = 0; rc == 0 && at < floats.len; at += 4) {
		const uint8_t *p = floats.p + at;
		uint32_t bits = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
				(uint32_t)p[3] << 24;
		float value;

		memcpy(&value, &bits, sizeof value);
		rc = bak_buf_printf(out, "%c%.9g", at ? ',' : '[', (double)value);
	}
	return rc < 0 ? -1 : append_word(out, floats.len ? "]" : "[]");
}

struct columns {
	struct bak_buf v[5];
};

static void columns_release(struct columns *columns)
{
	for (size_t i = 0; i < 5; i++)
		bak_buf_release(&columns->v[i]);
}

static int add_row(const struct load *l, struct columns *columns, bool first,
		   const struct bak_chroma_row *row)
{
	const struct bak_text cells[] = {row->id, row->document, row->metadata, row->uri};

	for (size_t i = 0; i < 5; i++) {
		int rc = first ? 0 : append_word(&columns->v[i], ",");

		if (rc == 0)
			rc = i < 4              ? append(&columns->v[i], cells[i])
			     : l->server.base64 ? append(&columns->v[i], row->embedding)
						: append_floats(&columns->v[i], row->embedding);
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int write_body(const struct load *l, size_t from, size_t to, struct bak_buf *out,
		      struct bak_error *err)
{
	static const char *const keys[] = {"{\"ids\":[", "],\"documents\":[", "],\"metadatas\":[",
					   "],\"uris\":[", "],\"embeddings\":["};
	BAK_AUTO(columns_release) struct columns columns = {.v = {BAK_BUF_INIT}};
	BAK_AUTO(bak_buf_release) struct bak_buf spare = BAK_BUF_INIT;
	int rc = 0;

	for (size_t i = from; i < to; i++) {
		size_t begin = i ? l->ends[i - 1] : 0;
		struct bak_chroma_row row;

		if (bak_chroma_row_parse((const char *)l->lines.p + begin, l->ends[i] - begin, &row,
					 &spare, err) < 0)
			return -1;
		if (add_row(l, &columns, i == from, &row) < 0)
			return bak_error_nomem(err);
	}
	for (size_t i = 0; i < 5 && rc == 0; i++) {
		rc = append_word(out, keys[i]);
		if (rc == 0)
			rc = bak_buf_append(out, columns.v[i].p, columns.v[i].len);
	}
	return rc < 0 || append_word(out, "]}") < 0 ? bak_error_nomem(err) : 0;
}

/* Rows that are there already are passed over by the server, so a batch may be sent again. */
static int post(struct load *l, const struct bak_buf *body, long *out_status, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *behind = bak_http_path("/%s/add", l->id);
	BAK_AUTO(bak_free_ptr) char *path = behind ? bak_chroma_path(l->collection, behind) : NULL;
	struct bak_http_answer answer = {.status = 0};
	const struct bak_http_request request = {.method = "POST",
						 .path = path,
						 .body = body->p,
						 .body_len = body->len,
						 .again = true};
	int rc = path ? bak_http_send(l->chroma->http, &request, &answer, err)
		      : bak_error_nomem(err);

	*out_status = answer.status;
	bak_http_answer_release(&answer);
	return rc;
}

/* In halves when it is too large. */
static int send_rows(struct load *l, size_t from, size_t to, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf body = BAK_BUF_INIT;
	size_t middle = from + (to - from) / 2;
	long status;

	if (write_body(l, from, to, &body, err) < 0)
		return -1;
	if (post(l, &body, &status, err) == 0)
		return 0;
	if (status != 413)
		return -1;
	if (to - from == 1)
		return bak_error_wrap(err,
				      "a single row of %zu bytes is too large for the server, or "
				      "for a proxy before it",
				      body.len);
	l->batch_bytes = body.len / 2;
	bak_buf_release(&body);
	return send_rows(l, from, middle, err) < 0 ? -1 : send_rows(l, middle, to, err);
}

static int flush(struct load *l, struct bak_error *err)
{
	int rc = l->n_ends ? send_rows(l, 0, l->n_ends, err) : 0;

	l->n_ends = 0;
	l->lines.len = 0;
	return rc;
}

static int fill(struct load *l, struct bak_error *err)
{
	size_t most = l->server.max_batch < BATCH_ROWS ? (size_t)l->server.max_batch : BATCH_ROWS;
	struct bak_text line;
	int rc;

	while ((rc = l->rows->next(l->rows->ctx, &line, err)) > 0) {
		if (l->lines.len > 0 && l->lines.len + line.len > l->batch_bytes &&
		    flush(l, err) < 0)
			return -1;
		if (bak_buf_append(&l->lines, line.p, line.len) < 0 ||
		    bak_grow(&l->ends, &l->cap_ends, l->n_ends, sizeof *l->ends) < 0)
			return bak_error_nomem(err);
		l->ends[l->n_ends++] = l->lines.len;
		l->n++;
		if (bak_store_check_cancelled(l->chroma->env, err) < 0 ||
		    (l->n_ends == most && flush(l, err) < 0))
			return -1;
	}
	return rc < 0 ? -1 : flush(l, err);
}

/* --- reading back --- */

/* What came back is told in so far as it fits into a line. */
static int tell_difference(struct load *l, struct bak_text id, struct bak_text want,
			   struct bak_text have, struct bak_error *err)
{
	size_t at = 0;

	/* Lists are what servers mix up: see anew.c. */
	l->differs = memchr(have.p, '[', have.len) != NULL;
	while (at < want.len && at < have.len && want.p[at] == have.p[at])
		at++;
	bak_store_log(l->chroma->env, "wanted from byte %zu on: %.*s", at,
		      (int)(want.len - at < 400 ? want.len - at : 400), want.p + at);
	bak_store_log(l->chroma->env, "came back: %.*s",
		      (int)(have.len - at < 400 ? have.len - at : 400), have.p + at);
	return bak_error_set(err, BAK_CORRUPT, "the row with id %.*s reads back differently",
			     (int)(id.len < 200 ? id.len : 200), id.p);
}

static int compare_page(struct load *l, const struct bak_chroma_page *page, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf line = BAK_BUF_INIT;
	bool nearly = bak_chroma_is_cosine(l->collection);

	for (size_t i = 0; i < page->n; i++) {
		struct bak_text want = {"", 0}, have;
		int rc = l->rows->next(l->rows->ctx, &want, err);

		line.len = 0;
		if (rc < 0 || bak_chroma_page_line(page, i, &line, err) < 0)
			return -1;
		have = (struct bak_text){(const char *)line.p, line.len};
		if (rc == 0 || !bak_chroma_lines_equal(want, have, nearly))
			return tell_difference(l, page->ids.v[i], want, have, err);
	}
	return 0;
}

static int compare(struct load *l, struct bak_error *err)
{
	struct bak_chroma_collection made = *l->collection;
	struct bak_chroma_fetch_conf conf = {
		.chroma = l->chroma, .collection = &made, .rows = l->n};
	const struct bak_chroma_page *page;
	struct bak_chroma_fetch *fetch = NULL;
	uint64_t n = 0;
	int rc;

	made.id = l->id;
	if (bak_chroma_count(l->chroma->http, &made, &n, err) < 0)
		return -1;
	if (n != l->n)
		return bak_error_set(err, BAK_CORRUPT,
				     "%" PRIu64 " rows were added, and the server counts %" PRIu64,
				     l->n, n);
	if (l->rows->rewind(l->rows->ctx, err) < 0 || bak_chroma_fetch_new(&conf, &fetch, err) < 0)
		return -1;
	n = 0;
	while ((rc = bak_chroma_fetch_next(fetch, &page, err)) > 0) {
		rc = compare_page(l, page, err);
		n += page->n;
		if (rc < 0)
			break;
	}
	bak_chroma_fetch_free(fetch);
	if (rc == 0 && n != l->n)
		rc = bak_error_set(err, BAK_CORRUPT,
				   "%" PRIu64 " rows were added, and %" PRIu64 " read back", l->n,
				   n);
	return rc;
}

/* --- the whole --- */

int bak_chroma_load(struct bak_chroma *chroma, const struct bak_chroma_collection *collection,
		    const char *into, const struct bak_chroma_rows *rows, bool *out_made,
		    bool *out_differs, char **out_id, uint64_t *out_n, struct bak_error *err)
{
	struct load l = {.chroma = chroma,
			 .collection = collection,
			 .into = into,
			 .rows = rows,
			 .batch_bytes = BATCH_BYTES};
	int rc = bak_chroma_ask(chroma->http, &l.server, err);

	*out_differs = false;
	if (rc == 0)
		rc = create_any(&l, err);
	if (rc == 0)
		rc = fill(&l, err);
	if (rc == 0) {
		rc = compare(&l, err);
		*out_differs = l.differs;
	}
	*out_made = l.id || l.unsure;
	if (rc == 0) {
		*out_n = l.n;
		*out_id = l.id;
		l.id = NULL;
	}
	free(l.id);
	free(l.ends);
	bak_buf_release(&l.lines);
	return rc;
}
