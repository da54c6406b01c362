/* Rows out of pages and lines, and back: see row.h. */
#include "stores/chroma/row.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct bak_text null_text = {"null", 4};

static bool is_null(struct bak_text text)
{
	return bak_text_is(text, "null");
}

static bool is_string(struct bak_text text)
{
	return text.len >= 2 && text.p[0] == '"';
}

static int add_text(struct bak_buf *out, struct bak_text text)
{
	return bak_buf_append(out, text.p, text.len);
}

/* --- metadata --- */

struct member {
	struct bak_text key, value;
};

static int by_key(const void *a, const void *b)
{
	const struct bak_text *x = &((const struct member *)a)->key;
	const struct bak_text *y = &((const struct member *)b)->key;
	size_t len = x->len < y->len ? x->len : y->len;
	int order = memcmp(x->p, y->p, len);

	return order ? order : (x->len > y->len) - (x->len < y->len);
}

static int write_members(const struct member *members, size_t n, struct bak_buf *out)
{
	int rc = 0;

	for (size_t i = 0; i < n && rc == 0; i++) {
		rc = bak_buf_append(out, i ? "," : "{", 1);
		if (rc == 0)
			rc = add_text(out, members[i].key);
		if (rc == 0)
			rc = bak_buf_append(out, ":", 1);
		if (rc == 0)
			rc = add_text(out, members[i].value);
	}
	return rc < 0 ? -1 : bak_buf_append(out, "}", 1);
}

/* The server keeps metadata in no order, and none at all where it is empty. text was checked. */
static int write_metadata(struct bak_text text, struct bak_buf *out)
{
	struct bak_scan scan = {text.p, text.p + text.len};
	struct member *members = NULL;
	size_t n = 0, cap = 0;
	bool begun = false;
	int rc = -1;

	if (is_null(text))
		return add_text(out, text);
	for (;;) {
		struct member m;

		rc = bak_scan_member(&scan, &begun, &m.key);
		if (rc <= 0)
			break;
		if (bak_scan_value(&scan, &m.value) < 0 ||
		    bak_grow(&members, &cap, n, sizeof *members) < 0) {
			rc = -1;
			break;
		}
		members[n++] = m;
	}
	if (rc == 0 && n > 1)
		qsort(members, n, sizeof *members, by_key);
	if (rc == 0)
		rc = n ? write_members(members, n, out) : add_text(out, null_text);
	free(members);
	return rc;
}

/* --- pages --- */

static int parse_column(struct bak_scan *scan, struct bak_chroma_column *column)
{
	bool begun = false;
	int rc;

	while ((rc = bak_scan_item(scan, &begun)) > 0) {
		struct bak_text text;

		if (bak_scan_value(scan, &text) < 0 ||
		    bak_grow(&column->v, &column->cap, column->n, sizeof *column->v) < 0)
			return -1;
		column->v[column->n++] = text;
	}
	return rc;
}

static int parse_vectors(struct bak_scan *scan, struct bak_chroma_page *page)
{
	bool begun = false;
	int rc;

	while ((rc = bak_scan_item(scan, &begun)) > 0) {
		size_t dim;

		if (bak_scan_floats(scan, &page->vectors, &dim) < 0 ||
		    (page->n_vectors > 0 && dim != page->dim))
			return -1;
		page->dim = dim;
		page->n_vectors++;
	}
	return rc;
}

/* One member of the answer; those that we did not ask for are passed over. */
static int parse_part(struct bak_scan *scan, struct bak_text key, struct bak_chroma_page *page)
{
	const struct {
		const char *key;
		struct bak_chroma_column *column;
	} columns[] = {{"\"ids\"", &page->ids},
		       {"\"documents\"", &page->documents},
		       {"\"metadatas\"", &page->metadatas},
		       {"\"uris\"", &page->uris}};
	struct bak_scan ahead = *scan;
	struct bak_text value;

	while (ahead.p < ahead.end && *ahead.p == ' ')
		ahead.p++;
	if (ahead.p < ahead.end && *ahead.p != '[')
		return bak_scan_value(scan, &value); /* null: there is no such column */
	if (bak_text_is(key, "\"embeddings\""))
		return page->n_vectors ? -1 : parse_vectors(scan, page);
	for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
		if (bak_text_is(key, columns[i].key))
			return columns[i].column->n ? -1 : parse_column(scan, columns[i].column);
	}
	return bak_scan_value(scan, &value);
}

static bool all_are(const struct bak_chroma_column *column, size_t n, char kind)
{
	if (column->n != 0 && column->n != n)
		return false;
	for (size_t i = 0; i < column->n; i++) {
		if (column->v[i].p[0] != kind && !is_null(column->v[i]))
			return false;
	}
	return true;
}

static bool is_sound(const struct bak_chroma_page *page)
{
	for (size_t i = 0; i < page->n; i++) {
		if (!is_string(page->ids.v[i]))
			return false;
	}
	return (page->n_vectors == 0 || page->n_vectors == page->n) &&
	       all_are(&page->documents, page->n, '"') && all_are(&page->uris, page->n, '"') &&
	       all_are(&page->metadatas, page->n, '{');
}

