/* JSON as text: see text.h. */
#include "stores/opensearch/text.h"

#include <ctype.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#define ENVELOPE_MAX ((size_t)1 << 20)
#define DEPTH_MAX 1000u

/* --- values --- */

static const char *skip_blanks(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
		p++;
	return p;
}

/* A byte of the word is c: its highest bit is set then, and maybe one of those above it. */
static uint64_t has_byte(uint64_t word, char c)
{
	const uint64_t ones = UINT64_MAX / 0xff;

	word ^= ones * (uint8_t)c;
	return (word - ones) & ~word & ones << 7;
}

/* Where a string has its first quote, backslash or line feed, or end: most of what comes is text. */
static const char *plain_end(const char *p, const char *end)
{
	uint64_t word;

	while (end - p >= (ptrdiff_t)sizeof word) {
		memcpy(&word, p, sizeof word);
		if (has_byte(word, '"') | has_byte(word, '\\') | has_byte(word, '\n'))
			break;
		p += sizeof word;
	}
	while (p < end && *p != '"' && *p != '\\' && *p != '\n')
		p++;
	return p;
}

/* p is behind the opening quote; the result behind the closing one. No string has a line feed in it:
 * lines are what documents are cut into. */
static const char *skip_string(const char *p, const char *end)
{
	while ((p = plain_end(p, end)) < end) {
		if (*p == '"')
			return p + 1;
		if (*p == '\n' || ++p == end)
			return NULL;
		p++;
	}
	return NULL;
}

static const char *skip_nested(const char *p, const char *end)
{
	unsigned depth = 0;

	while (p < end) {
		switch (*p++) {
		case '"':
			p = skip_string(p, end);
			if (!p)
				return NULL;
			break;
		case '{':
		case '[':
			if (++depth > DEPTH_MAX)
				return NULL;
			break;
		case '}':
		case ']':
			if (--depth == 0)
				return p;
			break;
		case '/': /* comments, which the server lets pass */
			return NULL;
		default:
			break;
		}
	}
	return NULL;
}

const char *bak_os_value_end(const char *p, const char *end)
{
	const char *begin = p;

	if (p == end)
		return NULL;
	if (*p == '"')
		return skip_string(p + 1, end);
	if (*p == '{' || *p == '[')
		return skip_nested(p, end);
	while (p < end && (isalnum((unsigned char)*p) || *p == '-' || *p == '+' || *p == '.'))
		p++;
	return p > begin ? p : NULL;
}

/* A key that is looked for, and where its value goes. */
struct wanted {
	const char *key;
	struct bak_os_span *out;
};

static void take_member(const struct wanted *wanted, size_t n, struct bak_os_span name,
			struct bak_os_span value)
{
	for (size_t i = 0; i < n; i++) {
		if (!wanted[i].out->p && strlen(wanted[i].key) == name.len &&
		    memcmp(name.p, wanted[i].key, name.len) == 0)
			*wanted[i].out = value;
	}
}

/* All of them in one walk. False: that is no object. */
static bool object_get(const char *p, size_t len, const struct wanted *wanted, size_t n)
{
	const char *end = p + len;

	for (size_t i = 0; i < n; i++)
		*wanted[i].out = (struct bak_os_span){.p = NULL};
	p = skip_blanks(p, end);
	if (p == end || *p != '{')
		return false;
	p = skip_blanks(p + 1, end);
	while (p < end && *p == '"') {
		const char *name = p + 1;
		const char *behind = skip_string(name, end);
		if (!behind)
			return false;
		size_t name_len = (size_t)(behind - 1 - name);

		p = skip_blanks(behind, end);
		if (p == end || *p != ':')
			return false;
		p = skip_blanks(p + 1, end);
		behind = bak_os_value_end(p, end);
		if (!behind)
			return false;
		take_member(wanted, n, (struct bak_os_span){name, name_len},
			    (struct bak_os_span){p, (size_t)(behind - p)});
		p = skip_blanks(behind, end);
		if (p < end && *p == ',')
			p = skip_blanks(p + 1, end);
		else
			break;
	}
	return p < end && *p == '}';
}

bool bak_os_object_get(const char *p, size_t len, const char *key, struct bak_os_span *out)
{
	const struct wanted wanted = {key, out};

	return object_get(p, len, &wanted, 1);
}

bool bak_os_is_object(const char *p, size_t len)
{
	const char *end = p + len;

	p = skip_blanks(p, end);
	if (p == end || *p != '{')
		return false;
	p = bak_os_value_end(p, end);
	return p && skip_blanks(p, end) == end;
}

/* --- documents --- */

