/*
 * Rows out of a dump into tables that are there, in a transaction of ours: what pg_restore prints as
 * SQL is taken apart into COPY commands and their data. Sequences of new tables get their values;
 * anything else that is not a setting or a comment is not obeyed.
 */
#include "stores/postgresql/postgresql.h"

#include <stdlib.h>
#include <string.h>

/* Of a line that is no row. */
#define LINE_MAX (4u << 20)

int bak_pg_take_ident(const char **at, struct bak_buf *out)
{
	const char *p = *at;
	size_t n = 0;
	int rc = 0;

	out->len = 0;
	if (*p == '"') {
		for (p++; rc == 0 && *p && (*p != '"' || p[1] == '"'); p++, n++) {
			p += *p == '"';
			rc = bak_buf_append(out, p, 1);
		}
		p += *p == '"';
	} else {
		n = strcspn(p, " .;(\"\n");
		rc = bak_buf_append(out, p, n);
		p += n;
	}
	*at = p;
	return rc == 0 && n ? bak_buf_append(out, "", 1) : -1;
}

int bak_pg_move_name(PGconn *conn, const char *to, const char **at, struct bak_buf *out)
{
	BAK_AUTO(bak_buf_release) struct bak_buf name = BAK_BUF_INIT;
	int rc = bak_pg_take_ident(at, &name);

	if (rc < 0 || **at != '.')
		return -1;
	++*at;
	if (bak_pg_take_ident(at, &name) < 0)
		return -1;
	BAK_AUTO(bak_pg_free) char *schema = bak_pg_ident(conn, to);
	BAK_AUTO(bak_pg_free) char *table = bak_pg_ident(conn, (char *)name.p);
	return schema && table ? bak_buf_printf(out, "%s.%s", schema, table) : -1;
}

/* --- COPY --- */

static int fail_here(struct bak_pg_copy *c, const PGresult *result, struct bak_error *err)
{
	const char *words = result ? PQresultErrorMessage(result) : "";

	return bak_pg_fail(err, NULL, *words ? words : PQerrorMessage(c->conn));
}

/* "COPY schema.table (columns) FROM stdin;" */
static int begin_copy(struct bak_pg_copy *c, const char *line, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf sql = BAK_BUF_INIT;
	const char *at = line + strlen("COPY ");

	if (bak_buf_printf(&sql, "COPY ") < 0)
		return bak_error_nomem(err);
	if (c->to_schema && bak_pg_move_name(c->conn, c->to_schema, &at, &sql) < 0)
		return bak_error_set(err, BAK_CORRUPT, "\"%.100s\" names no table", line);
	if (bak_buf_printf(&sql, "%s", at) < 0 || bak_buf_append(&sql, "", 1) < 0)
		return bak_error_nomem(err);
	BAK_AUTO(bak_pg_clear) PGresult *result = PQexec(c->conn, (char *)sql.p);
	if (PQresultStatus(result) != PGRES_COPY_IN)
		return fail_here(c, result, err);
	c->in_copy = c->at_line = true;
	c->held = 0;
	return 0;
}

static int put(struct bak_pg_copy *c, const void *p, size_t len, struct bak_error *err)
{
	if (!len || PQputCopyData(c->conn, p, (int)len) == 1)
		return 0;
	BAK_AUTO(bak_pg_clear) PGresult *result = PQgetResult(c->conn);
	return fail_here(c, result, err);
}

static int end_copy(struct bak_pg_copy *c, struct bak_error *err)
{
	PGresult *result;
	int rc = PQputCopyEnd(c->conn, NULL) == 1 ? 0 : fail_here(c, NULL, err);

	c->in_copy = false;
	while ((result = PQgetResult(c->conn)) != NULL) {
		if (rc == 0 && PQresultStatus(result) != PGRES_COMMAND_OK)
			rc = fail_here(c, result, err);
		PQclear(result);
	}
	return rc;
}

/* --- lines --- */

static bool begins(const char *line, const char *text)
{
	return strncmp(line, text, strlen(text)) == 0;
}

static bool ends(const char *line, const char *text)
{
	size_t len = strlen(line), n = strlen(text);

	return len >= n && strcmp(line + len - n, text) == 0;
}

#define SETVAL "SELECT pg_catalog.setval("
#define STDIN " FROM stdin;"

/* Names may have ends of lines in them. */
static bool goes_on(const char *line)
{
	return (begins(line, "COPY ") && !ends(line, STDIN)) ||
	       (begins(line, SETVAL) && !ends(line, ");"));
}

static int take_line(struct bak_pg_copy *c, const char *line, struct bak_error *err)
{
	static const char *const ignored[] = {"--", "SET ",
					      "SELECT pg_catalog.set_config('search_path', '', ",
					      "\\restrict ", "\\unrestrict "};

	if (begins(line, "COPY "))
		return begin_copy(c, line, err);
	if (begins(line, SETVAL))
		return bak_pg_exec(c->pg->env, c->conn, err, "%s", line);
	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
		if (begins(line, ignored[i]))
			return 0;
	}
	return *line ? bak_error_set(err, BAK_UNSUPPORTED,
				     "the dump has its rows as commands (\"%.60s\"), and a part of "
				     "it cannot be restored",
				     line)
		     : 0;
}

static int take_outside(struct bak_pg_copy *c, const char **p, const char *end,
			struct bak_error *err)
{
	const char *newline = memchr(*p, '\n', (size_t)(end - *p));
	size_t len = (size_t)((newline ? newline : end) - *p);

	if (c->line.len + len > LINE_MAX)
		return bak_error_set(err, BAK_CORRUPT, "a line of the dump is too long");
	if (bak_buf_append(&c->line, *p, len) < 0)
		return bak_error_nomem(err);
	*p += len;
	if (!newline)
		return 0;
	++*p;
	if (bak_buf_append(&c->line, "", 1) < 0)
		return bak_error_nomem(err);
	if (goes_on((char *)c->line.p)) {
		c->line.p[c->line.len - 1] = '\n';
		return 0;
	}
	c->line.len = 0;
	return take_line(c, (char *)c->line.p, err);
}

/* The end is a line "\.": its beginning may have been the end of the piece before. */
static const char mark[] = "\\.\n";

static int take_rows(struct bak_pg_copy *c, const char **p, const char *end, struct bak_error *err)
{
	const char *at = *p;

	while (at < end) {
		if (c->at_line && *at == mark[c->held]) {
			if (c->held == 0 && put(c, *p, (size_t)(at - *p), err) < 0)
				return -1;
			*p = ++at;
			if (++c->held == 3)
				return end_copy(c, err);
			continue;
		}
		if (c->held && put(c, mark, c->held, err) < 0)
			return -1;
		c->held = 0;
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		c->at_line = newline != NULL;
		at = newline ? newline + 1 : end;
	}
	int rc = put(c, *p, (size_t)(end - *p), err);
	*p = end;
	return rc;
}

int bak_pg_copy_take(void *ctx, const void *piece, size_t len, struct bak_error *err)
{
	struct bak_pg_copy *c = ctx;
	const char *p = piece, *end = p + len;
	int rc = 0;

	while (rc == 0 && p < end)
		rc = c->in_copy ? take_rows(c, &p, end, err) : take_outside(c, &p, end, err);
	return rc;
}

int bak_pg_copy_end(struct bak_pg_copy *c, int rc, struct bak_error *err)
{
	if (rc == 0 && (c->in_copy || c->line.len))
		rc = bak_error_set(err, BAK_CORRUPT, "the rows of the dump end too early");
	bak_buf_release(&c->line);
	return rc;
}
