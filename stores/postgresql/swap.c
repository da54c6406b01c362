/*
 * Databases changing names: all of a restore in one transaction, so that each name has the old
 * databases or the new ones, and never a mixture. Who is connected must go first: a database in use
 * cannot be renamed.
 */
#include "stores/postgresql/postgresql.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* --- who is connected --- */

/* "3 connections (psql of alice from 10.0.0.1, ...)"; "" for none. */
static int describe_sessions(struct bak_pg *pg, PGconn *admin, const char *db, char *out,
			     size_t len, struct bak_error *err)
{
	static const char sql[] =
		"SELECT format('%s of %s%s', coalesce(nullif(application_name, ''), backend_type), "
		"coalesce(usename, 'nobody'), coalesce(' from ' || host(client_addr), '')) FROM "
		"pg_stat_activity WHERE datname = $1 AND pid <> $2::int AND pid <> "
		"pg_backend_pid() AND backend_type IN ('client backend', 'walsender') ORDER BY "
		"backend_start";
	char own[16];
	const char *params[] = {db, own};
	snprintf(own, sizeof own, "%d", pg->main_pid);
	BAK_AUTO(bak_pg_clear)
	PGresult *result = bak_pg_query_params(pg->env, admin, sql, params, 2, err);
	int n = PQntuples(result), at;

	*out = '\0';
	if (!result)
		return -1;
	if (!n)
		return 0;
	at = snprintf(out, len, "%d connection%s (", n, n > 1 ? "s" : "");
	for (int i = 0; i < n && i < 3; i++)
		at += snprintf(out + at, len - (size_t)at, "%s%.60s", i ? ", " : "",
			       PQgetvalue(result, i, 0));
	snprintf(out + at, len - (size_t)at, n > 3 ? ", ...)" : ")");
	return 0;
}

/* Who has just gone is still seen for a moment. */
#define LEAVING_MS 2000
#define LOOK_MS 50

int bak_pg_check_alone(struct bak_pg *pg, PGconn *admin, const char *db, struct bak_error *err)
{
	char who[256];

	if (pg->env->force)
		return 0;
	for (int waited = 0; waited < LEAVING_MS; waited += LOOK_MS) {
		if (describe_sessions(pg, admin, db, who, sizeof who, err) < 0)
			return -1;
		if (!*who)
			return 0;
		poll(NULL, 0, LOOK_MS);
	}
	return bak_error_set(err, BAK_BUSY,
			     "database %s has %s: end them, or let the restore do it: --yes, or "
			     "restore = force",
			     db, who);
}

static int allow(struct bak_pg *pg, PGconn *admin, const char *db, bool on, struct bak_error *err)
{
	BAK_AUTO(bak_pg_free) char *name = bak_pg_ident(admin, db);

	if (!name)
		return bak_error_nomem(err);
	/* what is begun is finished, whoever would like to stop now */
	(void)pg;
	return bak_pg_exec(NULL, admin, err, "ALTER DATABASE %s ALLOW_CONNECTIONS %s", name,
			   on ? "true" : "false");
}

/* New ones are refused by then. The server waits for each of those that it ends; those that end by
 * themselves the renaming waits for, five seconds. */
static int end_sessions(struct bak_pg *pg, PGconn *admin, const char *db, struct bak_error *err)
{
	char who[256];
	const char *params[] = {db};
	struct bak_error scratch = BAK_ERROR_INIT;

	if (bak_pg_check_alone(pg, admin, db, err) < 0)
		return -1;
	if (describe_sessions(pg, admin, db, who, sizeof who, &scratch) == 0 && *who)
		bak_store_log(pg->env, "ending %s to %s", who, db);
	BAK_AUTO(bak_pg_clear)
	PGresult *result = bak_pg_query_params(
		NULL, admin,
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND "
		"pid <> pg_backend_pid()",
		params, 1, err);
	return result ? 0 : -1;
}

/* --- renaming --- */

/* 1 it is there, 0 not, -1. */
int bak_pg_database_exists(struct bak_pg *pg, PGconn *admin, const char *db, struct bak_error *err)
{
	const char *params[] = {db};
	BAK_AUTO(bak_pg_clear)
	PGresult *result = bak_pg_query_params(
		pg->env, admin, "SELECT FROM pg_database WHERE datname = $1", params, 1, err);

	return result ? PQntuples(result) : -1;
}

static int rename_database(PGconn *admin, const char *from, const char *to, struct bak_error *err)
{
	BAK_AUTO(bak_pg_free) char *a = bak_pg_ident(admin, from);
	BAK_AUTO(bak_pg_free) char *b = bak_pg_ident(admin, to);

	if (!a || !b)
		return bak_error_nomem(err);
	return bak_pg_exec(NULL, admin, err, "ALTER DATABASE %s RENAME TO %s", a, b);
}

#define PASSING "bakfs_exchange"

