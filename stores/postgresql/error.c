/* What PostgreSQL and its programs say when they fail, with what to do about it. */
#include "stores/postgresql/postgresql.h"

#include <string.h>

static const struct {
	const char *words; /* a part of what is said */
	enum bak_errc code;
	const char *advice;
} ailments[] = {
	{"password authentication failed", BAK_REFUSED,
	 "correct the password (password_file, password_command, ~/.pgpass)"},
	{"no password supplied", BAK_REFUSED,
	 "give one: password_file, password_command or ~/.pgpass"},
	{"no pg_hba.conf entry", BAK_REFUSED,
	 "the server does not admit this user, host or kind of TLS: add a line to its pg_hba.conf"},
	{"Peer authentication failed", BAK_REFUSED,
	 "run bakfs as that system user, name another user in the uri, or change pg_hba.conf"},
	{"must be superuser or replication role", BAK_REFUSED,
	 "mode = physical needs it: ALTER ROLE ... REPLICATION"},
	{"max_wal_senders", BAK_UNAVAILABLE,
	 "raise max_wal_senders and restart the server, or end other replication"},
	{"replication slots are in use", BAK_UNAVAILABLE,
	 "raise max_replication_slots and restart the server, or drop a slot"},
	{"wal_level", BAK_REFUSED, "set wal_level = replica and restart the server"},
	{"has already been removed", BAK_UNAVAILABLE,
	 "the server threw WAL away too early: raise wal_keep_size and try again"},
	{"server version mismatch", BAK_UNSUPPORTED,
	 "install the postgresql-client package of the server's version"},
	{"in file header", BAK_UNSUPPORTED,
	 "the dump is of a newer PostgreSQL: install its postgresql-client package"},
	{"backslash commands are restricted", BAK_REFUSED,
	 "the dump has commands for psql, which are not obeyed: make it without --create"},
	{"cannot run inside a transaction block", BAK_REFUSED,
	 "SQL that makes or drops databases is not obeyed: make the dump without --create"},
	{"invalid command \\restrict", BAK_UNSUPPORTED,
	 "this psql cannot be kept from obeying commands in a dump: update postgresql-client"},
	{"unrecognized configuration parameter", BAK_UNSUPPORTED,
	 "the dump is of a newer PostgreSQL than this server: dump it with tools of the server's "
	 "version"},
	{"is being accessed by other users", BAK_BUSY,
	 "end those connections, or let the restore do it: --yes, or restore = force"},
	/* that is how pg_dump waits for locks; elsewhere there is none */
	{"due to statement timeout", BAK_BUSY,
	 "somebody holds a lock for long (ALTER, TRUNCATE, VACUUM FULL): raise lock_timeout or try "
	 "later"},
	{"due to lock timeout", BAK_BUSY,
	 "somebody uses a table that is to be restored: try later, or raise lock_timeout"},
	{"could not obtain lock", BAK_BUSY, "somebody holds a lock: try later"},
	{"Check free disk space", BAK_NO_SPACE, "the disk of the database server is full"},
	{"No space left on device", BAK_NO_SPACE, "the disk of the database server is full"},
	{"is not available", BAK_REFUSED, "install the extension's package on the server first"},
	{"could not open extension control file", BAK_REFUSED,
	 "install the extension's package on the server first"},
	{"permission denied to create database", BAK_REFUSED,
	 "a restore makes a new database: ALTER ROLE ... CREATEDB"},
	{"permission denied for", BAK_REFUSED,
	 "let the role read everything: GRANT pg_read_all_data TO ..., or use the owner"},
	{"row-level security", BAK_REFUSED,
	 "the role does not see all rows: ALTER ROLE ... BYPASSRLS, or use the owner"},
	{"starting up", BAK_UNAVAILABLE, "try again in a while"},
	{"shutting down", BAK_UNAVAILABLE, "start the server"},
	{"in recovery mode", BAK_UNAVAILABLE, "the server crashed and recovers: try again"},
	{"Connection refused", BAK_UNAVAILABLE, "is the server running, and the uri right?"},
	{"Is the server running", BAK_UNAVAILABLE, "start the server, or correct the uri"},
	{"could not translate host name", BAK_UNAVAILABLE, "correct the host in the uri"},
	{"timeout expired", BAK_UNAVAILABLE, "is the server reachable, and the uri right?"},
	{"server closed the connection", BAK_UNAVAILABLE, "the server went away: see its log"},
	{"terminating connection", BAK_UNAVAILABLE, "the server ended it: see its log"},
	{"connection to server was lost", BAK_UNAVAILABLE, "the server went away: see its log"},
	{"too many connections", BAK_UNAVAILABLE, "try again, or raise max_connections"},
	{"too many clients", BAK_UNAVAILABLE, "try again, or raise max_connections"},
};

/* By all that was said, of which err may have a part. */
static int advise(struct bak_error *err, const char *words)
{
	if (strstr(words, "database \"") && strstr(words, "does not exist")) {
		err->code = BAK_NOT_FOUND;
		return -1;
	}
	for (size_t i = 0; i < sizeof ailments / sizeof *ailments; i++) {
		size_t len = strlen(err->msg);

		if (!strstr(words, ailments[i].words))
			continue;
		err->code = ailments[i].code;
		snprintf(err->msg + len, sizeof err->msg - len, "; %s", ailments[i].advice);
		break;
	}
	return -1;
}

int bak_pg_advise(struct bak_error *err)
{
	return err->code == BAK_CANCELLED ? -1 : advise(err, err->msg);
}

/* The server's words on one line; at most so much that advice has room. Lines that libpq indents are
 * guesses at what may be wrong, and advice is better. */
static void one_line(const char *words, char *out, size_t len)
{
	size_t n = 0;
	bool space = true;

	for (; *words && n + 1 < len; words++) {
		unsigned char c = (unsigned char)*words;

		while (c == '\n' && words[1] == '\t')
			words += 1 + strcspn(words + 1, "\n");
		if (!*words)
			break;
		if (c == '\n' && n && words[1] && n + 2 < len)
			out[n++] = ';';
		if (c <= ' ' || c == 0x7f) {
			if (!space)
				out[n++] = ' ';
			space = true;
		} else {
			out[n++] = (char)c;
			space = false;
		}
	}
	while (n && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
}

int bak_pg_fail(struct bak_error *err, const char *what, const char *words)
{
	char line[330];

	one_line(words && *words ? words : "no reason given", line, sizeof line);
	if (what)
		bak_error_set(err, BAK_IO, "%.80s: %s", what, line);
	else
		bak_error_set(err, BAK_IO, "%s", line);
	return advise(err, words && *words ? words : line);
}
