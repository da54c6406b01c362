/*
 * Roles of a snapshot that a server does not have yet: from the statements of globals.sql, those
 * that make them, and what is said of the new ones. Roles that are there stay as they are, their
 * passwords too.
 */
#include "stores/postgresql/postgresql.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

void bak_pg_role_work_release(struct bak_pg_role_work *work)
{
	bak_pg_names_release(&work->made);
	bak_pg_names_release(&work->there);
}

static bool holds(const struct bak_pg_names *names, const char *name)
{
	for (size_t i = 0; i < names->n; i++) {
		if (strcmp(names->v[i], name) == 0)
			return true;
	}
	return false;
}

/* --- statements --- */

/* Behind the closing quote of the text that begins at p; escapes: \ hides the next byte. */
static const char *skip_quoted(const char *p, const char *end, bool escapes)
{
	char quote = *p++;

	while (p < end) {
		if (escapes && *p == '\\' && p + 1 < end)
			p++;
		else if (*p == quote && (p + 1 == end || p[1] != quote))
			return p + 1;
		else if (*p == quote)
			p++;
		p++;
	}
	return end;
}

static const char *skip_line(const char *p, const char *end)
{
	const char *newline = memchr(p, '\n', (size_t)(end - p));

	return newline ? newline + 1 : end;
}

const char *bak_pg_statement(const char *p, const char *end, const char **out_begin,
			     size_t *out_len)
{
	while (p < end && (isspace((unsigned char)*p) || *p == '\\' || (*p == '-' && p[1] == '-')))
		p = isspace((unsigned char)*p) ? p + 1 : skip_line(p, end);
	*out_begin = p;
	while (p < end && *p != ';') {
		if (*p == '\'' || *p == '"')
			p = skip_quoted(p, end, *p == '\'' && (p[-1] == 'E' || p[-1] == 'e'));
		else if (*p == '-' && p + 1 < end && p[1] == '-')
			p = skip_line(p, end);
		else
			p++;
	}
	*out_len = (size_t)(p - *out_begin);
	return p < end ? p + 1 : p;
}

/* Takes a name off *at; 1, 0 if there is none. */
static int take_name(const char **at, const char *end, char out[BAK_PG_NAME_MAX + 1])
{
	const char *p = *at;
	size_t n = 0;

	while (p < end && *p == ' ')
		p++;
	if (p < end && *p == '"') {
		for (p++; p < end && (*p != '"' || (p + 1 < end && p[1] == '"')); p++) {
			p += *p == '"';
			if (n < BAK_PG_NAME_MAX)
				out[n++] = *p;
		}
		p += p < end;
	} else {
		while (p < end && !isspace((unsigned char)*p) && *p != ',' && *p != ';') {
			if (n < BAK_PG_NAME_MAX)
				out[n++] = *p;
			p++;
		}
	}
	out[n] = '\0';
	*at = p;
	return n > 0;
}

/* Does it begin with these words? Then *at is behind them. */
static bool begins(const char **at, const char *end, const char *words)
{
	size_t len = strlen(words);

	if ((size_t)(end - *at) < len || memcmp(*at, words, len) != 0)
		return false;
	*at += len;
	return true;
}

/* --- which of them --- */

static bool is_wanted(const struct bak_pg_role_work *w, const char *role)
{
	return !w->wanted || holds(w->wanted, role);
}

/* "GRANT a TO b ...": when one of both is new. Cut before a grantor who is not there. */
static bool want_grant(const struct bak_pg_role_work *w, const char *p, const char *end,
		       size_t *len)
{
	char role[BAK_PG_NAME_MAX + 1], member[BAK_PG_NAME_MAX + 1], by[BAK_PG_NAME_MAX + 1];
	const char *begin = end - *len;

	if (!take_name(&p, end, role) || !begins(&p, end, " TO ") || !take_name(&p, end, member))
		return false;
	for (const char *at = p; at < end; at++) {
		const char *q = at;

		if (begins(&q, end, " GRANTED BY ") && take_name(&q, end, by) &&
		    !holds(&w->there, by)) {
			*len = (size_t)(at - begin);
			break;
		}
	}
	return (holds(&w->made, role) || holds(&w->made, member)) && holds(&w->there, role) &&
	       holds(&w->there, member);
}

