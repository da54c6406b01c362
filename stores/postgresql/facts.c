/* What the manifest keeps of a database, and what is counted in it. */
#include "stores/postgresql/postgresql.h"

#include <stdlib.h>
#include <string.h>

/* What belongs to users: not the system's, and not an extension's (its own version decides what
 * that has). */
#define USERS(ns) ns " !~ '^pg_' AND " ns " <> 'information_schema'"
#define NO_EXTENSION(class, oid)                                                            \
	"NOT EXISTS (SELECT FROM pg_depend e WHERE e.deptype = 'e' AND e.classid = '" class \
		"'::regclass AND e.objid = " oid ")"

/* Versions differ in the columns of pg_database: those that may be missing are asked for by name in
 * its row as JSON. */
static const char describe_sql[] =
	"SELECT json_build_object('name', d.datname, 'instant', to_char(now(), "
	"'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), 'bytes', pg_database_size(d.oid), "
	"'encoding', pg_encoding_to_char(d.encoding), 'collate', d.datcollate, "
	"'ctype', d.datctype, 'provider', to_jsonb(d)->>'datlocprovider', "
	"'locale', coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale'), "
	"'owner', pg_get_userbyid(d.datdba), 'connection_limit', d.datconnlimit, "
	"'comment', shobj_description(d.oid, 'pg_database'), "
	"'acl', (SELECT json_agg(json_build_object('role', CASE WHEN a.grantee <> 0 THEN "
	"pg_get_userbyid(a.grantee) END, 'privilege', a.privilege_type, 'grantable', "
	"a.is_grantable)) FROM aclexplode(d.datacl) a), "
	"'settings', (SELECT json_agg(json_build_object('role', CASE WHEN s.setrole <> 0 THEN "
	"pg_get_userbyid(s.setrole) END, 'set', c)) FROM pg_db_role_setting s, "
	"unnest(s.setconfig) c WHERE s.setdatabase = d.oid), "
	"'extensions', (SELECT json_object_agg(extname, extversion) FROM pg_extension), "
	"'sequences', (SELECT json_object_agg(format('%I.%I', schemaname, sequencename), "
	"last_value) FROM pg_sequences WHERE increment_by > 0 AND NOT cycle), "
	"'roles', (SELECT json_agg(DISTINCT r.rolname) FROM pg_roles r WHERE r.oid = d.datdba OR "
	"r.oid IN (SELECT refobjid FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass AND "
	"(dbid = d.oid OR (classid = 'pg_database'::regclass AND objid = d.oid)) UNION ALL "
	"SELECT setrole FROM pg_db_role_setting WHERE setdatabase = d.oid))) "
	"FROM pg_database d WHERE d.datname = $1";

int bak_pg_describe(struct bak_pg *pg, PGconn *conn, const char *db, json_t *out,
		    struct bak_error *err)
{
	const char *params[] = {db};
	BAK_AUTO(bak_pg_clear)
	PGresult *result = bak_pg_query_params(pg->env, conn, describe_sql, params, 1, err);
	json_t *found;
	int rc = 0;

	if (!result)
		return -1;
	found = PQntuples(result) == 1 ? json_loads(PQgetvalue(result, 0, 0), 0, NULL) : NULL;
	if (!found)
		return bak_error_set(err, BAK_IO, "the server does not describe database %s", db);
	if (json_object_update(out, found) < 0)
		rc = bak_error_nomem(err);
	json_decref(found);
	return rc;
}

/* --- counting --- */

