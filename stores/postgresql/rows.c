/*
 * Tables whose rows change places with others while everything that refers to them stays: views,
 * grants, triggers, keys of other tables. All of it in the caller's transaction.
 *
 * Foreign keys from and to them are dropped first and made again behind it, as they were, which
 * checks every row; triggers and rules of users do nothing meanwhile.
 */
#include "stores/postgresql/postgresql.h"

#include <stdlib.h>
#include <string.h>

void bak_pg_tables_release(struct bak_pg_tables *tables)
{
	for (size_t i = 0; i < tables->n; i++) {
		free(tables->v[i].schema);
		free(tables->v[i].name);
		free(tables->v[i].sql);
	}
	free(tables->v);
	*tables = (struct bak_pg_tables){.n = 0};
}

int bak_pg_tables_add(struct bak_pg_tables *tables, PGconn *conn, const char *schema,
		      const char *name, struct bak_error *err)
{
	BAK_AUTO(bak_pg_free) char *s = bak_pg_ident(conn, schema);
	BAK_AUTO(bak_pg_free) char *t = bak_pg_ident(conn, name);
	struct bak_pg_table *at;

	if (!s || !t || bak_grow(&tables->v, &tables->cap, tables->n, sizeof *tables->v) < 0)
		return bak_error_nomem(err);
	at = &tables->v[tables->n++];
	*at = (struct bak_pg_table){.schema = strdup(schema), .name = strdup(name)};
	if (asprintf(&at->sql, "%s.%s", s, t) < 0)
		at->sql = NULL;
	return at->schema && at->name && at->sql ? 0 : bak_error_nomem(err);
}

/* --- what they are --- */

/* 1 it is there, 0 not, -1. */
int bak_pg_table_look(const struct bak_store_env *env, PGconn *conn, struct bak_pg_table *t,
		      struct bak_error *err)
{
	static const char sql[] =
		"SELECT c.relkind, c.oid, coalesce((SELECT i.inhparent FROM pg_inherits i WHERE "
		"i.inhrelid = c.oid AND c.relispartition LIMIT 1), 0) FROM pg_class c JOIN "
		"pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";
	const char *params[] = {t->schema, t->name};
	BAK_AUTO(bak_pg_clear)
	PGresult *result = bak_pg_query_params(env, conn, sql, params, 2, err);

	if (!result)
		return -1;
	t->kind = '\0';
	if (!PQntuples(result))
		return 0;
	t->kind = *PQgetvalue(result, 0, 0);
	snprintf(t->oid, sizeof t->oid, "%s", PQgetvalue(result, 0, 1));
	snprintf(t->parent, sizeof t->parent, "%s", PQgetvalue(result, 0, 2));
	return 1;
}

const char *bak_pg_table_only(const struct bak_pg_table *t)
{
	return t->kind == 'p' ? "" : "ONLY ";
}

/* A partition of another one of them goes with it. */
bool bak_pg_table_is_within(const struct bak_pg_tables *tables, const struct bak_pg_table *t)
{
	for (size_t i = 0; i < tables->n; i++) {
		if (strcmp(tables->v[i].oid, t->parent) == 0)
			return true;
	}
	return false;
}

/* '{16384,16390}' */
static int add_oids(const struct bak_pg_tables *tables, struct bak_buf *out, struct bak_error *err)
{
	int rc = bak_buf_append(out, "{", 1);

	for (size_t i = 0; rc == 0 && i < tables->n; i++)
		rc = bak_buf_printf(out, "%s%s", i ? "," : "", tables->v[i].oid);
	if (rc < 0 || bak_buf_append(out, "}", 2) < 0)
		return bak_error_nomem(err);
	return 0;
}

/* --- what must not act meanwhile --- */

/* The tables with all of their partitions; and of each foreign key the one that was declared. */
#define RELATIONS                                                                            \
	"WITH RECURSIVE rel(oid) AS (SELECT unnest($1::oid[]) UNION SELECT i.inhrelid FROM " \
	"pg_inherits i JOIN rel ON rel.oid = i.inhparent JOIN pg_class c ON c.oid = "        \
	"i.inhrelid WHERE c.relispartition)"
