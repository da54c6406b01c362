/* JSON as text: see scan.h. */
#include "stores/chroma/scan.h"

#include <float.h>
#include <math.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 64
/* A number is longer only when somebody wrote digits that mean nothing. */
#define NUMBER_MAX 63

bool bak_text_is(struct bak_text text, const char *word)
{
	return text.len == strlen(word) && memcmp(text.p, word, text.len) == 0;
}

static void skip_space(struct bak_scan *scan)
{
	while (scan->p < scan->end &&
	       (*scan->p == ' ' || *scan->p == '\n' || *scan->p == '\t' || *scan->p == '\r'))
		scan->p++;
}

static bool take(struct bak_scan *scan, char c)
{
	skip_space(scan);
	if (scan->p == scan->end || *scan->p != c)
		return false;
	scan->p++;
	return true;
}

bool bak_scan_at_end(struct bak_scan *scan)
{
	skip_space(scan);
	return scan->p == scan->end;
}

/* --- values --- */

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Behind a backslash. */
static int skip_escape(struct bak_scan *scan)
{
	if (scan->p == scan->end || !strchr("\"\\/bfnrtu", *scan->p) || !*scan->p)
		return -1;
	if (*scan->p++ != 'u')
		return 0;
	if (scan->end - scan->p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		if (!is_hex(*scan->p++))
			return -1;
	}
	return 0;
}

/* Behind the opening quote. */
static int skip_string(struct bak_scan *scan)
{
	while (scan->p < scan->end) {
		unsigned char c = (unsigned char)*scan->p++;

		if (c == '"')
			return 0;
		if (c < 0x20 || (c == '\\' && skip_escape(scan) < 0))
			return -1;
	}
	return -1;
}

static size_t skip_digits(struct bak_scan *scan)
{
	const char *from = scan->p;

	while (scan->p < scan->end && *scan->p >= '0' && *scan->p <= '9')
		scan->p++;
	return (size_t)(scan->p - from);
}

static bool skip_char(struct bak_scan *scan, const char *any)
{
	if (scan->p == scan->end || !*scan->p || !strchr(any, *scan->p))
		return false;
	scan->p++;
	return true;
}

static int skip_number(struct bak_scan *scan)
{
	skip_char(scan, "-");
	if (skip_digits(scan) == 0 || (skip_char(scan, ".") && skip_digits(scan) == 0))
		return -1;
	if (!skip_char(scan, "eE"))
		return 0;
	skip_char(scan, "+-");
	return skip_digits(scan) > 0 ? 0 : -1;
}

static int skip_word(struct bak_scan *scan, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(scan->end - scan->p) < len || memcmp(scan->p, word, len) != 0)
		return -1;
	scan->p += len;
	return 0;
}

static int skip_value(struct bak_scan *scan, int depth);

static int skip_array(struct bak_scan *scan, int depth)
{
	bool begun = false;
	int rc;

	while ((rc = bak_scan_item(scan, &begun)) > 0) {
		if (skip_value(scan, depth) < 0)
			return -1;
	}
	return rc;
}

static int skip_object(struct bak_scan *scan, int depth)
{
	struct bak_text key;
	bool begun = false;
	int rc;

	while ((rc = bak_scan_member(scan, &begun, &key)) > 0) {
		if (skip_value(scan, depth) < 0)
			return -1;
	}
	return rc;
}

static int skip_value(struct bak_scan *scan, int depth)
{
	skip_space(scan);
	if (scan->p == scan->end || depth == DEPTH_MAX)
		return -1;
	switch (*scan->p) {
	case '"':
		scan->p++;
		return skip_string(scan);
	case '[':
		return skip_array(scan, depth + 1);
	case '{':
		return skip_object(scan, depth + 1);
	case 't':
		return skip_word(scan, "true");
	case 'f':
		return skip_word(scan, "false");
	case 'n':
		return skip_word(scan, "null");
	default:
		return skip_number(scan);
	}
}

int bak_scan_value(struct bak_scan *scan, struct bak_text *out)
{
	skip_space(scan);
	out->p = scan->p;
	if (skip_value(scan, 0) < 0)
		return -1;
	out->len = (size_t)(scan->p - out->p);
	return 0;
}

/* One behind another: 1 there is one more, 0 it was the last, -1. */
static int next(struct bak_scan *scan, bool *begun, char open, char close)
{
	bool first = !*begun;

	if (first && !take(scan, open))
		return -1;
	*begun = true;
	if (take(scan, close))
		return 0;
	return first || take(scan, ',') ? 1 : -1;
}

int bak_scan_item(struct bak_scan *scan, bool *begun)
{
	return next(scan, begun, '[', ']');
}

int bak_scan_member(struct bak_scan *scan, bool *begun, struct bak_text *out_key)
{
	int rc = next(scan, begun, '{', '}');

	if (rc <= 0)
		return rc;
	skip_space(scan);
	out_key->p = scan->p;
	if (!take(scan, '"') || skip_string(scan) < 0)
		return -1;
	out_key->len = (size_t)(scan->p - out_key->p);
	return take(scan, ':') ? 1 : -1;
}

/* --- numbers --- */

/* Powers of ten, exact as doubles. */
static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,
			      1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19};

/* True when *out is exactly the float nearest to digits / 10^places: one division of exact doubles
 * is the nearest double, and rounding that once more can only go wrong where it lies half way between
 * two floats. */
