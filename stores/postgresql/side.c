/*
 * Definitions of a dump moved into another schema: tables with their checks, keys, indexes and
 * partitions. What pg_dump writes begins in a way that is known, the names with it; the rest (types,
 * functions, expressions) stays as it is, and so means what is live.
 */
#include "stores/postgresql/postgresql.h"

#include <string.h>

/* How definitions begin. A word with ? in front may be missing; @ is a name to be moved, # one that
 * stays. */
static const struct {
	const char *kind;
	const char *words[8];
} forms[] = {
	{"TABLE", {"CREATE ", "?UNLOGGED ", "TABLE ", "@"}},
	{"CONSTRAINT", {"ALTER TABLE ", "?ONLY ", "@"}},
	{"INDEX", {"CREATE ", "?UNIQUE ", "INDEX ", "#", " ON ", "?ONLY ", "@"}},
	{"TABLE ATTACH", {"ALTER TABLE ", "?ONLY ", "@", " ATTACH PARTITION ", "@"}},
	{"INDEX ATTACH", {"ALTER INDEX ", "@", " ATTACH PARTITION ", "@"}},
};

static bool begins(const char *at, const char *word)
{
	return strncmp(at, word, strlen(word)) == 0;
}

/* One word of a form: false when it is not there, or there is no memory. */
static bool take(PGconn *conn, const char *to, const char *word, const char **at,
		 struct bak_buf *out)
{
	BAK_AUTO(bak_buf_release) struct bak_buf name = BAK_BUF_INIT;
	const char *from = *at;

	if (*word == '@')
		return bak_pg_move_name(conn, to, at, out) == 0;
	if (*word == '#')
		return bak_pg_take_ident(at, &name) == 0 &&
		       bak_buf_append(out, from, (size_t)(*at - from)) == 0;
	if (*word == '?' && !begins(*at, word + 1))
		return true;
	word += *word == '?';
	if (!begins(*at, word))
		return false;
	*at += strlen(word);
	return bak_buf_append(out, word, strlen(word)) == 0;
}

int bak_pg_moved(PGconn *conn, const struct bak_pg_entry *entry, const char *to,
		 struct bak_buf *out, struct bak_error *err)
{
	size_t f = 0, n = sizeof forms / sizeof *forms, len;
	const char *at = entry->definition, *end = at + strlen(at), *begin;

	out->len = 0;
	while (f < n && strcmp(forms[f].kind, entry->kind) != 0)
		f++;
	if (f == n)
		return 0;
	bak_pg_statement(at, end, &begin, &len);
	at = begin;
	for (size_t w = 0; forms[f].words[w]; w++) {
		if (!take(conn, to, forms[f].words[w], &at, out))
			return bak_error_set(err, BAK_UNSUPPORTED,
					     "%s %s.%s of the dump cannot be put into another "
					     "schema",
					     entry->kind, entry->schema, entry->tag);
	}
	len -= (size_t)(at - begin);
	if (bak_buf_append(out, at, len) < 0 || bak_buf_append(out, "", 1) < 0)
		return bak_error_nomem(err);
	return 1;
}