static const char keys_sql[] = RELATIONS
	", key(oid, parent) AS (SELECT oid, conparentid FROM pg_constraint WHERE contype = 'f' AND "
	"(conrelid IN (SELECT oid FROM rel) OR confrelid IN (SELECT oid FROM rel)) UNION SELECT "
	"k.oid, k.conparentid FROM pg_constraint k JOIN key ON key.parent = k.oid) "
	"SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, k.conname), "
	"format('ALTER TABLE %s ADD CONSTRAINT %I %s', k.conrelid::regclass, k.conname, "
	"pg_get_constraintdef(k.oid)) || coalesce(format('; COMMENT ON CONSTRAINT %I ON %s IS %L', "
	"k.conname, k.conrelid::regclass, obj_description(k.oid, 'pg_constraint')), '') "
	"FROM pg_constraint k JOIN key USING (oid) WHERE k.conparentid = 0 ORDER BY k.oid";
static const char acts_sql[] = RELATIONS
	" SELECT format('ALTER TABLE ONLY %s DISABLE TRIGGER %I', tgrelid::regclass, tgname), "
	"format('ALTER TABLE ONLY %s ENABLE %sTRIGGER %I', tgrelid::regclass, CASE tgenabled WHEN "
	"'R' THEN 'REPLICA ' WHEN 'A' THEN 'ALWAYS ' ELSE '' END, tgname) FROM pg_trigger WHERE "
	"tgrelid IN (SELECT oid FROM rel) AND NOT tgisinternal AND tgenabled <> 'D' UNION ALL "
	"SELECT format('ALTER TABLE ONLY %s DISABLE RULE %I', ev_class::regclass, rulename), "
	"format('ALTER TABLE ONLY %s ENABLE %sRULE %I', ev_class::regclass, CASE ev_enabled WHEN "
	"'R' THEN 'REPLICA ' WHEN 'A' THEN 'ALWAYS ' ELSE '' END, rulename) FROM pg_rewrite WHERE "
	"ev_class IN (SELECT oid FROM rel) AND ev_enabled <> 'D'";

/* Each row of the query is a statement to be obeyed now, and one for later. */
static int obey(const struct bak_store_env *env, PGconn *conn, const char *sql, const char *list,
		struct bak_pg_names *later, struct bak_error *err)
{
	const char *params[] = {list};
	BAK_AUTO(bak_pg_clear)
	PGresult *result = bak_pg_query_params(env, conn, sql, params, 1, err);

	for (int i = 0; i < PQntuples(result); i++) {
		if (bak_pg_exec(env, conn, err, "%s", PQgetvalue(result, i, 0)) < 0 ||
		    bak_pg_names_add(later, PQgetvalue(result, i, 1), err) < 0)
			return -1;
	}
	return result ? 0 : -1;
}

int bak_pg_rows_begin(const struct bak_store_env *env, PGconn *conn,
		      const struct bak_pg_tables *tables, struct bak_pg_names *later,
		      struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf list = BAK_BUF_INIT;

	for (size_t i = 0; i < tables->n; i++) {
		if (bak_pg_exec(env, conn, err, "LOCK TABLE %s%s IN ACCESS EXCLUSIVE MODE",
				bak_pg_table_only(&tables->v[i]), tables->v[i].sql) < 0)
			return bak_error_wrap(err, "%s", tables->v[i].sql);
	}
	if (add_oids(tables, &list, err) < 0 ||
	    obey(env, conn, acts_sql, (char *)list.p, later, err) < 0)
		return -1;
	return obey(env, conn, keys_sql, (char *)list.p, later, err);
}

int bak_pg_rows_end(const struct bak_store_env *env, PGconn *conn, const struct bak_pg_names *later,
		    struct bak_error *err)
{
	/* a table with checks that are still to come cannot be altered */
	if (bak_pg_exec(env, conn, err, "SET CONSTRAINTS ALL IMMEDIATE") < 0)
		return -1;
	for (size_t i = 0; i < later->n; i++) {
		if (bak_pg_exec(env, conn, err, "%s", later->v[i]) < 0)
			return -1;
	}
	return 0;
}

/* --- their rows --- */

int bak_pg_rows_empty(const struct bak_store_env *env, PGconn *conn,
		      const struct bak_pg_tables *tables, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf sql = BAK_BUF_INIT;

	if (!tables->n)
		return 0;
	for (size_t i = 0; i < tables->n; i++) {
		if (bak_buf_printf(&sql, "%s%s%s", i ? ", " : "TRUNCATE ",
				   bak_pg_table_only(&tables->v[i]), tables->v[i].sql) < 0)
			return bak_error_nomem(err);
	}
	return bak_pg_exec(env, conn, err, "%.*s", (int)sql.len, (char *)sql.p);
}