static bool nearest(uint64_t digits, size_t places, bool negative, float *out)
{
	double value = (double)digits / tens[places];
	uint64_t bits;

	memcpy(&bits, &value, sizeof bits);
	if (digits > (1ull << 53) || (bits & 0x1fffffff) == 0x10000000 ||
	    (value < 2 * (double)FLT_MIN && value > 0))
		return false;
	*out = (float)(negative ? -value : value);
	return true;
}

/* Digits from *p on, at most up to end. */
static uint64_t take_digits(const char **p, const char *end, uint64_t digits)
{
	const char *at = *p;

	for (; at < end && (unsigned char)(*at - '0') <= 9; at++)
		digits = digits * 10 + (uint64_t)(*at - '0');
	*p = at;
	return digits;
}

/* So many characters hold no more digits than fit into 64 bits. */
#define QUICK_MAX 19

/* A number as servers write most of them, "-0.5424755" with a comma or bracket behind it. False:
 * it is for the other way. */
static bool quick_float(struct bak_scan *scan, float *out)
{
	bool negative = scan->p < scan->end && *scan->p == '-';
	const char *whole = scan->p + negative, *p = whole, *point;
	const char *end = scan->end - p > QUICK_MAX ? p + QUICK_MAX : scan->end;
	uint64_t digits = take_digits(&p, end, 0);

	point = p;
	if (p < end && *p == '.') {
		p++;
		digits = take_digits(&p, end, digits);
	}
	if (point == whole || p == point + 1 || p == end || (*p != ',' && *p != ']') ||
	    !nearest(digits, p > point ? (size_t)(p - point - 1) : 0, negative, out))
		return false;
	scan->p = p;
	return true;
}

static int slow_float(const char *p, size_t len, float *out)
{
	char text[NUMBER_MAX + 1];

	if (len > NUMBER_MAX)
		return -1;
	memcpy(text, p, len);
	text[len] = '\0';
	*out = strtof(text, NULL);
	return isfinite(*out) ? 0 : -1;
}

static int one_float(struct bak_scan *scan, float *out)
{
	const char *from;

	skip_space(scan);
	if (quick_float(scan, out))
		return 0;
	from = scan->p;
	if (skip_number(scan) < 0)
		return -1;
	return slow_float(from, (size_t)(scan->p - from), out);
}

static int append_float(struct bak_buf *out, float value)
{
	uint32_t bits;
	uint8_t *to;

	if (out->cap - out->len < 4 && bak_buf_reserve(out, 4096) < 0)
		return -1;
	memcpy(&bits, &value, sizeof bits);
	to = out->p + out->len;
	for (int i = 0; i < 4; i++)
		to[i] = (uint8_t)(bits >> 8 * i);
	out->len += 4;
	return 0;
}

int bak_scan_floats(struct bak_scan *scan, struct bak_buf *out, size_t *out_n)
{
	bool begun = false, more;
	float value;
	int rc;

	*out_n = 0;
	while ((rc = bak_scan_item(scan, &begun)) > 0) {
		do {
			if (one_float(scan, &value) < 0 || append_float(out, value) < 0)
				return -1;
			++*out_n;
			more = scan->p < scan->end && *scan->p == ',';
			scan->p += more;
		} while (more);
	}
	return rc;
}

/* --- base64 --- */

/* OpenSSL's functions count in int, and end what they write with a zero byte. */
#define PIECE ((size_t)3 << 20)

int bak_text_from_bytes(const void *p, size_t len, struct bak_buf *out)
{
	const uint8_t *from = p;

	if (bak_buf_reserve(out, (len + 2) / 3 * 4 + 3) < 0)
		return -1;
	out->p[out->len++] = '"';
	while (len > 0) {
		size_t n = len < PIECE ? len : PIECE;

		out->len += (size_t)EVP_EncodeBlock(out->p + out->len, from, (int)n);
		from += n;
		len -= n;
	}
	out->p[out->len++] = '"';
	return 0;
}

static size_t padding_of(struct bak_text text)
{
	if (text.len < 4 || text.p[text.len - 1] != '=')
		return 0;
	return text.p[text.len - 2] == '=' ? 2 : 1;
}

int bak_base64_decode(const char *p, size_t len, struct bak_buf *out)
{
	BAK_AUTO(bak_buf_release) struct bak_buf again = BAK_BUF_INIT;
	const struct bak_text text = {p, len};
	size_t at = out->len;
	int n;

	if (len % 4 || len > INT32_MAX || bak_buf_reserve(out, len / 4 * 3) < 0)
		return -1;
	n = len ? EVP_DecodeBlock(out->p + at, (const uint8_t *)p, (int)len) : 0;
	if (n < 0 || (size_t)n < padding_of(text))
		return -1;
	out->len += (size_t)n - padding_of(text);
	/* It takes white space and bits behind the end too: only what we write is right. */
	if (bak_text_from_bytes(out->p + at, out->len - at, &again) < 0 || again.len != len + 2 ||
	    memcmp(again.p + 1, p, len) != 0) {
		out->len = at;
		return -1;
	}
	return 0;
}

int bak_text_to_bytes(struct bak_text text, struct bak_buf *out)
{
	if (text.len < 2 || text.p[0] != '"' || text.p[text.len - 1] != '"')
		return -1;
	return bak_base64_decode(text.p + 1, text.len - 2, out);
}
