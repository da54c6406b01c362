/*
 * The postgresql driver: databases of a PostgreSQL server, through its own protocol and tools.
 *
 * Consistency: each database at one moment, an exported snapshot that the dump and all counts are
 * taken in. Clients go on writing.
 */
#include "stores/postgresql/postgresql.h"
#include "stores/drivers.h"
#include "stores/password.h"
#include "stores/postgresql/dump.h"

#include <stdlib.h>
#include <string.h>

static const struct bak_store_option postgresql_options[] = {
	{.name = "uri",
	 .kind = BAK_OPTION_SECRET,
	 .help = "postgresql://USER@HOST:PORT/DATABASE, or libpq's keyword=value; without it "
		 "libpq's "
		 "environment"},
	{.name = "password",
	 .kind = BAK_OPTION_SECRET,
	 .help = "of the user; better in a file, or in ~/.pgpass"},
	{.name = "password_file", .kind = BAK_OPTION_PATH, .help = "file with the password"},
	{.name = "password_command",
	 .kind = BAK_OPTION_TEXT,
	 .help = "shell command that prints the password"},
	{.name = "mode",
	 .kind = BAK_OPTION_CHOICE,
	 .choices = "logical|physical",
	 .fallback = "logical",
	 .help = "logical: dumps of databases; physical: the whole server's data directory"},
	{.name = "databases",
	 .kind = BAK_OPTION_LIST,
	 .help = "names or patterns (* and ?); else the one of the uri, else all"},
	{.name = "include_tables",
	 .kind = BAK_OPTION_LIST,
	 .help = "only these tables: TABLE or SCHEMA.TABLE, with * and ?"},
	{.name = "exclude_tables", .kind = BAK_OPTION_LIST, .help = "all tables but these"},
	{.name = "schema_only",
	 .kind = BAK_OPTION_BOOL,
	 .fallback = "no",
	 .help = "no rows, only definitions"},
	{.name = "format",
	 .kind = BAK_OPTION_CHOICE,
	 .choices = "custom|plain",
	 .fallback = "custom",
	 .help = "custom: for pg_restore; plain: SQL, for psql"},
	{.name = "globals",
	 .kind = BAK_OPTION_CHOICE,
	 .choices = "yes|no-passwords|no",
	 .fallback = "yes",
	 .help = "save roles and tablespaces, with passwords or without"},
	{.name = "bin_dir",
	 .kind = BAK_OPTION_PATH,
	 .help = "where pg_dump and the others are; else they are looked for"},
	{.name = "lock_timeout",
	 .kind = BAK_OPTION_DURATION,
	 .fallback = "60s",
	 .help = "how long to wait for a lock on a table; 0: for ever"},
	{.name = "jobs",
	 .kind = BAK_OPTION_NUMBER,
	 .fallback = "1",
	 .help = "so many of pg_restore at once; more than one needs room for a copy of the dump"},
	{.name = "keep_old",
	 .kind = BAK_OPTION_DURATION,
	 .help = "a restore drops what earlier ones kept longer ago than this; else never"},
	{.name = NULL},
};

static const struct bak_store_option restore_options[] = {
	{.name = "to-database",
	 .kind = BAK_OPTION_TEXT,
	 .help = "restore one database under this new name"},
	{.name = "table",
	 .kind = BAK_OPTION_LIST,
	 .help = "restore these tables alone: TABLE or SCHEMA.TABLE, with * and ?"},
	{.name = "schema", .kind = BAK_OPTION_LIST, .help = "restore these schemas alone"},
	{.name = "to-schema",
	 .kind = BAK_OPTION_TEXT,
	 .help = "restore the tables into this new schema, instead of in place"},
	{.name = NULL},
};

static void postgresql_close(void *store)
{
	struct bak_pg *pg = store;

	if (!pg)
		return;
	bak_pg_close(&pg->main);
	bak_store_password_free(&pg->password);
	json_decref(pg->restored_counts);
	free(pg->default_db);
	free(pg);
}

/* Which database the uri names, if it does; and whether libpq may know of one from elsewhere. */
static int read_uri(struct bak_pg *pg, struct bak_error *err)
{
	const char *uri = bak_store_get(pg->conf, "uri");
	char *why = NULL;
	PQconninfoOption *options = PQconninfoParse(uri ? uri : "", &why);

	if (!options) {
		/* libpq's words may hold the whole uri */
		bak_error_set(err, BAK_USAGE, "uri is not one that PostgreSQL understands");
		PQfreemem(why);
		return -1;
	}
	pg->by_service = getenv("PGDATABASE") || getenv("PGSERVICE");
	for (const PQconninfoOption *o = options; o->keyword; o++) {
		if (!o->val || !*o->val)
			continue;
		if (strcmp(o->keyword, "service") == 0)
			pg->by_service = true;
		if (strcmp(o->keyword, "dbname") == 0)
			pg->default_db = strdup(o->val);
	}
	PQconninfoFree(options);
	return 0;
}

