/*
 * An answer of the Query API, cut into its rows while it comes:
 *
 *   {"data":{"fields":[...],"values":[[...],[...]]},"errors":[...],"bookmarks":[...]}
 *
 * Each row becomes JSON and is handed on; what is around them is kept, and is a document of its own
 * with an empty list of values. An answer that was cut off is no such document, so it cannot be
 * taken for a whole one.
 * Limits: 64 MiB a row, 4 MiB around them. Memory: the longest row, as text and as JSON.
 * Errors: BAK_CORRUPT for what is no such answer; those of the callback.
 */
#ifndef BAK_STORES_NEO4J_ROWS_H
#define BAK_STORES_NEO4J_ROWS_H

#include "engine/base/buf.h"
#include "engine/base/error.h"

#include <jansson.h>
#include <stdbool.h>

typedef int bak_neo4j_row(void *ctx, const json_t *row, struct bak_error *err);

struct bak_neo4j_rows {
	bak_neo4j_row *row; /* may be NULL */
	void *ctx;
	struct bak_buf around, text; /* text: of the row that is coming in */
	unsigned depth;
	bool in_string, escaped, in_data, in_values;
	uint64_t n; /* rows so far */
};

int bak_neo4j_rows_feed(struct bak_neo4j_rows *rows, const char *p, size_t len,
			struct bak_error *err);
/* The end: what was around the rows, a new reference. */
int bak_neo4j_rows_end(struct bak_neo4j_rows *rows, json_t **out, struct bak_error *err);
void bak_neo4j_rows_release(struct bak_neo4j_rows *rows);

#endif
