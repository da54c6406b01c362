/* Connections to a server and queries on them. */
#include "stores/postgresql/postgresql.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* How often the caller is asked whether to stop. */
#define LOOK_MS 200

void bak_pg_close(PGconn **conn)
{
	PQfinish(*conn);
	*conn = NULL;
}

void bak_pg_clear(PGresult **result)
{
	PQclear(*result);
	*result = NULL;
}

void bak_pg_free(char **text)
{
	PQfreemem(*text);
	*text = NULL;
}

char *bak_pg_ident(PGconn *conn, const char *name)
{
	return PQescapeIdentifier(conn, name, strlen(name));
}

char *bak_pg_literal(PGconn *conn, const char *value)
{
	return PQescapeLiteral(conn, value, strlen(value));
}

/* --- connecting --- */

/* Rows must all be seen or refused, names must mean one thing, and no limit that was set for
 * applications may end a backup. */
static const char settings[] =
	"SELECT pg_catalog.set_config(name, value, false) FROM (VALUES "
	"('search_path', ''), ('row_security', 'off'), ('statement_timeout', '0'), "
	"('lock_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), "
	"('DateStyle', 'ISO'), ('TimeZone', 'UTC')) AS s(name, value)";

/* What the server has to remark is nobody's business here, and least of all standard error's. */
static void ignore_notice(void *ctx, const char *text)
{
	(void)ctx;
	(void)text;
}

static int connect_to(struct bak_pg *pg, const char *db, const char *replication, PGconn **out,
		      struct bak_error *err)
{
	const char *keys[10] = {"connect_timeout", "fallback_application_name"};
	const char *values[10] = {"30", "bakfs"};
	const char *uri = bak_store_get(pg->conf, "uri");
	size_t n = 2;

	/* A later keyword overrides an earlier one; only the first dbname may be a whole conninfo. */
	keys[n] = "dbname";
	values[n++] = uri ? uri : "";
	if (db) {
		keys[n] = "dbname";
		values[n++] = db;
	}
	if (pg->password) {
		keys[n] = "password";
		values[n++] = pg->password;
	}
	if (replication) {
		keys[n] = "replication";
		values[n++] = replication;
	}
	keys[n] = "client_encoding";
	values[n++] = "UTF8";
	*out = PQconnectdbParams(keys, values, 1);
	if (!*out)
		return bak_error_nomem(err);
	if (PQstatus(*out) != CONNECTION_OK) {
		/* libpq says where to, and why not */
		bak_pg_fail(err, NULL, PQerrorMessage(*out));
		bak_pg_close(out);
		return -1;
	}
	PQsetNoticeProcessor(*out, ignore_notice, NULL);
	return 0;
}

int bak_pg_connect(struct bak_pg *pg, const char *db, PGconn **out, struct bak_error *err)
{
	if (connect_to(pg, db, NULL, out, err) < 0)
		return -1;
	BAK_AUTO(bak_pg_clear) PGresult *result = bak_pg_query(pg->env, *out, settings, err);
	if (!result) {
		bak_pg_close(out);
		return -1;
	}
	pg->version = PQserverVersion(*out);
	return 0;
}

int bak_pg_connect_replication(struct bak_pg *pg, PGconn **out, struct bak_error *err)
{
	return connect_to(pg, NULL, "true", out, err);
}

static bool is_in(const char *name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(names[i], name) == 0)
			return true;
	}
	return false;
}

int bak_pg_connect_beside(struct bak_pg *pg, const char *const * not, size_t n, PGconn **out,
			  struct bak_error *err)
{
	static const char *const usual[] = {"postgres", "template1"};
	struct bak_error first = BAK_ERROR_INIT;

	for (size_t i = 0; i < 2; i++) {
		struct bak_error *why = first.code ? err : &first;

		if (!is_in(usual[i], not, n) && bak_pg_connect(pg, usual[i], out, why) == 0)
			return 0;
	}
	*err = first;
	return -1;
}

int bak_pg_main(struct bak_pg *pg, struct bak_error *err)
{
	const char *db = pg->default_db ? pg->default_db : pg->by_service ? NULL : "postgres";
	struct bak_error second = BAK_ERROR_INIT;

	if (pg->main)
		return 0;
	if (bak_pg_connect(pg, db, &pg->main, err) == 0) {
		pg->main_pid = PQbackendPID(pg->main);
		if (!pg->by_service || pg->default_db)
			return 0;
		pg->default_db = strdup(PQdb(pg->main));
		return pg->default_db ? 0 : bak_error_nomem(err);
	}
	/* A server without the usual databases, or with the one that we shall restore missing. */
	if (err->code == BAK_NOT_FOUND && db && !pg->default_db &&
	    bak_pg_connect(pg, "template1", &pg->main, &second) == 0) {
		*err = (struct bak_error)BAK_ERROR_INIT;
		return 0;
	}
	return -1;
}