/* Both there: exchanged; one: it takes the other's name. What gets the kept name lets nobody in. */
static int exchange(struct bak_pg *pg, PGconn *admin, const struct bak_pg_swap *s,
		    struct bak_error *err)
{
	char passing[BAK_PG_NAME_MAX + 1];

	if (s->live_is_there && !s->other_is_there)
		return rename_database(admin, s->live, s->kept, err);
	if (!s->live_is_there)
		return rename_database(admin, s->other, s->live, err) < 0 ||
				       allow(pg, admin, s->live, true, err) < 0
			       ? -1
			       : 0;
	if (strcmp(s->other, s->kept) != 0)
		return rename_database(admin, s->live, s->kept, err) < 0 ||
				       rename_database(admin, s->other, s->live, err) < 0
			       ? -1
			       : 0;
	snprintf(passing, sizeof passing, PASSING "_%d", PQbackendPID(admin));
	if (rename_database(admin, s->live, passing, err) < 0 ||
	    rename_database(admin, s->kept, s->live, err) < 0 ||
	    rename_database(admin, passing, s->kept, err) < 0)
		return -1;
	return allow(pg, admin, s->live, true, err);
}

static int exchange_all(struct bak_pg *pg, PGconn *admin, const struct bak_pg_swap *swaps, size_t n,
			struct bak_error *err)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	int rc = bak_pg_exec(NULL, admin, err, "BEGIN");

	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = exchange(pg, admin, &swaps[i], err);
	if (rc == 0)
		return bak_pg_exec(NULL, admin, err, "COMMIT");
	bak_pg_exec(NULL, admin, &scratch, "ROLLBACK");
	return -1;
}

int bak_pg_swap(struct bak_pg *pg, PGconn *admin, const struct bak_pg_swap *swaps, size_t n,
		struct bak_error *err)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	size_t closed = 0;
	int rc = 0;

	for (; rc == 0 && closed < n; closed++) {
		if (!swaps[closed].live_is_there)
			continue;
		rc = allow(pg, admin, swaps[closed].live, false, err);
		if (rc == 0)
			rc = end_sessions(pg, admin, swaps[closed].live, err);
	}
	if (rc == 0)
		rc = exchange_all(pg, admin, swaps, n, err);
	for (size_t i = 0; rc < 0 && i < closed; i++) {
		if (swaps[i].live_is_there)
			allow(pg, admin, swaps[i].live, true, &scratch);
	}
	return rc;
}

/* --- undoing --- */

static int plan_undo(struct bak_pg *pg, PGconn *admin, const json_t *entry, struct bak_pg_swap *out,
		     struct bak_error *err)
{
	int live, kept;

	*out = (struct bak_pg_swap){
		.live = json_string_value(json_object_get(entry, "name")),
		.kept = json_string_value(json_object_get(entry, "kept")),
	};
	out->other = out->kept;
	if (!out->live || !out->kept)
		return bak_error_set(err, BAK_CORRUPT,
				     "the record of the last restore names no databases");
	live = bak_pg_database_exists(pg, admin, out->live, err);
	kept = live < 0 ? -1 : bak_pg_database_exists(pg, admin, out->kept, err);
	if (kept < 0)
		return -1;
	if (!live && !kept)
		return bak_error_set(err, BAK_NOT_FOUND, "neither database %s nor %s is there",
				     out->live, out->kept);
	if (!kept && json_is_true(json_object_get(entry, "replaced")))
		return bak_error_set(
			err, BAK_NOT_FOUND,
			"database %s is not there any more, so there is nothing to put "
			"back",
			out->kept);
	out->live_is_there = live;
	out->other_is_there = kept;
	return 0;
}

int bak_pg_rollback(struct bak_pg *pg, const json_t *state, struct bak_error *err)
{
	const json_t *entries = json_object_get(state, "databases");
	size_t n = json_array_size(entries);
	BAK_AUTO(bak_free_ptr) struct bak_pg_swap *swaps = calloc(n + 1, sizeof *swaps);
	BAK_AUTO(bak_free_ptr) const char **names = calloc(2 * n + 1, sizeof *names);
	BAK_AUTO(bak_pg_close) PGconn *admin = NULL;

	if (!swaps || !names)
		return bak_error_nomem(err);
	if (json_object_get(state, "tables"))
		return bak_pg_rollback_part(pg, state, err);
	if (!n)
		return bak_error_set(err, BAK_NOT_FOUND, "the last restore changed no database");
	for (size_t i = 0; i < n; i++)
		names[i] = json_string_value(json_object_get(json_array_get(entries, i), "name"));
	if (bak_pg_connect_beside(pg, names, n, &admin, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (plan_undo(pg, admin, json_array_get(entries, i), &swaps[i], err) < 0 ||
		    (swaps[i].live_is_there &&
		     bak_pg_check_alone(pg, admin, swaps[i].live, err) < 0))
			return -1;
	}
	bak_pg_close(&pg->main);
	return bak_pg_swap(pg, admin, swaps, n, err);
}
