/* A page of points: see page.h. */
#include "stores/qdrant/page.h"

#include <stdbool.h>
#include <string.h>

/* Payloads may be nested; who nests deeper is not believed. */
#define DEPTH_MAX 256

struct text {
	const char *p, *end;
};

static int bad(struct bak_error *err)
{
	return bak_error_set(err, BAK_CORRUPT,
			     "the server's page of points is not what it should be");
}

static void skip_space(struct text *t)
{
	while (t->p < t->end && (*t->p == ' ' || *t->p == '\n' || *t->p == '\r' || *t->p == '\t'))
		t->p++;
}

/* The character that must come, behind space. */
static bool eat(struct text *t, char c)
{
	skip_space(t);
	if (t->p == t->end || *t->p != c)
		return false;
	t->p++;
	return true;
}

static bool skip_string(struct text *t)
{
	if (!eat(t, '"'))
		return false;
	for (; t->p < t->end && *t->p != '"'; t->p++) {
		if ((unsigned char)*t->p < ' ')
			return false;
		if (*t->p == '\\' && ++t->p == t->end)
			return false;
	}
	return eat(t, '"');
}

/* Numbers, true, false, null: not looked at closely. */
static bool skip_word(struct text *t)
{
	size_t n = 0;

	while (t->p < t->end && strchr("+-.0123456789abcdefghijklmnopqrstuvwxyzE", *t->p) &&
	       *t->p) {
		t->p++;
		n++;
	}
	return n > 0;
}

static char closing(char open)
{
	return open == '{' ? '}' : ']';
}

/* Behind '{' or a comma in an object. */
static bool skip_key(struct text *t)
{
	return skip_string(t) && eat(t, ':');
}

/* Any value, and what it holds: brackets are paired by a stack of their kinds. */
static bool skip_value(struct text *t)
{
	char open[DEPTH_MAX];
	size_t depth = 0;

	for (;;) {
		skip_space(t);
		if (t->p == t->end)
			return false;
		if (*t->p == '{' || *t->p == '[') {
			if (depth == DEPTH_MAX)
				return false;
			open[depth++] = *t->p++;
			skip_space(t);
			if (t->p == t->end)
				return false;
			if (*t->p != closing(open[depth - 1])) {
				if (open[depth - 1] == '{' && !skip_key(t))
					return false;
				continue;
			}
		} else if (!(*t->p == '"' ? skip_string(t) : skip_word(t))) {
			return false;
		}
		while (depth > 0 && eat(t, closing(open[depth - 1])))
			depth--;
		if (depth == 0)
			return true;
		if (!eat(t, ',') || (open[depth - 1] == '{' && !skip_key(t)))
			return false;
	}
}

/* The next member of the object that t is in: 1 and its key, t at its value; 0 at its end; -1. */
static int member(struct text *t, bool *first, struct text *out_key)
{
	if (eat(t, '}'))
		return 0;
	if (!*first && !eat(t, ','))
		return -1;
	*first = false;
	skip_space(t);
	out_key->p = t->p + 1;
	if (!skip_string(t))
		return -1;
	out_key->end = t->p - 1;
	return eat(t, ':') ? 1 : -1;
}

static bool is_key(const struct text *key, const char *name)
{
	return (size_t)(key->end - key->p) == strlen(name) &&
	       memcmp(key->p, name, strlen(name)) == 0;
}

static int read_points(struct text *t, bak_qdrant_point_fn *point, void *ctx, struct bak_error *err)
{
	if (!eat(t, '['))
		return bad(err);
	for (bool first = true; !eat(t, ']'); first = false) {
		if (!first && !eat(t, ','))
			return bad(err);
		skip_space(t);
		const char *begin = t->p;
		if (begin == t->end || *begin != '{' || !skip_value(t) ||
		    memchr(begin, '\n', (size_t)(t->p - begin)))
			return bad(err);
		if (point(ctx, begin, (size_t)(t->p - begin), err) < 0)
			return -1;
	}
	return 0;
}

static int read_result(struct text *t, bak_qdrant_point_fn *point, void *ctx,
		       struct bak_qdrant_page *out, struct bak_error *err)
{
	bool first = true, points = false;
	struct text key;
	int rc = eat(t, '{') ? 1 : -1;

	while (rc > 0 && (rc = member(t, &first, &key)) > 0) {
		skip_space(t);
		const char *begin = t->p;

		if (is_key(&key, "points") && !points) {
			points = true;
			if (read_points(t, point, ctx, err) < 0)
				return -1;
			continue;
		}
		if (!skip_value(t))
			return bad(err);
		if (is_key(&key, "next_page_offset") && *begin != 'n') {
			out->next = begin;
			out->next_len = (size_t)(t->p - begin);
		}
	}
	return rc == 0 && points ? 0 : bad(err);
}

int bak_qdrant_page_read(const char *p, size_t len, bak_qdrant_point_fn *point, void *ctx,
			 struct bak_qdrant_page *out, struct bak_error *err)
{
	struct text t = {p, p + len}, key;
	bool first = true, result = false;
	int rc = eat(&t, '{') ? 1 : -1;

	*out = (struct bak_qdrant_page){.next_len = 0};
	while (rc > 0 && (rc = member(&t, &first, &key)) > 0) {
		if (!is_key(&key, "result") || result) {
			rc = skip_value(&t) ? 1 : -1;
			continue;
		}
		result = true;
		if (read_result(&t, point, ctx, out, err) < 0)
			return -1;
	}
	skip_space(&t);
	return rc == 0 && result && t.p == t.end ? 0 : bad(err);
}