/* Strings have no line feeds, so those of a source are blanks between its values. */
static int append_line(struct bak_buf *out, const char *p, size_t len)
{
	const char *end = p + len;

	while (p < end) {
		size_t n = (size_t)(end - p);
		const char *stop = memchr(p, '\n', n);
		size_t plain = stop ? (size_t)(stop - p) : n;

		if (bak_buf_append(out, p, plain) < 0)
			return -1;
		/* "\r\n" */
		while (stop && out->len && out->p[out->len - 1] == '\r')
			out->len--;
		p = stop ? stop + 1 : end;
	}
	return bak_buf_append(out, "\n", 1);
}

int bak_os_document_write(const struct bak_os_document *d, struct bak_buf *out)
{
	if (bak_buf_append(out, "{\"index\":{\"_id\":", 16) < 0 ||
	    bak_buf_append(out, d->id.p, d->id.len) < 0 ||
	    (d->routing.p && (bak_buf_append(out, ",\"routing\":", 11) < 0 ||
			      bak_buf_append(out, d->routing.p, d->routing.len) < 0)) ||
	    bak_buf_append(out, "}}\n", 3) < 0)
		return -1;
	return append_line(out, d->source.p, d->source.len);
}

static bool is_text(const struct bak_os_span *span)
{
	return span->p && span->len > 2 && *span->p == '"';
}

/* --- answers of a search --- */

static int no_answer(struct bak_error *err, const char *what)
{
	return bak_error_set(err, BAK_CORRUPT, "the answer to a search makes no sense: %s", what);
}

static int end_hit(struct bak_os_hits *h, struct bak_error *err)
{
	struct bak_os_document d = {.index = {.p = NULL}};
	const struct wanted wanted[] = {{"_id", &d.id},
					{"_routing", &d.routing},
					{"_source", &d.source},
					{"sort", &d.sort}};

	if (!object_get((const char *)h->hit.p, h->hit.len, wanted, sizeof wanted / sizeof *wanted))
		return no_answer(err, "a hit is not JSON, or has comments in it");
	if (!is_text(&d.id) || (d.routing.p && !is_text(&d.routing)))
		return no_answer(err, "a hit has no _id");
	if (!d.source.p || *d.source.p != '{')
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "document %.*s has no _source: an export cannot have it, mode "
				     "= snapshot can",
				     d.id.len < 100 ? (int)d.id.len : 100, d.id.p);
	h->n++;
	if (h->take(h->ctx, &d, err) < 0)
		return -1;
	h->hit.len = 0;
	return 0;
}

static void note_key(struct bak_os_hits *h, char c)
{
	if (h->depth == 0 || h->depth > 2)
		return;
	if (h->key_len < sizeof h->key[0] - 1)
		h->key[h->depth][h->key_len] = c;
	h->key_len++;
}

static void begin_string(struct bak_os_hits *h)
{
	h->in_string = true;
	h->key_len = 0;
	if (h->depth == 1 || h->depth == 2)
		memset(h->key[h->depth], 0, sizeof h->key[0]);
}

/* The list hits.hits: at depth 3 are its members. */
static bool is_list(const struct bak_os_hits *h)
{
	return h->depth == 2 && strcmp(h->key[1], "hits") == 0 && strcmp(h->key[2], "hits") == 0;
}

static int append_envelope(struct bak_os_hits *h, char c, struct bak_error *err)
{
	if (h->envelope.len == ENVELOPE_MAX)
		return no_answer(err, "too much of it is no document");
	return bak_buf_append(&h->envelope, &c, 1) < 0 ? bak_error_nomem(err) : 0;
}

/* One character outside of hits. */
static int feed_envelope(struct bak_os_hits *h, char c, struct bak_error *err)
{
	if (h->in_string) {
		if (h->escaped)
			h->escaped = false;
		else if (c == '\\')
			h->escaped = true;
		else if (c == '"')
			h->in_string = false;
		if (h->in_string)
			note_key(h, c);
		return append_envelope(h, c, err);
	}
	switch (c) {
	case '"':
		begin_string(h);
		break;
	case '[':
	case '{':
		if (c == '[' && is_list(h))
			h->in_list = true;
		else if (h->in_list && c == '{' && h->depth == 3)
			h->in_hit = true;
		if (++h->depth > DEPTH_MAX)
			return no_answer(err, "it is nested too deep");
		if (h->in_hit)
			return bak_buf_append(&h->hit, &c, 1) < 0 ? bak_error_nomem(err) : 0;
		break;
	case ']':
	case '}':
		if (h->depth == 0)
			return no_answer(err, "a bracket too many");
		h->depth--;
		if (h->in_list && h->depth == 2)
			h->in_list = false;
		break;
	case ',':
		if (h->in_list && h->depth == 3)
			return 0;
		break;
	default:
		break;
	}
	return append_envelope(h, c, err);
}

