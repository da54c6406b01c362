/*
 * JSON as text, where documents must stay byte for byte what they are: numbers with all their
 * digits, strings with their escapes. Finds values without making anything of them, takes the
 * documents out of a search's answer while it arrives, and cuts files for the bulk API into
 * documents again.
 *
 * A document's file (NDJSON, as POST /INDEX/_bulk takes it) has two lines for each:
 *   {"index":{"_id":"1","routing":"a"}}
 *   {"title":"..."}
 *
 * Not a validator: what is taken for a value has balanced brackets and closed strings, no more.
 * Errors: BAK_CORRUPT. Bounds: a document has at most BAK_OS_DOCUMENT_MAX bytes, what surrounds
 * them in an answer 1 MiB.
 * Threads: each struct is one thread's.
 */
#ifndef BAK_STORES_OPENSEARCH_TEXT_H
#define BAK_STORES_OPENSEARCH_TEXT_H

#include "engine/base/buf.h"
#include "engine/base/error.h"

#include <stdbool.h>

/* A server takes requests of 100 MB unless it is told otherwise. */
#define BAK_OS_DOCUMENT_MAX ((size_t)100 << 20)

/* A value as it is written; strings with their quotes. p is NULL: there is none. */
struct bak_os_span {
	const char *p;
	size_t len;
};

/* Where the value ends that begins at p; NULL: it is none, or not whole. */
const char *bak_os_value_end(const char *p, const char *end);
/* The value of a key (without quotes, plain) of the object [p, p + len). False: that is no object.
 * The first one counts; out->p is NULL when there is none. */
bool bak_os_object_get(const char *p, size_t len, const char *key, struct bak_os_span *out);
/* A whole object and nothing but blanks behind it. */
bool bak_os_is_object(const char *p, size_t len);

/* One document. */
struct bak_os_document {
	struct bak_os_span id, routing, source, index; /* index: of a file that names it */
	struct bak_os_span sort;                       /* of an answer */
};
typedef int bak_os_take_document(void *ctx, const struct bak_os_document *document,
				 struct bak_error *err);
/* Its two lines. */
int bak_os_document_write(const struct bak_os_document *document, struct bak_buf *out);

/* A search's answer, piece by piece. */
struct bak_os_hits {
	bak_os_take_document *take;
	void *ctx;
	/* private */
	struct bak_buf hit;      /* the one that is arriving */
	struct bak_buf envelope; /* all but the hits */
	unsigned depth;
	bool in_string, escaped, in_hit, in_list;
	char key[3][8]; /* the last string at depths 1 and 2, cut */
	size_t key_len;
	uint64_t n;
};
int bak_os_hits_feed(struct bak_os_hits *hits, const void *p, size_t len, struct bak_error *err);
/* The answer is complete: what stands around the hits, for jansson. */
const struct bak_buf *bak_os_hits_end(const struct bak_os_hits *hits);
void bak_os_hits_release(struct bak_os_hits *hits);

/* A document's file, piece by piece. */
struct bak_os_lines {
	bak_os_take_document *take;
	void *ctx;
	/* private */
	struct bak_buf action, source;
	bool in_source;
	uint64_t n;
};
int bak_os_lines_feed(struct bak_os_lines *lines, const void *p, size_t len, struct bak_error *err);
int bak_os_lines_end(struct bak_os_lines *lines, struct bak_error *err);
void bak_os_lines_release(struct bak_os_lines *lines);

#endif