static const char objects_sql[] =
	"WITH c AS (SELECT c.oid, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = "
	"c.relnamespace WHERE " USERS("n.nspname") " AND " NO_EXTENSION(
		"pg_class",
		"c.oid") ") "
			 "SELECT * FROM (VALUES "
			 "('tables', (SELECT count(*) FROM c WHERE relkind IN ('r', 'p'))), "
			 "('views', (SELECT count(*) FROM c WHERE relkind = 'v')), "
			 "('materialized views', (SELECT count(*) FROM c WHERE relkind = 'm')), "
			 "('sequences', (SELECT count(*) FROM c WHERE relkind = 'S')), "
			 "('indexes', (SELECT count(*) FROM pg_index i JOIN c ON c.oid = "
			 "i.indrelid JOIN pg_class x "
			 "ON x.oid = i.indexrelid WHERE i.indisvalid OR x.relkind = 'I')), "
			 "('constraints', (SELECT count(*) FROM pg_constraint k JOIN c ON c.oid = "
			 "k.conrelid WHERE "
			 "k.contype IN ('c', 'f', 'p', 'u', 'x'))), "
			 "('constraints not validated', (SELECT count(*) FROM pg_constraint k JOIN "
			 "c ON c.oid = "
			 "k.conrelid WHERE k.contype IN ('c', 'f') AND NOT k.convalidated)), "
			 "('triggers', (SELECT count(*) FROM pg_trigger t JOIN c ON c.oid = "
			 "t.tgrelid WHERE NOT "
			 "t.tgisinternal)), "
			 "('functions', (SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON "
			 "n.oid = p.pronamespace "
			 "WHERE " USERS("n.nspname") " AND " NO_EXTENSION(
				 "pg_proc",
				 "p.oid") ")), "
					  "('schemas', (SELECT count(*) FROM pg_namespace n "
					  "WHERE " USERS("n.nspname") " AND " NO_EXTENSION(
						  "pg_namespace",
						  "n.oid") ")), "
							   "('extensions', (SELECT count(*) FROM "
							   "pg_extension)), "
							   "('large objects', (SELECT count(*) "
							   "FROM pg_largeobject_metadata))) AS "
							   "v(name, n)";

/* Rows of partitions count once, in the partition; a materialized view is made anew by a restore.
 */
static const char tables_sql[] =
	"SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid "
	"= c.relnamespace WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND " USERS(
		"n.nspname") " AND " NO_EXTENSION("pg_class", "c.oid") " ORDER BY c.relpages DESC";

static int set_count(json_t *counts, const struct bak_pg_count *what, const char *thing,
		     const char *number, bool object, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf key = BAK_BUF_INIT;

	if (bak_buf_printf(&key, object ? "%s: (%s)" : "%s: %s", what->label, thing) < 0 ||
	    bak_buf_append(&key, "", 1) < 0 ||
	    json_object_set_new(counts, (char *)key.p, json_integer(strtoll(number, NULL, 10))) < 0)
		return bak_error_nomem(err);
	return 0;
}

static bool holds(const struct bak_pg_names *names, const char *name)
{
	for (size_t i = 0; i < names->n; i++) {
		if (strcmp(names->v[i], name) == 0)
			return true;
	}
	return false;
}

static int count_rows(const struct bak_store_env *env, PGconn *conn,
		      const struct bak_pg_count *what, const char *table, json_t *counts,
		      struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf sql = BAK_BUF_INIT;

	if ((what->only && !holds(what->only, table)) || (what->but && holds(what->but, table)))
		return 0;
	if (what->stop && atomic_load(what->stop))
		return bak_error_set(err, BAK_CANCELLED, "cancelled");
	if (bak_buf_printf(&sql, "SELECT count(*) FROM ONLY %s", table) < 0 ||
	    bak_buf_append(&sql, "", 1) < 0)
		return bak_error_nomem(err);
	BAK_AUTO(bak_free_ptr) char *n = bak_pg_text(env, conn, (char *)sql.p, err);
	if (!n)
		return err->code == BAK_CANCELLED ? -1 : bak_error_wrap(err, "counting %s", table);
	return set_count(counts, what, table, n, false, err);
}

int bak_pg_count(const struct bak_store_env *env, PGconn *conn, const struct bak_pg_count *what,
		 json_t *counts, struct bak_error *err)
{
	BAK_AUTO(bak_pg_clear) PGresult *objects = NULL;
	BAK_AUTO(bak_pg_clear) PGresult *tables = NULL;

	/* Of a part of a database only the rows can be compared. */
	if (!what->only && !what->but) {
		objects = bak_pg_query(env, conn, objects_sql, err);
		if (!objects)
			return -1;
	}
	for (int i = 0; i < PQntuples(objects); i++) {
		if (set_count(counts, what, PQgetvalue(objects, i, 0), PQgetvalue(objects, i, 1),
			      true, err) < 0)
			return -1;
	}
	if (!what->rows)
		return 0;
	tables = bak_pg_query(env, conn, tables_sql, err);
	if (!tables)
		return -1;
	for (int i = 0; i < PQntuples(tables); i++) {
		if (count_rows(env, conn, what, PQgetvalue(tables, i, 0), counts, err) < 0)
			return -1;
	}
	return 0;
}