static int run_statement(struct bak_pg *pg, PGconn *admin, const char *text, size_t len,
			 struct bak_error *err)
{
	return bak_pg_exec(pg->env, admin, err, "%.*s", (int)len, text);
}

static int make_role(struct bak_pg *pg, PGconn *admin, struct bak_pg_role_work *w, const char *role,
		     const char *text, size_t len, struct bak_error *err)
{
	if (run_statement(pg, admin, text, len, err) < 0)
		return bak_error_wrap(err, "making role %s", role);
	bak_store_log(pg->env, "role %s is made", role);
	if (bak_pg_names_add(&w->made, role, err) < 0)
		return -1;
	return bak_pg_names_add(&w->there, role, err);
}

static int use_statement(struct bak_pg *pg, PGconn *admin, struct bak_pg_role_work *w,
			 const char *text, size_t len, struct bak_error *err)
{
	const char *p = text, *end = text + len;
	char role[BAK_PG_NAME_MAX + 1];

	if (begins(&p, end, "CREATE ROLE ")) {
		if (!take_name(&p, end, role) || holds(&w->there, role) || !is_wanted(w, role))
			return 0;
		return make_role(pg, admin, w, role, text, len, err);
	}
	if (begins(&p, end, "GRANT "))
		return want_grant(w, p, end, &len) ? run_statement(pg, admin, text, len, err) : 0;
	if (!begins(&p, end, "ALTER ROLE ") && !begins(&p, end, "COMMENT ON ROLE "))
		return 0;
	/* What is set for a role in a database comes with the database. */
	if (!take_name(&p, end, role) || !holds(&w->made, role) || begins(&p, end, " IN DATABASE "))
		return 0;
	if (run_statement(pg, admin, text, len, err) < 0)
		return bak_error_wrap(err, "role %s", role);
	return 0;
}

/* --- the whole --- */

static int list_roles(struct bak_pg *pg, PGconn *admin, struct bak_pg_names *out,
		      struct bak_error *err)
{
	BAK_AUTO(bak_pg_clear)
	PGresult *result = bak_pg_query(pg->env, admin, "SELECT rolname FROM pg_roles", err);

	for (int i = 0; i < PQntuples(result); i++) {
		if (bak_pg_names_add(out, PQgetvalue(result, i, 0), err) < 0)
			return -1;
	}
	return result ? 0 : -1;
}

int bak_pg_make_roles(struct bak_pg *pg, PGconn *admin, const char *sql, size_t len,
		      struct bak_pg_role_work *work, struct bak_error *err)
{
	const char *p = sql, *end = sql + len, *text;
	struct bak_error scratch = BAK_ERROR_INIT;
	size_t n;
	int rc = 0;

	if (list_roles(pg, admin, &work->there, err) < 0 ||
	    bak_pg_exec(pg->env, admin, err, "BEGIN") < 0)
		return -1;
	while (rc == 0 && p < end) {
		p = bak_pg_statement(p, end, &text, &n);
		rc = use_statement(pg, admin, work, text, n, err);
	}
	if (rc == 0)
		return bak_pg_exec(pg->env, admin, err, "COMMIT");
	bak_pg_exec(NULL, admin, &scratch, "ROLLBACK");
	bak_pg_names_release(&work->made);
	return -1;
}

void bak_pg_drop_roles(struct bak_pg *pg, PGconn *admin, struct bak_pg_role_work *work)
{
	for (size_t i = work->made.n; i-- > 0;) {
		BAK_AUTO(bak_pg_free) char *name = bak_pg_ident(admin, work->made.v[i]);
		struct bak_error why = BAK_ERROR_INIT;

		if (name && bak_pg_exec(NULL, admin, &why, "DROP ROLE %s", name) < 0)
			bak_store_warn(pg->env, "role %s, made for the restore, is left over: %s",
				       work->made.v[i], why.msg);
	}
}
