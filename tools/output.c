/*
 * Sizes, times, names, tables and JSON on standard output.
 */
#include "tools/output.h"

#include "engine/base/bytes.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char *bak_size_text(uint64_t bytes, char out[BAK_SIZE_TEXT])
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024) {
		snprintf(out, BAK_SIZE_TEXT, "%" PRIu64 " B", bytes);
		return out;
	}
	while (value >= 1023.95 && unit < 5) {
		value /= 1024;
		unit++;
	}
	snprintf(out, BAK_SIZE_TEXT, "%.1f %s", value, units[unit]);
	return out;
}

const char *bak_span_text(uint64_t seconds, char out[BAK_SPAN_TEXT])
{
	if (seconds < 120)
		snprintf(out, BAK_SPAN_TEXT, "%" PRIu64 " s", seconds);
	else if (seconds < 7200)
		snprintf(out, BAK_SPAN_TEXT, "%" PRIu64 " min", seconds / 60);
	else if (seconds < 172800)
		snprintf(out, BAK_SPAN_TEXT, "%" PRIu64 " h", seconds / 3600);
	else
		snprintf(out, BAK_SPAN_TEXT, "%" PRIu64 " days", seconds / 86400);
	return out;
}

const char *bak_plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

/* Length of the UTF-8 character at p, 0 if it is none (RFC 3629: no overlong forms, surrogates or
 * anything above U+10FFFF). */
static size_t utf8_len(const unsigned char *p, size_t left)
{
	unsigned min = 0x80, max = 0xbf;
	size_t len, i;

	if (p[0] < 0x80)
		return 1;
	len = p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : p[0] >= 0xe0 && p[0] <= 0xef ? 3 : 4;
	if (p[0] < 0xc2 || p[0] > 0xf4 || len > left)
		return 0;
	if (p[0] == 0xe0)
		min = 0xa0;
	else if (p[0] == 0xed)
		max = 0x9f;
	else if (p[0] == 0xf0)
		min = 0x90;
	else if (p[0] == 0xf4)
		max = 0x8f;
	if (p[1] < min || p[1] > max)
		return 0;
	for (i = 2; i < len; i++) {
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	}
	return len;
}

/* Printable on a terminal without surprises: no C0 or C1 control characters. */
static bool is_plain(const unsigned char *p, size_t len)
{
	return len && *p >= ' ' && *p != 0x7f && !(len == 2 && p[0] == 0xc2 && p[1] < 0xa0);
}

static bool all_plain(const unsigned char *p, size_t len)
{
	size_t at, step;

	for (at = 0; at < len; at += step) {
		step = utf8_len(p + at, len - at);
		if (!is_plain(p + at, step))
			return false;
	}
	return len > 0;
}

static int escape(struct bak_buf *out, const unsigned char *p, size_t len)
{
	static const char from[] = "\n\t\r\"\\", to[] = "ntr\"\\";
	const char *special = len <= 1 && *p ? strchr(from, *p) : NULL;

	if (special)
		return bak_buf_printf(out, "\\%c", to[special - from]);
	if (is_plain(p, len))
		return bak_buf_append(out, p, len);
	for (len = len ? len : 1; len; p++, len--) {
		if (bak_buf_printf(out, "\\x%02x", *p) < 0)
			return -1;
	}
	return 0;
}

char *bak_name_text(const char *name, size_t len)
{
	const unsigned char *p = (const unsigned char *)name;
	struct bak_buf out = BAK_BUF_INIT;
	size_t at, step;
	int rc;

	if (all_plain(p, len))
		return strndup(name, len);
	rc = bak_buf_append(&out, "\"", 1);
	for (at = 0; at < len && rc == 0; at += step ? step : 1) {
		step = utf8_len(p + at, len - at);
		rc = escape(&out, p + at, step);
	}
	if (rc == 0 && bak_buf_append(&out, "\"", 2) == 0)
		return (char *)out.p;
	bak_buf_release(&out);
	return NULL;
}