/* --- validating --- */

/* "db: (indexes)": versions differ in what they count as one. */
static bool is_object_count(const char *key, size_t label_len)
{
	return key[label_len + 2] == '(';
}

static int compare(const char *label, bool same_major, json_t *want, const json_t *have,
		   struct bak_error *err)
{
	size_t len = strlen(label);
	const char *key;
	json_t *n;

	json_object_foreach(want, key, n)
	{
		const json_t *found = json_object_get(have, key);

		if (strncmp(key, label, len) != 0 || strncmp(key + len, ": ", 2) != 0 ||
		    (!same_major && is_object_count(key, len)))
			continue;
		if (!found)
			return bak_error_set(err, BAK_CORRUPT, "the restored database lacks %s",
					     key + len + 2);
		if (!json_equal(n, found))
			return bak_error_set(err, BAK_CORRUPT,
					     "the restored database has %" JSON_INTEGER_FORMAT
					     " in %s, and the snapshot %" JSON_INTEGER_FORMAT,
					     json_integer_value(found), key + len + 2,
					     json_integer_value(n));
	}
	return 0;
}

/* Their values were read before the dump began, and only grow. */
static int check_sequences(const struct bak_store_env *env, PGconn *conn, json_t *want,
			   struct bak_error *err)
{
	const char *name;
	json_t *value;

	json_object_foreach(want, name, value)
	{
		BAK_AUTO(bak_buf_release) struct bak_buf sql = BAK_BUF_INIT;

		if (!json_is_integer(value))
			continue;
		if (bak_buf_printf(&sql, "SELECT last_value FROM %s", name) < 0 ||
		    bak_buf_append(&sql, "", 1) < 0)
			return bak_error_nomem(err);
		BAK_AUTO(bak_free_ptr) char *have = bak_pg_text(env, conn, (char *)sql.p, err);
		if (!have)
			return -1;
		if (strtoll(have, NULL, 10) < json_integer_value(value))
			return bak_error_set(err, BAK_CORRUPT,
					     "the restored sequence %s is at %s, and was at "
					     "%" JSON_INTEGER_FORMAT,
					     name, have, json_integer_value(value));
	}
	return 0;
}

static int check_indexes(const struct bak_store_env *env, PGconn *conn, struct bak_error *err)
{
	BAK_AUTO(bak_pg_clear)
	PGresult *result = bak_pg_query(
		env, conn,
		"SELECT i.indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = "
		"i.indexrelid WHERE NOT i.indisvalid AND c.relkind = 'i'",
		err);

	if (!result)
		return -1;
	if (PQntuples(result))
		return bak_error_set(err, BAK_CORRUPT, "the restored index %s is not valid",
				     PQgetvalue(result, 0, 0));
	return 0;
}

int bak_pg_validate(struct bak_pg *pg, PGconn *conn, const json_t *db, const json_t *facts,
		    struct bak_error *err)
{
	const char *label = json_string_value(json_object_get(db, "name"));
	json_t *want = json_object_get(facts, "counts"), *have;
	json_int_t version = json_integer_value(json_object_get(facts, "version"));
	const struct bak_pg_count what = {
		.label = label, .rows = !json_is_true(json_object_get(facts, "schema_only"))};
	int rc;

	if (check_indexes(pg->env, conn, err) < 0)
		return -1;
	if (!json_object_size(want))
		return 0; /* an upload: nobody counted */
	have = json_object();
	rc = have ? bak_pg_count(pg->env, conn, &what, have, err) : bak_error_nomem(err);
	if (rc == 0)
		rc = compare(label, version / 10000 == pg->version / 10000, want, have, err);
	json_decref(have);
	if (rc < 0 || json_is_true(json_object_get(facts, "schema_only")))
		return rc;
	return check_sequences(pg->env, conn, json_object_get(db, "sequences"), err);
}
