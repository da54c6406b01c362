/*
 * JSON as text: values found in an answer or a line without being taken apart, so that what a
 * server wrote goes back to it byte for byte, and embeddings as the float32 that they are.
 *
 * Shapes: a value is a piece of the text, borrowed from it. Nesting is bounded.
 * Errors: -1 where the text is not JSON or ends too early; the caller knows what it was.
 * Source: RFC 8259.
 */
#ifndef BAK_STORES_CHROMA_SCAN_H
#define BAK_STORES_CHROMA_SCAN_H

#include "engine/base/buf.h"

#include <stdbool.h>

struct bak_text {
	const char *p;
	size_t len;
};
/* The text is exactly word. */
bool bak_text_is(struct bak_text text, const char *word);

struct bak_scan {
	const char *p, *end; /* what is left */
};

/* Takes one value of any kind, checked. */
int bak_scan_value(struct bak_scan *scan, struct bak_text *out);
/* Nothing but white space is left. */
bool bak_scan_at_end(struct bak_scan *scan);

/* Walks an array, or an object with each key, quotes and all: 1 and the next one, 0 at its end, -1.
 * *begun is false before the first call. After 1 the caller takes the value. */
int bak_scan_item(struct bak_scan *scan, bool *begun);
int bak_scan_member(struct bak_scan *scan, bool *begun, struct bak_text *out_key);

/* Takes an array of numbers, appended to out as float32, little-endian, each the one nearest to
 * what is written; *out_n is how many. What float32 cannot hold is an error. */
int bak_scan_floats(struct bak_scan *scan, struct bak_buf *out, size_t *out_n);

/* Base64 with padding (RFC 4648, 4), as a JSON string with its quotes, appended to out. */
int bak_text_from_bytes(const void *p, size_t len, struct bak_buf *out);
/* And back: -1 also when it is anything else than what the above writes. */
int bak_text_to_bytes(struct bak_text text, struct bak_buf *out);
/* The same without quotes. */
int bak_base64_decode(const char *p, size_t len, struct bak_buf *out);

#endif