int bak_chroma_page_parse(const char *p, size_t len, struct bak_chroma_page *page,
			  struct bak_error *err)
{
	struct bak_scan scan = {p, p + len};
	struct bak_text key;
	bool begun = false;
	int rc;

	while ((rc = bak_scan_member(&scan, &begun, &key)) > 0) {
		if (parse_part(&scan, key, page) < 0) {
			rc = -1;
			break;
		}
	}
	page->n = page->ids.n;
	if (rc == 0 && bak_scan_at_end(&scan) && is_sound(page))
		return 0;
	return bak_error_set(err, BAK_CORRUPT,
			     "the server's answer is no page of rows (at byte %zu of %zu)",
			     (size_t)(scan.p - p), len);
}

void bak_chroma_page_release(struct bak_chroma_page *page)
{
	free(page->ids.v);
	free(page->documents.v);
	free(page->metadatas.v);
	free(page->uris.v);
	bak_buf_release(&page->vectors);
	*page = (struct bak_chroma_page){.n = 0};
}

static struct bak_text cell(const struct bak_chroma_column *column, size_t i)
{
	return i < column->n ? column->v[i] : null_text;
}

/* --- lines --- */

static const char before_embedding[] = ",\"embedding\":";

/* All but the embedding. */
static int write_head(const struct bak_chroma_row *row, struct bak_buf *out)
{
	if (bak_buf_append(out, "{\"id\":", 6) < 0 || add_text(out, row->id) < 0 ||
	    bak_buf_append(out, ",\"document\":", 12) < 0 || add_text(out, row->document) < 0 ||
	    bak_buf_append(out, ",\"metadata\":", 12) < 0 ||
	    write_metadata(row->metadata, out) < 0 || bak_buf_append(out, ",\"uri\":", 7) < 0 ||
	    add_text(out, row->uri) < 0)
		return -1;
	return bak_buf_append(out, before_embedding, sizeof before_embedding - 1);
}

int bak_chroma_page_line(const struct bak_chroma_page *page, size_t i, struct bak_buf *out,
			 struct bak_error *err)
{
	const struct bak_chroma_row row = {.id = cell(&page->ids, i),
					   .document = cell(&page->documents, i),
					   .metadata = cell(&page->metadatas, i),
					   .uri = cell(&page->uris, i)};
	size_t len = page->dim * 4;

	if (page->n_vectors != page->n)
		return bak_error_set(err, BAK_CORRUPT, "the server left the embeddings out");
	if (write_head(&row, out) < 0 ||
	    bak_text_from_bytes(page->vectors.p + i * len, len, out) < 0 ||
	    bak_buf_append(out, "}\n", 2) < 0)
		return bak_error_nomem(err);
	return 0;
}

int bak_chroma_row_line(const struct bak_chroma_row *row, struct bak_buf *out,
			struct bak_error *err)
{
	if (write_head(row, out) < 0 || add_text(out, row->embedding) < 0 ||
	    bak_buf_append(out, "}\n", 2) < 0)
		return bak_error_nomem(err);
	return 0;
}

static int wrong_row(const char *why, struct bak_error *err)
{
	return bak_error_set(err, BAK_CORRUPT, "not a row: %s", why);
}

static bool all_finite(const uint8_t *p, size_t len)
{
	for (; len >= 4; p += 4, len -= 4) {
		if ((p[3] & 0x7f) == 0x7f && (p[2] & 0x80))
			return false;
	}
	return len == 0;
}

/* As base64, into spare if it was written otherwise. */
static int check_embedding(struct bak_text *embedding, struct bak_buf *spare, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf floats = BAK_BUF_INIT;
	struct bak_scan scan = {embedding->p, embedding->p + embedding->len};
	size_t n;

	if (is_string(*embedding)) {
		if (bak_text_to_bytes(*embedding, &floats) < 0 || floats.len == 0 ||
		    !all_finite(floats.p, floats.len))
			return wrong_row("its embedding is no base64 of finite float32", err);
		return 0;
	}
	if (bak_scan_floats(&scan, &floats, &n) < 0 || n == 0)
		return wrong_row("its embedding is no array of numbers that float32 can hold", err);
	spare->len = 0;
	if (bak_text_from_bytes(floats.p, floats.len, spare) < 0)
		return bak_error_nomem(err);
	*embedding = (struct bak_text){(const char *)spare->p, spare->len};
	return 0;
}

static int check_row(struct bak_chroma_row *row, struct bak_buf *spare, struct bak_error *err)
{
	if (!row->id.p || !is_string(row->id))
		return wrong_row("its id is missing or no text", err);
	if (!row->embedding.p)
		return wrong_row("its embedding is missing", err);
	if ((!is_null(row->document) && !is_string(row->document)) ||
	    (!is_null(row->uri) && !is_string(row->uri)))
		return wrong_row("its document or uri is no text", err);
	if (!is_null(row->metadata) && row->metadata.p[0] != '{')
		return wrong_row("its metadata is no object", err);
	return check_embedding(&row->embedding, spare, err);
}