static int postgresql_open(const struct bak_store_conf *conf, const struct bak_store_env *env,
			   void **out_store, struct bak_error *err)
{
	struct bak_pg *pg = calloc(1, sizeof *pg);

	if (!pg)
		return bak_error_nomem(err);
	*pg = (struct bak_pg){.conf = conf, .env = env};
	if (bak_store_password(conf, env, &pg->password, err) < 0 || read_uri(pg, err) < 0) {
		postgresql_close(pg);
		return -1;
	}
	*out_store = pg;
	return 0;
}

static bool is_physical(const struct bak_pg *pg)
{
	return strcmp(bak_store_get(pg->conf, "mode"), "physical") == 0;
}

/* A user for replication may be allowed nothing else. */
static int probe_physical(struct bak_pg *pg, struct bak_store_probe *out, struct bak_error *err)
{
	BAK_AUTO(bak_pg_close) PGconn *conn = NULL;

	if (bak_pg_connect_replication(pg, &conn, err) < 0)
		return -1;
	snprintf(out->version, sizeof out->version, "PostgreSQL %s",
		 PQparameterStatus(conn, "server_version"));
	snprintf(out->target, sizeof out->target, "%s:%s, all of the server", PQhost(conn),
		 PQport(conn));
	return 0;
}

static int postgresql_probe(void *store, struct bak_store_probe *out, struct bak_error *err)
{
	struct bak_pg *pg = store;

	*out = (struct bak_store_probe){.bytes = 0};
	snprintf(out->target, sizeof out->target, "PostgreSQL, %s%s",
		 pg->default_db ? "database " : "all databases",
		 pg->default_db ? pg->default_db : "");
	if (is_physical(pg))
		return probe_physical(pg, out, err);
	if (bak_pg_main(pg, err) < 0)
		return -1;
	snprintf(out->version, sizeof out->version, "PostgreSQL %s",
		 PQparameterStatus(pg->main, "server_version"));
	snprintf(out->target, sizeof out->target, "%s:%s%s%s", PQhost(pg->main), PQport(pg->main),
		 bak_pg_means_all(pg) ? ", all databases" : "/",
		 bak_pg_means_all(pg) ? "" : PQdb(pg->main));
	return bak_pg_size(pg, &out->bytes, err);
}

static int postgresql_doctor(void *store, const struct bak_checkup *checkup, struct bak_error *err)
{
	return bak_pg_doctor(store, checkup, err);
}

static int postgresql_backup(void *store, struct bak_writer *writer, json_t *facts,
			     struct bak_error *err)
{
	struct bak_pg *pg = store;

	return is_physical(pg) ? bak_pg_base_backup(pg, writer, facts, err)
			       : bak_pg_backup(pg, writer, facts, err);
}

static int postgresql_restore(void *store, const struct bak_restore_from *from, json_t *state,
			      struct bak_error *err)
{
	return bak_pg_restore(store, from, state, err);
}

static int postgresql_rollback(void *store, const json_t *state, struct bak_error *err)
{
	return bak_pg_rollback(store, state, err);
}

static int postgresql_import(void *store, const char *path, struct bak_writer *writer,
			     json_t *facts, struct bak_error *err)
{
	return bak_pg_import(store, path, writer, facts, err);
}

/* --- counts --- */

static int count_database(struct bak_pg *pg, const char *name, json_t *counts,
			  struct bak_error *err)
{
	BAK_AUTO(bak_pg_close) PGconn *conn = NULL;
	const struct bak_pg_count what = {.label = name,
					  .rows = !bak_store_get_bool(pg->conf, "schema_only")};

	if (bak_pg_connect(pg, name, &conn, err) < 0)
		return -1;
	return bak_pg_count(pg->env, conn, &what, counts, err);
}

static int postgresql_counts(void *store, json_t *counts, struct bak_error *err)
{
	struct bak_pg *pg = store;
	struct bak_pg_names names = {.n = 0};
	int rc;

	if (pg->restored_counts) {
		rc = json_object_update(counts, pg->restored_counts);
		json_decref(pg->restored_counts);
		pg->restored_counts = NULL;
		return rc < 0 ? bak_error_nomem(err) : 0;
	}
	rc = bak_pg_databases(pg, &names, err);
	for (size_t i = 0; rc == 0 && i < names.n; i++)
		rc = count_database(pg, names.v[i], counts, err);
	bak_pg_names_release(&names);
	return rc;
}

const struct bak_store_driver bak_store_postgresql = {
	.name = "postgresql",
	.summary = "databases of a PostgreSQL server",
	.features = BAK_STORE_KEEPS_OLD | BAK_STORE_PARTIAL | BAK_STORE_COUNTS | BAK_STORE_ATOMIC,
	.options = postgresql_options,
	.address_option = "uri",
	.restore_options = restore_options,
	.proof = &bak_pg_proof,
	.open = postgresql_open,
	.probe = postgresql_probe,
	.doctor = postgresql_doctor,
	.backup = postgresql_backup,
	.restore = postgresql_restore,
	.counts = postgresql_counts,
	.rollback = postgresql_rollback,
	.import = postgresql_import,
	.close = postgresql_close,
};
