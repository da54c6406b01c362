/*
 * What restores kept: databases called <name>_before_<stamp>, which let nobody in, and schemas called
 * bakfs_before_<stamp> in the databases of which a part was restored. The option keep_old drops them,
 * and the doctor tells of them.
 */
#include "stores/postgresql/postgresql.h"

#include "engine/objects/snapshot.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KEPT_DATABASE "NOT datallowconn AND datname ~ '_before_[0-9]{8}T[0-9]{6}Z$'"
#define KEPT_SCHEMA "nspname ~ '^" BAK_PG_KEPT "[0-9]{8}t[0-9]{6}z$'"

/* --- dropping --- */

/* Stamps before this one are old; false: none is. */
static bool find_limit(const struct bak_pg *pg, char out[BAK_STAMP_LEN + 1])
{
	uint64_t keep_s = bak_store_get_duration_ms(pg->conf, "keep_old") / 1000;
	int64_t now = time(NULL);

	if (!bak_store_get(pg->conf, "keep_old") || keep_s > (uint64_t)now)
		return false;
	bak_stamp_format(now - (int64_t)keep_s, out);
	return true;
}

/* Each row of the query has a name and what drops that. */
static void drop(struct bak_pg *pg, PGconn *conn, const char *sql, const char *const *params, int n)
{
	struct bak_error why = BAK_ERROR_INIT;
	BAK_AUTO(bak_pg_clear)
	PGresult *result = bak_pg_query_params(NULL, conn, sql, params, n, &why);

	if (!result)
		bak_store_warn(pg->env, "keep_old: %s", why.msg);
	for (int i = 0; i < PQntuples(result); i++) {
		const char *name = PQgetvalue(result, i, 0);

		if (bak_pg_exec(NULL, conn, &why, "%s", PQgetvalue(result, i, 1)) == 0)
			bak_store_log(pg->env, "dropped %s, as keep_old says", name);
		else
			bak_store_warn(pg->env, "%s could not be dropped: %s", name, why.msg);
	}
}

void bak_pg_drop_kept_databases(struct bak_pg *pg, PGconn *admin, const char *kept)
{
	static const char sql[] = "SELECT datname, format('DROP DATABASE %I', datname) FROM "
				  "pg_database WHERE " KEPT_DATABASE
				  " AND left(datname, -16) = $1 AND right(datname, 16) < $2";
	char prefix[BAK_PG_NAME_MAX + 1], limit[BAK_STAMP_LEN + 1];
	const char *params[] = {prefix, limit};

	snprintf(prefix, sizeof prefix, "%.*s", (int)(strlen(kept) - BAK_STAMP_LEN), kept);
	if (find_limit(pg, limit))
		drop(pg, admin, sql, params, 2);
}

void bak_pg_drop_kept_schemas(struct bak_pg *pg, PGconn *conn)
{
	/* Table by table, without CASCADE: that would take along a view or a key that somebody has
	 * since made on them. */
	static const char sql[] =
		"SELECT n.nspname, coalesce('DROP TABLE ' || (SELECT string_agg(format('%I.%I', "
		"n.nspname, c.relname), ', ') FROM pg_class c WHERE c.relnamespace = n.oid AND "
		"c.relkind IN ('r', 'p') AND NOT c.relispartition) || '; ', '') || "
		"format('DROP SCHEMA %I', n.nspname) FROM pg_namespace n WHERE " KEPT_SCHEMA
		" AND right(n.nspname, 16) < lower($1)";
	uint64_t wait = bak_store_get_duration_ms(pg->conf, "lock_timeout");
	struct bak_error why = BAK_ERROR_INIT;
	char limit[BAK_STAMP_LEN + 1];
	const char *params[] = {limit};

	if (!find_limit(pg, limit))
		return;
	if (bak_pg_exec(NULL, conn, &why, "SET lock_timeout = %llu",
			(unsigned long long)(wait < INT32_MAX ? wait : 0)) < 0)
		bak_store_warn(pg->env, "keep_old: %s", why.msg);
	else
		drop(pg, conn, sql, params, 1);
}

/* --- telling --- */

/* "2 databases of 15 MB (shop_before_20261121T140212Z, ...)"; nothing where there are none. */
#define SUMMARY(thing, name, size)                                                     \
	"SELECT count(*) || ' " thing                                                  \
	"' || CASE WHEN count(*) > 1 THEN 's' ELSE '' END || ' of ' "                  \
	"|| pg_size_pretty(sum(" size ")) || ' (' || array_to_string((array_agg(" name \
	" ORDER BY " name                                                              \
	"))[1:3], ', ') || CASE WHEN count(*) > 3 THEN ', ...' ELSE '' END || ')'"

#define DATABASES(which)                                            \
	SUMMARY("database", "d.datname", "pg_database_size(d.oid)") \
	" FROM pg_database d WHERE " which " HAVING count(*) > 0"
static const char abandoned_sql[] = DATABASES(BAK_PG_ABANDONED);
static const char databases_sql[] = DATABASES(KEPT_DATABASE);
static const char schemas_sql[] = SUMMARY("schema", "nspname",
					  "(SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) "
					  "FROM "
					  "pg_class c WHERE c.relnamespace = n.oid AND c.relkind = "
					  "'r')") " || ' in database ' || current_database() FROM "
						  "pg_namespace n WHERE " KEPT_SCHEMA
						  " HAVING count(*) > 0";

static void tell(struct bak_pg *pg, PGconn *conn, const char *what, const char *sql,
		 const char *todo, const struct bak_checkup *checkup)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	BAK_AUTO(bak_free_ptr) char *text = bak_pg_text(pg->env, conn, sql, &scratch);

	if (text)
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE, todo, "%s %s", what, text);
}

static void tell_schemas(struct bak_pg *pg, const char *db, const struct bak_checkup *checkup)
{
	BAK_AUTO(bak_pg_close) PGconn *conn = NULL;
	struct bak_error scratch = BAK_ERROR_INIT;

	if (bak_pg_connect(pg, db, &conn, &scratch) == 0)
		tell(pg, conn, "restores kept", schemas_sql,
		     "drop those that no rollback needs any more, with DROP SCHEMA ... CASCADE; "
		     "until then backups save them too",
		     checkup);
}

void bak_pg_tell_kept(struct bak_pg *pg, const struct bak_checkup *checkup)
{
	struct bak_pg_names names = {.n = 0};
	struct bak_error scratch = BAK_ERROR_INIT;

	tell(pg, pg->main, "a restore that was killed left", abandoned_sql,
	     "the next restore drops it, or DROP DATABASE", checkup);
	tell(pg, pg->main, "restores kept", databases_sql,
	     "drop those that no rollback needs any more, with DROP DATABASE", checkup);
	if (bak_pg_databases(pg, &names, &scratch) == 0) {
		for (size_t i = 0; i < names.n; i++)
			tell_schemas(pg, names.v[i], checkup);
	}
	bak_pg_names_release(&names);
}