/* What belongs to the hit that is arriving: up to its last bracket, or all. */
static size_t hit_part(struct bak_os_hits *h, const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (h->in_string && !h->escaped) {
			i = (size_t)(plain_end(p + i, p + len) - p);
			if (i == len)
				break;
		}
		char c = p[i];

		if (h->in_string) {
			if (h->escaped)
				h->escaped = false;
			else if (c == '\\')
				h->escaped = true;
			else if (c == '"')
				h->in_string = false;
		} else if (c == '"') {
			h->in_string = true;
		} else if (c == '{' || c == '[') {
			h->depth++;
		} else if ((c == '}' || c == ']') && --h->depth == 3) {
			h->in_hit = false;
			return i + 1;
		}
	}
	return len;
}

int bak_os_hits_feed(struct bak_os_hits *h, const void *data, size_t len, struct bak_error *err)
{
	const char *p = data, *end = p + len;

	while (p < end) {
		if (!h->in_hit) {
			if (feed_envelope(h, *p++, err) < 0)
				return -1;
			continue;
		}
		size_t n = hit_part(h, p, (size_t)(end - p));

		if (n > BAK_OS_DOCUMENT_MAX - h->hit.len)
			return no_answer(err, "a document is larger than a server takes");
		if (bak_buf_append(&h->hit, p, n) < 0)
			return bak_error_nomem(err);
		p += n;
		if (!h->in_hit && end_hit(h, err) < 0)
			return -1;
	}
	return 0;
}

const struct bak_buf *bak_os_hits_end(const struct bak_os_hits *hits)
{
	return &hits->envelope;
}

void bak_os_hits_release(struct bak_os_hits *hits)
{
	bak_buf_release(&hits->hit);
	bak_buf_release(&hits->envelope);
}

/* --- files for the bulk API --- */

static int not_for_us(const struct bak_os_lines *lines, struct bak_error *err, const char *what)
{
	return bak_error_set(err, BAK_CORRUPT, "document %" PRIu64 ": %s", lines->n + 1, what);
}

/* {"index":{...}}, or "create". */
static int parse_action(const struct bak_os_lines *lines, struct bak_os_document *d,
			struct bak_error *err)
{
	const char *p = (const char *)lines->action.p;
	size_t len = lines->action.len;
	struct bak_os_span meta, old;

	if (!bak_os_is_object(p, len) || !bak_os_object_get(p, len, "index", &meta))
		return not_for_us(lines, err, "its first line is no action of the bulk API");
	if (!meta.p)
		bak_os_object_get(p, len, "create", &meta);
	if (!meta.p)
		return not_for_us(lines, err, "only the actions index and create are documents");
	if (!bak_os_object_get(meta.p, meta.len, "_id", &d->id) || !is_text(&d->id))
		return not_for_us(lines, err, "it has no _id");
	bak_os_object_get(meta.p, meta.len, "routing", &d->routing);
	bak_os_object_get(meta.p, meta.len, "_routing", &old);
	if (!d->routing.p)
		d->routing = old;
	bak_os_object_get(meta.p, meta.len, "_index", &d->index);
	if ((d->routing.p && !is_text(&d->routing)) || (d->index.p && !is_text(&d->index)))
		return not_for_us(lines, err, "its routing or _index is no text");
	return 0;
}

static int end_source(struct bak_os_lines *lines, struct bak_error *err)
{
	struct bak_os_document d = {.sort = {.p = NULL}};

	if (parse_action(lines, &d, err) < 0)
		return -1;
	if (!bak_os_is_object((const char *)lines->source.p, lines->source.len))
		return not_for_us(lines, err, "its second line is no JSON object");
	d.source = (struct bak_os_span){(const char *)lines->source.p, lines->source.len};
	if (lines->take(lines->ctx, &d, err) < 0)
		return -1;
	lines->n++;
	lines->action.len = lines->source.len = 0;
	return 0;
}

int bak_os_lines_feed(struct bak_os_lines *lines, const void *data, size_t len,
		      struct bak_error *err)
{
	const char *p = data, *end = p + len;

	while (p < end) {
		struct bak_buf *line = lines->in_source ? &lines->source : &lines->action;
		const char *stop = memchr(p, '\n', (size_t)(end - p));
		size_t n = (size_t)((stop ? stop : end) - p);

		if (n > BAK_OS_DOCUMENT_MAX - line->len)
			return not_for_us(lines, err, "a line is longer than a server takes");
		if (bak_buf_append(line, p, n) < 0)
			return bak_error_nomem(err);
		p += n;
		if (!stop)
			return 0;
		p++;
		if (line->len == 0)
			return not_for_us(lines, err, "an empty line");
		if (lines->in_source && end_source(lines, err) < 0)
			return -1;
		lines->in_source = !lines->in_source;
	}
	return 0;
}

int bak_os_lines_end(struct bak_os_lines *lines, struct bak_error *err)
{
	if (lines->in_source || lines->action.len)
		return not_for_us(lines, err, "the file is cut off in it");
	return 0;
}

void bak_os_lines_release(struct bak_os_lines *lines)
{
	bak_buf_release(&lines->action);
	bak_buf_release(&lines->source);
}