int bak_json_set_name(json_t *object, const char *key, const char *name, size_t len)
{
	const unsigned char *p = (const unsigned char *)name;
	BAK_AUTO(bak_buf_release) struct bak_buf clean = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf hex = BAK_BUF_INIT;
	bool valid = true;
	char hex_key[64];
	size_t at, step;

	for (at = 0; at < len; at += step ? step : 1) {
		step = utf8_len(p + at, len - at);
		valid = valid && step;
		if ((step ? bak_buf_append(&clean, p + at, step)
			  : bak_buf_append(&clean, "\xef\xbf\xbd", 3)) < 0)
			return -1;
	}
	if (json_object_set_new(object, key,
				json_stringn(clean.p ? (char *)clean.p : "", clean.len)) < 0)
		return -1;
	if (valid)
		return 0;
	if (bak_buf_resize(&hex, 2 * len + 1) < 0)
		return -1;
	bak_hex((char *)hex.p, p, len);
	snprintf(hex_key, sizeof(hex_key), "%s_hex", key);
	return json_object_set_new(object, hex_key, json_string((char *)hex.p));
}

int bak_json_print(json_t *value)
{
	int rc = value ? json_dumpf(value, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) : -1;

	json_decref(value);
	putchar('\n');
	return rc;
}

/* ---- tables ---- */

struct bak_table {
	size_t n_columns, n_rows;
	bool *right;
	char **cells; /* row by row, the heads first */
};

void bak_table_free(struct bak_table *table)
{
	size_t i;

	for (i = 0; i < table->n_columns * table->n_rows; i++)
		free(table->cells[i]);
	free(table->cells);
	free(table->right);
	free(table);
}

struct bak_table *bak_table_new(const char *const *heads, size_t n)
{
	struct bak_table *table = calloc(1, sizeof(*table));
	const char *plain[16];
	size_t i;

	assert(n <= sizeof(plain) / sizeof(plain[0]));
	if (!table)
		return NULL;
	table->n_columns = n;
	table->right = calloc(n, sizeof(*table->right));
	for (i = 0; i < n && table->right; i++) {
		table->right[i] = heads[i][0] == '>';
		plain[i] = heads[i] + table->right[i];
	}
	if (table->right && bak_table_row(table, plain) == 0)
		return table;
	bak_table_free(table);
	return NULL;
}

int bak_table_row(struct bak_table *table, const char *const *cells)
{
	size_t n = table->n_columns, i;
	char **more = realloc(table->cells, (table->n_rows + 1) * n * sizeof(*more));

	if (!more)
		return -1;
	table->cells = more;
	more += table->n_rows * n;
	table->n_rows++;
	for (i = 0; i < n; i++)
		more[i] = strdup(cells[i]);
	for (i = 0; i < n; i++) {
		if (!more[i])
			return -1;
	}
	return 0;
}

/* Columns of a text on a terminal, one for each character. */
static size_t width_of(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void print_row(const struct bak_table *table, size_t row, const size_t *widths)
{
	size_t i;

	for (i = 0; i < table->n_columns; i++) {
		const char *cell = table->cells[row * table->n_columns + i];
		int pad = (int)(widths[i] - width_of(cell));
		bool last = i + 1 == table->n_columns;

		if (last && !*cell)
			break;
		printf("%s%*s%s%*s", i ? "  " : "", table->right[i] ? pad : 0, "", cell,
		       table->right[i] || last ? 0 : pad, "");
	}
	putchar('\n');
}

void bak_table_print(struct bak_table *table)
{
	size_t widths[16] = {0}, i, row;

	for (i = 0; i < table->n_columns * table->n_rows; i++) {
		size_t width = width_of(table->cells[i]), column = i % table->n_columns;

		widths[column] = width > widths[column] ? width : widths[column];
	}
	for (row = 0; row < table->n_rows; row++)
		print_row(table, row, widths);
	bak_table_free(table);
}
