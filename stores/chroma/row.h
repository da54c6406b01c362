/*
 * Rows of a collection: as they come in a page of the server's answer, as a line of rows.ndjson,
 * as a part of a batch that is added.
 *
 * A line: {"id":...,"document":...,"metadata":...,"uri":...,"embedding":"<base64>"}\n, in that
 *   order, no white space; the embedding is base64 of its float32, little-endian, as the server
 *   takes it; metadata has its members sorted by key, so that the same row is always the same line.
 * Pages: the server hands out columns: {"ids":[...],"embeddings":[[...]],"documents":[...], ...}.
 * Ownership: texts in rows and pages are borrowed from what was parsed.
 */
#ifndef BAK_STORES_CHROMA_ROW_H
#define BAK_STORES_CHROMA_ROW_H

#include "engine/base/error.h"
#include "stores/chroma/scan.h"

/* No line is longer; the server's own limit for a request is 40 MiB. */
#define BAK_CHROMA_LINE_MAX ((size_t)64 << 20)

struct bak_chroma_row {
	struct bak_text id, document, metadata, uri; /* JSON; "null" */
	struct bak_text embedding;                   /* JSON: base64 */
};

/* One page of rows. */
struct bak_chroma_page {
	size_t n, dim;
	struct bak_chroma_column {
		struct bak_text *v;
		size_t n, cap;
	} ids, documents, metadatas, uris;
	struct bak_buf vectors; /* n * dim float32 */
	size_t n_vectors;
};
/* Takes an answer to .../get apart. The page is empty before; release it after failure too. */
int bak_chroma_page_parse(const char *p, size_t len, struct bak_chroma_page *page,
			  struct bak_error *err);
void bak_chroma_page_release(struct bak_chroma_page *page);
/* Appends the line of row i. */
int bak_chroma_page_line(const struct bak_chroma_page *page, size_t i, struct bak_buf *out,
			 struct bak_error *err);

/* A line of ours, or of anybody's export: members in any order, the embedding also as an array of
 * numbers. spare holds what had to be rewritten, and must outlive the row. */
int bak_chroma_row_parse(const char *p, size_t len, struct bak_chroma_row *out,
			 struct bak_buf *spare, struct bak_error *err);
/* Appends it as a line of ours. */
int bak_chroma_row_line(const struct bak_chroma_row *row, struct bak_buf *out,
			struct bak_error *err);
/* Two lines of ours say the same, however it is written; fractions among the metadata may differ in
 * their last digit. With nearly, embeddings may so too. */
bool bak_chroma_lines_equal(struct bak_text a, struct bak_text b, bool nearly);

#endif