/* --- queries --- */

void bak_pg_cancel(PGconn *conn)
{
	PGcancel *handle = PQgetCancel(conn);
	char scratch[256];

	if (handle)
		PQcancel(handle, scratch, sizeof scratch);
	PQfreeCancel(handle);
}

/* Until the answer is there; asked to stop, the server is told to, and then it comes too. */
static int wait_for_answer(const struct bak_store_env *env, PGconn *conn, struct bak_error *err)
{
	bool stopped = false;

	while (PQisBusy(conn)) {
		struct pollfd fd = {.fd = PQsocket(conn), .events = POLLIN};

		if (!stopped && env && bak_store_check_cancelled(env, err) < 0) {
			stopped = true;
			bak_pg_cancel(conn);
		}
		if (poll(&fd, 1, LOOK_MS) < 0 && errno != EINTR)
			return bak_error_sys(err, errno, "poll");
		if (!PQconsumeInput(conn))
			break; /* the result tells why */
	}
	return stopped ? -1 : 0;
}

/* The last result of what was sent, or the first failure; all of them are fetched. */
static PGresult *take_results(const struct bak_store_env *env, PGconn *conn, bool *out_stopped,
			      struct bak_error *err)
{
	PGresult *kept = NULL, *next;

	for (;;) {
		if (wait_for_answer(env, conn, err) < 0)
			*out_stopped = true;
		next = PQgetResult(conn);
		if (!next)
			return kept;
		if (kept && PQresultStatus(kept) == PGRES_FATAL_ERROR) {
			PQclear(next);
		} else {
			PQclear(kept);
			kept = next;
		}
	}
}

static PGresult *take_answer(const struct bak_store_env *env, PGconn *conn, struct bak_error *err)
{
	bool stopped = false;
	PGresult *result = take_results(env, conn, &stopped, err);
	ExecStatusType status = PQresultStatus(result);

	if (!stopped && (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK))
		return result;
	if (!stopped)
		bak_pg_fail(err, NULL,
			    result && *PQresultErrorMessage(result) ? PQresultErrorMessage(result)
								    : PQerrorMessage(conn));
	PQclear(result);
	return NULL;
}

PGresult *bak_pg_query_params(const struct bak_store_env *env, PGconn *conn, const char *sql,
			      const char *const *params, int n, struct bak_error *err)
{
	int sent = n ? PQsendQueryParams(conn, sql, n, NULL, params, NULL, NULL, 0)
		     : PQsendQuery(conn, sql);

	if (!sent) {
		bak_pg_fail(err, NULL, PQerrorMessage(conn));
		return NULL;
	}
	return take_answer(env, conn, err);
}

PGresult *bak_pg_query(const struct bak_store_env *env, PGconn *conn, const char *sql,
		       struct bak_error *err)
{
	return bak_pg_query_params(env, conn, sql, NULL, 0, err);
}

int bak_pg_exec(const struct bak_store_env *env, PGconn *conn, struct bak_error *err,
		const char *fmt, ...)
{
	BAK_AUTO(bak_free_ptr) char *sql = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&sql, fmt, ap);
	va_end(ap);
	if (n < 0) {
		sql = NULL;
		return bak_error_nomem(err);
	}
	BAK_AUTO(bak_pg_clear) PGresult *result = bak_pg_query(env, conn, sql, err);
	return result ? 0 : -1;
}

char *bak_pg_text(const struct bak_store_env *env, PGconn *conn, const char *sql,
		  struct bak_error *err)
{
	BAK_AUTO(bak_pg_clear) PGresult *result = bak_pg_query(env, conn, sql, err);
	char *text;

	if (!result)
		return NULL;
	if (PQntuples(result) != 1) {
		bak_error_set(err, BAK_IO, "the server gave %d rows instead of one",
			      PQntuples(result));
		return NULL;
	}
	text = strdup(PQgetvalue(result, 0, 0));
	if (!text)
		bak_error_nomem(err);
	return text;
}