int bak_chroma_row_parse(const char *p, size_t len, struct bak_chroma_row *out,
			 struct bak_buf *spare, struct bak_error *err)
{
	const struct {
		const char *key;
		struct bak_text *to;
	} members[] = {{"\"id\"", &out->id},
		       {"\"document\"", &out->document},
		       {"\"metadata\"", &out->metadata},
		       {"\"uri\"", &out->uri},
		       {"\"embedding\"", &out->embedding}};
	const size_t n = sizeof members / sizeof *members;
	struct bak_scan scan = {p, p + len};
	unsigned seen = 0;
	struct bak_text key;
	bool begun = false;
	int rc;

	*out = (struct bak_chroma_row){
		.document = null_text, .metadata = null_text, .uri = null_text};
	while ((rc = bak_scan_member(&scan, &begun, &key)) > 0) {
		size_t i = 0;

		while (i < n && !bak_text_is(key, members[i].key))
			i++;
		if (i == n)
			return wrong_row("it has a member that is none of id, document, metadata, "
					 "uri, embedding",
					 err);
		if ((seen & 1u << i) || bak_scan_value(&scan, members[i].to) < 0)
			return wrong_row("no sound JSON", err);
		seen |= 1u << i;
	}
	if (rc < 0 || !bak_scan_at_end(&scan))
		return wrong_row("no sound JSON", err);
	return check_row(out, spare, err);
}

/* --- comparing --- */

static float float_at(const uint8_t *p)
{
	uint32_t bits = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
			(uint32_t)p[3] << 24;
	float value;

	memcpy(&value, &bits, sizeof value);
	return value;
}

/* Server and we both multiply and divide by the length once: some units of the last place. */
#define NEARLY 1e-5

static bool nearly_equal(const struct bak_buf *a, const struct bak_buf *b)
{
	double largest = 0;

	if (a->len != b->len)
		return false;
	for (size_t i = 0; i < a->len; i += 4)
		largest = fmax(largest, fabs((double)float_at(a->p + i)));
	for (size_t i = 0; i < a->len; i += 4) {
		if (fabs((double)float_at(a->p + i) - (double)float_at(b->p + i)) >
		    largest * NEARLY)
			return false;
	}
	return true;
}

/* The same embedding, but for the last digits if nearly. */
static bool same_embedding(const json_t *a, const json_t *b, bool nearly)
{
	BAK_AUTO(bak_buf_release) struct bak_buf x = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf y = BAK_BUF_INIT;
	const char *p = json_string_value(a), *q = json_string_value(b);

	if (!nearly || !p || !q)
		return json_equal(a, b);
	return bak_base64_decode(p, json_string_length(a), &x) == 0 &&
	       bak_base64_decode(q, json_string_length(b), &y) == 0 && nearly_equal(&x, &y);
}

/* The server reads a double to within one unit of its last place. */
#define DOUBLE_NEARLY 1e-15

static bool same_value(const json_t *a, const json_t *b);

static bool same_members(const json_t *a, const json_t *b)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)a, key, value)
	{
		if (!same_value(value, json_object_get(b, key)))
			return false;
	}
	return json_object_size(a) == json_object_size(b);
}

static bool same_items(const json_t *a, const json_t *b)
{
	for (size_t i = 0; i < json_array_size(a); i++) {
		if (!same_value(json_array_get(a, i), json_array_get(b, i)))
			return false;
	}
	return json_array_size(a) == json_array_size(b);
}

static bool same_value(const json_t *a, const json_t *b)
{
	if (json_is_real(a) && json_is_real(b))
		return fabs(json_real_value(a) - json_real_value(b)) <=
		       fabs(json_real_value(a)) * DOUBLE_NEARLY;
	if (json_is_object(a) && json_is_object(b))
		return same_members(a, b);
	if (json_is_array(a) && json_is_array(b))
		return same_items(a, b);
	return json_equal(a, b);
}

/* Texts may be escaped and numbers written in several ways. */
bool bak_chroma_lines_equal(struct bak_text a, struct bak_text b, bool nearly)
{
	static const char *const keys[] = {"id", "document", "metadata", "uri"};
	const size_t flags = JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES;
	bool same = true;

	if (a.len == b.len && memcmp(a.p, b.p, a.len) == 0)
		return true;
	json_t *x = json_loadb(a.p, a.len, flags, NULL), *y = json_loadb(b.p, b.len, flags, NULL);
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		same = same && same_value(json_object_get(x, keys[i]), json_object_get(y, keys[i]));
	same = same && same_embedding(json_object_get(x, "embedding"),
				      json_object_get(y, "embedding"), nearly);
	json_decref(x);
	json_decref(y);
	return same;
}
