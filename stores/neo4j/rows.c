/* An answer of the Query API, cut into its rows: see rows.h. */
#include "stores/neo4j/rows.h"

#include <string.h>

#define ROW_MAX (64u << 20)
#define AROUND_MAX (4u << 20)
/* Brackets that are open where a row begins: the document, its data, the list of values. */
#define ROWS_DEPTH 3

static int odd(const struct bak_neo4j_rows *rows, const char *what, struct bak_error *err)
{
	return bak_error_set(err, BAK_CORRUPT, "the answer is damaged behind %llu rows: %s",
			     (unsigned long long)rows->n, what);
}

static int finish_row(struct bak_neo4j_rows *rows, struct bak_error *err)
{
	json_error_t why;
	json_t *row = json_loadb((const char *)rows->text.p, rows->text.len, JSON_ALLOW_NUL, &why);
	int rc = 0;

	rows->text.len = 0;
	if (!row)
		return odd(rows, why.text, err);
	if (rows->row)
		rc = rows->row(rows->ctx, row, err);
	json_decref(row);
	rows->n++;
	return rc;
}

static bool ends_with(const struct bak_buf *buf, const char *text)
{
	size_t len = strlen(text);

	return buf->len >= len && memcmp(buf->p + buf->len - len, text, len) == 0;
}

/* Into the row that is coming in, or to what is around them. */
static int keep(struct bak_neo4j_rows *rows, const char *p, size_t len, struct bak_error *err)
{
	bool row = rows->in_values && rows->depth > ROWS_DEPTH;
	struct bak_buf *to = row ? &rows->text : &rows->around;

	if (len > (row ? ROW_MAX : AROUND_MAX) - to->len)
		return bak_error_set(err, BAK_UNSUPPORTED, "a row of more than %u MiB",
				     ROW_MAX >> 20);
	return bak_buf_append(to, p, len) < 0 ? bak_error_nomem(err) : 0;
}

static int open_bracket(struct bak_neo4j_rows *rows, const char *p, struct bak_error *err)
{
	if (rows->in_values && rows->depth == ROWS_DEPTH && *p != '[')
		return odd(rows, "a row that is no list", err);
	if (*p == '{' && rows->depth == 1 && ends_with(&rows->around, "\"data\":"))
		rows->in_data = true;
	bool values = *p == '[' && rows->depth == 2 && rows->in_data &&
		      ends_with(&rows->around, "\"values\":");
	rows->depth++;
	if (keep(rows, p, 1, err) < 0)
		return -1;
	if (values)
		rows->in_values = true;
	return 0;
}

static int close_bracket(struct bak_neo4j_rows *rows, const char *p, struct bak_error *err)
{
	if (rows->depth == 0)
		return odd(rows, "a bracket too many", err);
	if (rows->in_values && rows->depth == ROWS_DEPTH)
		rows->in_values = false;
	if (keep(rows, p, 1, err) < 0)
		return -1;
	rows->depth--;
	if (rows->depth == 1)
		rows->in_data = false;
	return rows->in_values && rows->depth == ROWS_DEPTH ? finish_row(rows, err) : 0;
}

/* One character that means something. */
static int take_mark(struct bak_neo4j_rows *rows, const char *p, struct bak_error *err)
{
	switch (*p) {
	case '[':
	case '{':
		return open_bracket(rows, p, err);
	case ']':
	case '}':
		return close_bracket(rows, p, err);
	case '"':
		if (rows->in_values && rows->depth == ROWS_DEPTH)
			return odd(rows, "a row that is no list", err);
		rows->in_string = true;
		return keep(rows, p, 1, err);
	case ',':
		/* between rows: what is around them has none */
		return rows->in_values && rows->depth == ROWS_DEPTH ? 0 : keep(rows, p, 1, err);
	default:
		return 0; /* white space */
	}
}

/* How far the string goes on in here. */
static size_t string_len(struct bak_neo4j_rows *rows, const char *p, size_t len)
{
	size_t i = 0;

	for (; i < len; i++) {
		if (rows->escaped) {
			rows->escaped = false;
		} else if (p[i] == '\\') {
			rows->escaped = true;
		} else if (p[i] == '"') {
			rows->in_string = false;
			return i + 1;
		}
	}
	return i;
}

/* Numbers and words: up to the next character that means something. */
static size_t plain_len(const char *p, size_t len)
{
	size_t i = 0;

	while (i < len && !strchr("[]{}\", \t\r\n", p[i]))
		i++;
	return i;
}

int bak_neo4j_rows_feed(struct bak_neo4j_rows *rows, const char *p, size_t len,
			struct bak_error *err)
{
	while (len) {
		size_t n = rows->in_string ? string_len(rows, p, len) : plain_len(p, len);

		/* NUL is no mark, and none of what plain_len stops at. */
		if (n == 0 && *p == '\0')
			return odd(rows, "a zero byte", err);
		if (n && !rows->in_string && rows->in_values && rows->depth == ROWS_DEPTH)
			return odd(rows, "a row that is no list", err);
		if (n ? keep(rows, p, n, err) < 0 : take_mark(rows, p, err) < 0)
			return -1;
		n = n ? n : 1;
		p += n;
		len -= n;
	}
	return 0;
}

int bak_neo4j_rows_end(struct bak_neo4j_rows *rows, json_t **out, struct bak_error *err)
{
	json_error_t why;

	*out = rows->depth || rows->in_string
		       ? NULL
		       : json_loadb((const char *)rows->around.p, rows->around.len, 0, &why);
	if (*out)
		return 0;
	return bak_error_set(err, BAK_UNAVAILABLE, "the answer was cut off behind %llu rows",
			     (unsigned long long)rows->n);
}

void bak_neo4j_rows_release(struct bak_neo4j_rows *rows)
{
	bak_buf_release(&rows->around);
	bak_buf_release(&rows->text);
}
