/*
 * How facts look: sizes, times, names, tables and JSON.
 */
#ifndef BAK_TOOLS_OUTPUT_H
#define BAK_TOOLS_OUTPUT_H

#include "engine/base/buf.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* "1.2 GiB"; "512 B". Returns out. */
#define BAK_SIZE_TEXT 16
const char *bak_size_text(uint64_t bytes, char out[BAK_SIZE_TEXT]);
/* "3 s", "12 min", "5 h", "9 days": rounded down, for ages and remaining times. */
#define BAK_SPAN_TEXT 24
const char *bak_span_text(uint64_t seconds, char out[BAK_SPAN_TEXT]);
/* "s" but for one. */
const char *bak_plural(uint64_t n);

/* A path or name for the terminal, as one line: quoted and escaped if it holds control characters
 * or bytes that are no UTF-8. To free; NULL for lack of memory. */
char *bak_name_text(const char *name, size_t len);
/* Sets object[key]; names that are no UTF-8 get U+FFFD there, and their bytes as hex in
 * object[key_hex]. */
int bak_json_set_name(json_t *object, const char *key, const char *name, size_t len);
/* Prints and gives back value (NULL: out of memory). 0, -1. */
int bak_json_print(json_t *value);

/* Columns as wide as their widest cell. */
struct bak_table;
/* heads: names of the columns, one string each; a leading '>' aligns to the right. */
struct bak_table *bak_table_new(const char *const *heads, size_t n);
/* One row: n strings, copied. */
int bak_table_row(struct bak_table *table, const char *const *cells);
/* Prints and frees. */
void bak_table_print(struct bak_table *table);
void bak_table_free(struct bak_table *table);

#endif