int bak_pg_rows_keep(const struct bak_store_env *env, PGconn *conn, const struct bak_pg_table *t,
		     const char *schema, const char *name, struct bak_error *err)
{
	BAK_AUTO(bak_pg_free) char *s = bak_pg_ident(conn, schema);
	BAK_AUTO(bak_pg_free) char *n = bak_pg_ident(conn, name);

	if (!s || !n)
		return bak_error_nomem(err);
	return bak_pg_exec(env, conn, err, "CREATE TABLE %s.%s AS SELECT * FROM %s%s", s, n,
			   bak_pg_table_only(t), t->sql);
}

/* Of a column that is computed no value is taken. */
static char *columns_of(const struct bak_store_env *env, PGconn *conn, const struct bak_pg_table *t,
			struct bak_error *err)
{
	static const char sql[] =
		"SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute "
		"WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped AND attgenerated = "
		"''";
	const char *params[] = {t->oid};
	BAK_AUTO(bak_pg_clear)
	PGresult *result = bak_pg_query_params(env, conn, sql, params, 1, err);
	char *text = result ? strdup(PQgetvalue(result, 0, 0)) : NULL;

	if (result && !text)
		bak_error_nomem(err);
	return text;
}

#define PASSING "bakfs_passing"

int bak_pg_rows_exchange(const struct bak_store_env *env, PGconn *conn,
			 const struct bak_pg_table *t, const char *schema, const char *name,
			 struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *columns = columns_of(env, conn, t, err);
	BAK_AUTO(bak_pg_free) char *s = bak_pg_ident(conn, schema);
	BAK_AUTO(bak_pg_free) char *n = bak_pg_ident(conn, name);

	if (!columns || !s || !n)
		return columns ? bak_error_nomem(err) : -1;
	if (bak_pg_rows_keep(env, conn, t, schema, PASSING, err) < 0 ||
	    bak_pg_exec(env, conn, err, "TRUNCATE %s%s", bak_pg_table_only(t), t->sql) < 0)
		return -1;
	if (bak_pg_exec(env, conn, err,
			*columns
				? "INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM %s.%s"
				: "INSERT INTO %s%s SELECT %s FROM %s.%s",
			t->sql, columns, columns, s, n) < 0)
		return bak_error_wrap(err, "%s", t->sql);
	return bak_pg_exec(env, conn, err,
			   "DROP TABLE %s.%s; ALTER TABLE %s." PASSING " RENAME TO %s", s, n, s, n);
}

/* --- their sequences --- */

/* One whose next value lies behind its column's values is set forth; by ALTER, which a rollback
 * undoes. Where a row has the greatest value that there can be, nothing lies before it. */
int bak_pg_rows_sequences(const struct bak_store_env *env, PGconn *conn,
			  const struct bak_pg_tables *tables, struct bak_error *err)
{
	static const char sql[] =
		"SELECT format('SELECT format(''ALTER SEQUENCE %%s RESTART WITH %%s'', "
		"%1$L::regclass, max(t.%2$I)::bigint + 1) FROM %3$s t HAVING max(t.%2$I) < %4$s "
		"AND "
		"max(t.%2$I) >= (SELECT last_value::numeric + is_called::int FROM %1$s)', "
		"d.objid::regclass, a.attname, a.attrelid::regclass, least(s.seqmax, CASE "
		"a.atttypid WHEN 21 THEN 32767 WHEN 23 THEN 2147483647 ELSE s.seqmax END)) "
		"FROM pg_depend d JOIN pg_sequence s ON s.seqrelid = d.objid AND s.seqincrement > "
		"0 "
		"AND NOT s.seqcycle JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = "
		"d.refobjsubid WHERE d.classid = 'pg_class'::regclass AND d.refclassid = "
		"'pg_class'::regclass AND d.deptype IN ('a', 'i') AND a.atttypid IN (20, 21, 23) "
		"AND d.refobjid = ANY($1::oid[])";
	BAK_AUTO(bak_buf_release) struct bak_buf list = BAK_BUF_INIT;

	if (add_oids(tables, &list, err) < 0)
		return -1;
	const char *params[] = {(char *)list.p};
	BAK_AUTO(bak_pg_clear) PGresult *all = bak_pg_query_params(env, conn, sql, params, 1, err);
	for (int i = 0; i < PQntuples(all); i++) {
		BAK_AUTO(bak_pg_clear)
		PGresult *one = bak_pg_query(env, conn, PQgetvalue(all, i, 0), err);

		if (!one || (PQntuples(one) &&
			     bak_pg_exec(env, conn, err, "%s", PQgetvalue(one, 0, 0)) < 0))
			return -1;
	}
	return all ? 0 : -1;
}
