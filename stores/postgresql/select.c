/* Which databases and tables are meant: names and shell patterns. */
#include "stores/postgresql/postgresql.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define USER_SCHEMA "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"

void bak_pg_names_release(struct bak_pg_names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->v[i]);
	free(names->v);
	*names = (struct bak_pg_names){.n = 0};
}

int bak_pg_names_add(struct bak_pg_names *names, const char *name, struct bak_error *err)
{
	if (bak_grow(&names->v, &names->cap, names->n, sizeof *names->v) < 0)
		return bak_error_nomem(err);
	names->v[names->n] = strdup(name);
	return names->v[names->n] ? (names->n++, 0) : bak_error_nomem(err);
}

static bool has_name(const struct bak_pg_names *names, const char *name)
{
	for (size_t i = 0; i < names->n; i++) {
		if (strcmp(names->v[i], name) == 0)
			return true;
	}
	return false;
}

/* --- patterns --- */

static int add_literal(struct bak_buf *out, char c)
{
	bool plain = isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;

	return (plain || bak_buf_append(out, "\\", 1) == 0) && bak_buf_append(out, &c, 1) == 0 ? 0
											       : -1;
}

int bak_pg_pattern(const char *pattern, size_t len, struct bak_buf *out)
{
	int rc = bak_buf_append(out, "^(", 2);

	for (size_t i = 0; rc == 0 && i < len; i++) {
		if (pattern[i] == '*')
			rc = bak_buf_append(out, ".*", 2);
		else if (pattern[i] == '?')
			rc = bak_buf_append(out, ".", 1);
		else
			rc = add_literal(out, pattern[i]);
	}
	return rc == 0 ? bak_buf_append(out, ")$", 3) : -1;
}

/* One part of "schema.table": quoted it stands for itself, else it is a pattern. *at: behind it. */
static int take_part(const char **at, struct bak_buf *out)
{
	const char *p = *at;
	int rc;

	if (*p != '"') {
		size_t len = strcspn(p, ".");

		*at = p + len;
		return bak_pg_pattern(p, len, out);
	}
	rc = bak_buf_append(out, "^(", 2);
	for (p++; rc == 0 && *p && (*p != '"' || p[1] == '"'); p++) {
		p += *p == '"';
		rc = add_literal(out, *p);
	}
	*at = *p ? p + 1 : p;
	return rc == 0 ? bak_buf_append(out, ")$", 3) : -1;
}

/* --- databases --- */

bool bak_pg_means_all(const struct bak_pg *pg)
{
	return !pg->default_db && !bak_store_get(pg->conf, "databases");
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_matching(struct bak_pg *pg, const char *pattern, struct bak_pg_names *out,
			struct bak_error *err)
{
	static const char sql[] = "SELECT datname FROM pg_database WHERE datallowconn AND NOT "
				  "datistemplate AND datname ~ $1";
	BAK_AUTO(bak_buf_release) struct bak_buf regex = BAK_BUF_INIT;

	if (bak_pg_pattern(pattern, strlen(pattern), &regex) < 0)
		return bak_error_nomem(err);
	const char *params[] = {(const char *)regex.p};
	BAK_AUTO(bak_pg_clear)
	PGresult *result = bak_pg_query_params(pg->env, pg->main, sql, params, 1, err);
	if (!result)
		return -1;
	if (PQntuples(result) == 0)
		return bak_error_set(err, BAK_NOT_FOUND,
				     "no database of the server matches \"%s\": correct databases",
				     pattern);
	for (int i = 0; i < PQntuples(result); i++) {
		const char *name = PQgetvalue(result, i, 0);

		if (!has_name(out, name) && bak_pg_names_add(out, name, err) < 0)
			return -1;
	}
	return 0;
}

int bak_pg_databases(struct bak_pg *pg, struct bak_pg_names *out, struct bak_error *err)
{
	const char *pattern;

	if (bak_pg_main(pg, err) < 0)
		return -1;
	if (!bak_store_get(pg->conf, "databases") && pg->default_db)
		return bak_pg_names_add(out, pg->default_db, err);
	if (bak_pg_means_all(pg) && add_matching(pg, "*", out, err) < 0)
		return -1;
	for (size_t i = 0; (pattern = bak_store_get_item(pg->conf, "databases", i)); i++) {
		if (add_matching(pg, pattern, out, err) < 0)
			return -1;
	}
	qsort(out->v, out->n, sizeof *out->v, by_bytes);
	return 0;
}

int bak_pg_size(struct bak_pg *pg, uint64_t *out, struct bak_error *err)
{
	struct bak_pg_names names = {.n = 0};
	int rc = bak_pg_databases(pg, &names, err);

	*out = 0;
	for (size_t i = 0; rc == 0 && i < names.n; i++) {
		const char *params[] = {names.v[i]};
		BAK_AUTO(bak_pg_clear)
		PGresult *result = bak_pg_query_params(
			pg->env, pg->main, "SELECT pg_database_size($1::name)", params, 1, err);

		if (result)
			*out += strtoull(PQgetvalue(result, 0, 0), NULL, 10);
		else
			rc = -1;
	}
	bak_pg_names_release(&names);
	return rc;
}

/* --- tables --- */

int bak_pg_table_pattern(const char *option, const char *pattern, struct bak_buf *out_schema,
			 struct bak_buf *out_table, struct bak_error *err)
{
	const char *at = pattern;
	int rc = take_part(&at, out_table);

	if (rc == 0 && *at == '.') {
		struct bak_buf first = *out_table;

		*out_table = *out_schema;
		*out_schema = first;
		at++;
		rc = take_part(&at, out_table);
	} else if (rc == 0) {
		rc = bak_buf_append(out_schema, ".", 2);
	}
	if (rc < 0)
		return bak_error_nomem(err);
	if (*at)
		return bak_error_set(
			err, BAK_USAGE,
			"%s: \"%s\" is not SCHEMA.TABLE or TABLE, each with * and ? or "
			"in double quotes",
			option, pattern);
	return 0;
}

static int add_tables(struct bak_pg *pg, PGconn *conn, const char *option, const char *pattern,
		      struct bak_pg_names *out, struct bak_error *err)
{
	static const char sql[] =
		"SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n "
		"ON "
		"n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND "
		"c.relname ~ $2 AND n.nspname ~ $1 AND " USER_SCHEMA;
	BAK_AUTO(bak_buf_release) struct bak_buf schema = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf table = BAK_BUF_INIT;

	if (bak_pg_table_pattern(option, pattern, &schema, &table, err) < 0)
		return -1;
	const char *params[2] = {(const char *)schema.p, (const char *)table.p};
	BAK_AUTO(bak_pg_clear)
	PGresult *result = bak_pg_query_params(pg->env, conn, sql, params, 2, err);
	if (!result)
		return -1;
	for (int i = 0; i < PQntuples(result); i++) {
		const char *name = PQgetvalue(result, i, 0);

		if (!has_name(out, name) && bak_pg_names_add(out, name, err) < 0)
			return -1;
	}
	return 0;
}

int bak_pg_tables(struct bak_pg *pg, PGconn *conn, const char *option, struct bak_pg_names *out,
		  struct bak_error *err)
{
	const char *pattern;

	for (size_t i = 0; (pattern = bak_store_get_item(pg->conf, option, i)); i++) {
		if (add_tables(pg, conn, option, pattern, out, err) < 0)
			return -1;
	}
	return 0;
}
