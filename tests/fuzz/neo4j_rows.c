/* Answers of Neo4j's Query API, and the lines of an export. Input: one, in pieces whose size its first
 * byte says; the rows must not depend on the pieces. */
#include "stores/neo4j/neo4j.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

struct seen {
	uint64_t rows, values;
};

static int see(void *ctx, const json_t *row, struct bak_error *err)
{
	struct seen *seen = ctx;

	(void)err;
	if (!json_is_array(row))
		abort();
	seen->rows++;
	seen->values += json_array_size(row);
	return 0;
}

static int cut(const char *p, size_t len, size_t piece, struct seen *seen)
{
	struct bak_neo4j_rows rows = {.row = see, .ctx = seen};
	struct bak_error err = BAK_ERROR_INIT;
	json_t *around = NULL;
	int rc = 0;

	*seen = (struct seen){.rows = 0};
	for (size_t at = 0; rc == 0 && at < len; at += piece)
		rc = bak_neo4j_rows_feed(&rows, p + at, len - at < piece ? len - at : piece, &err);
	if (rc == 0)
		rc = bak_neo4j_rows_end(&rows, &around, &err);
	json_decref(around);
	bak_neo4j_rows_release(&rows);
	return rc;
}

static int take_line(void *ctx, json_t *line, size_t len, struct bak_error *err)
{
	const enum bak_neo4j_part *part = ctx;
	json_t *counts = json_object();
	int rc;

	(void)len;
	rc = *part == BAK_NEO4J_COUNTS ? bak_neo4j_read_count(counts, line, err)
				       : bak_neo4j_count_line(counts, *part, line, err);
	json_decref(counts);
	return rc;
}

static void read_lines(const char *p, size_t len, size_t piece)
{
	enum bak_neo4j_part part;

	for (part = 0; part < BAK_NEO4J_PARTS; part++) {
		struct bak_neo4j_lines lines = {.part = part, .line = take_line, .ctx = &part};
		struct bak_error err = BAK_ERROR_INIT;
		int rc = 0;

		for (size_t at = 0; rc == 0 && at < len; at += piece)
			rc = bak_neo4j_lines_feed(&lines, p + at,
						  len - at < piece ? len - at : piece, &err);
		bak_neo4j_lines_release(&lines);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct seen whole, pieces;

	if (!len)
		return 0;
	const char *text = (const char *)p + 1;
	size_t piece = (size_t)*p + 1;
	int rc = cut(text, len - 1, len, &whole);
	if (cut(text, len - 1, piece, &pieces) != rc)
		abort();
	if (rc == 0 && (whole.rows != pieces.rows || whole.values != pieces.values))
		abort();
	read_lines(text, len - 1, piece);
	return 0;
}
