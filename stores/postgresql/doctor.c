/* What is or will be wrong with a PostgreSQL store. */
#include "stores/checkup.h"
#include "stores/postgresql/postgresql.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#define OLDEST 130000
#define CLOCK_SLACK_S 120

/* An answer in words, to be freed; what cannot be asked is no finding. */
static char *ask(struct bak_pg *pg, PGconn *conn, const char *sql)
{
	struct bak_error scratch = BAK_ERROR_INIT;

	return bak_pg_text(pg->env, conn, sql, &scratch);
}

static bool is_true(struct bak_pg *pg, PGconn *conn, const char *sql)
{
	BAK_AUTO(bak_free_ptr) char *answer = ask(pg, conn, sql);

	return answer && *answer == 't';
}

/* bak_pg_fail puts advice behind a semicolon. */
static void tell_failure(const struct bak_checkup *checkup, struct bak_error *why)
{
	char *advice = strrchr(why->msg, ';');

	if (advice)
		*advice++ = '\0';
	bak_checkup_tell(checkup, BAK_AILMENT_BROKEN,
			 advice ? advice + (*advice == ' ') : "see the server's log", "%s",
			 why->msg);
}

/* --- what every backup needs --- */

static void check_version(const struct bak_checkup *checkup, int version)
{
	if (version < OLDEST)
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE, "upgrade the server",
				 "PostgreSQL %d is older than 13, with which this was not tried",
				 version / 10000);
}

static void check_tool(struct bak_pg *pg, const struct bak_checkup *checkup, const char *name)
{
	BAK_AUTO(bak_free_ptr) char *path = NULL;
	struct bak_error why = BAK_ERROR_INIT;
	char todo[100];
	int major;

	snprintf(todo, sizeof todo, "install postgresql-client-%d, or set bin_dir",
		 pg->version / 10000);
	if (bak_pg_tool(pg, name, pg->version, &path, &major, &why) < 0)
		bak_checkup_tell(checkup, BAK_AILMENT_BROKEN, todo,
				 "there is no %s for PostgreSQL %d", name, pg->version / 10000);
	else if (major != pg->version / 10000)
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE, todo,
				 "%s is of version %d, and the server of %d: its dumps may not go "
				 "back into it",
				 path, major, pg->version / 10000);
}

/* --- the rest --- */

static void check_rights(struct bak_pg *pg, const struct bak_checkup *checkup)
{
	if (is_true(pg, pg->main, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"))
		return;
	if (!is_true(pg, pg->main,
		     "SELECT NOT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = "
		     "c.relnamespace WHERE c.relkind IN ('r', 'S') AND n.nspname !~ '^pg_' AND "
		     "n.nspname <> 'information_schema' AND NOT has_table_privilege(c.oid, "
		     "'SELECT'))"))
		bak_checkup_tell(checkup, BAK_AILMENT_BROKEN,
				 "GRANT pg_read_all_data TO the role, or use the owner",
				 "the user may not read every table of %s", PQdb(pg->main));
	if (!is_true(pg, pg->main, "SELECT rolcreatedb FROM pg_roles WHERE rolname = current_user"))
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE,
				 "backups work; to restore, ALTER ROLE ... CREATEDB",
				 "the user may not make a database to restore into");
}

static void check_clock(struct bak_pg *pg, const struct bak_checkup *checkup)
{
	BAK_AUTO(bak_free_ptr)
	char *text = ask(pg, pg->main, "SELECT extract(epoch FROM clock_timestamp())::bigint");
	long long off = text ? strtoll(text, NULL, 10) - (long long)time(NULL) : 0;

	if (llabs(off) > CLOCK_SLACK_S)
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE, "set both clocks by NTP",
				 "the server's clock is %lld seconds %s ours", llabs(off),
				 off < 0 ? "behind" : "before");
}

static void check_room(struct bak_pg *pg, const struct bak_checkup *checkup)
{
	BAK_AUTO(bak_free_ptr) char *dir = NULL;
	struct bak_error scratch = BAK_ERROR_INIT;
	struct statvfs fs;
	uint64_t room, need;

	if (!PQhost(pg->main) || PQhost(pg->main)[0] != '/')
		return;
	dir = ask(pg, pg->main, "SHOW data_directory");
	if (!dir || statvfs(dir, &fs) < 0 || bak_pg_size(pg, &need, &scratch) < 0)
		return;
	room = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (room < need)
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE,
				 "make room there: a restore needs the databases' size once more",
				 "%s has %" PRIu64 " bytes left, and the databases have %" PRIu64,
				 dir, room, need);
}

/* --- physical --- */

static void check_setting(struct bak_pg *pg, PGconn *conn, const struct bak_checkup *checkup,
			  const char *name, const char *bad, const char *todo)
{
	char sql[64];

	snprintf(sql, sizeof sql, "SHOW %s", name);
	BAK_AUTO(bak_free_ptr) char *value = ask(pg, conn, sql);
	if (value && strcmp(value, bad) == 0)
		bak_checkup_tell(checkup, BAK_AILMENT_BROKEN, todo, "%s is %s", name, value);
}

static int check_physical(struct bak_pg *pg, const struct bak_checkup *checkup)
{
	BAK_AUTO(bak_pg_close) PGconn *conn = NULL;
	struct bak_error why = BAK_ERROR_INIT;

	if (bak_pg_connect_replication(pg, &conn, &why) < 0) {
		tell_failure(checkup, &why);
		return 0;
	}
	check_version(checkup, PQserverVersion(conn));
	check_setting(pg, conn, checkup, "wal_level", "minimal",
		      "set wal_level = replica and restart the server");
	check_setting(pg, conn, checkup, "max_wal_senders", "0",
		      "raise max_wal_senders and restart the server");
	return 0;
}

int bak_pg_doctor(struct bak_pg *pg, const struct bak_checkup *checkup, struct bak_error *err)
{
	struct bak_error why = BAK_ERROR_INIT;

	(void)err;
	if (!checkup->quick)
		bak_checkup_password_file(checkup, pg->conf);
	if (strcmp(bak_store_get(pg->conf, "mode"), "physical") == 0)
		return check_physical(pg, checkup);
	if (bak_pg_main(pg, &why) < 0) {
		tell_failure(checkup, &why);
		return 0;
	}
	check_version(checkup, pg->version);
	check_tool(pg, checkup, "pg_dump");
	if (checkup->quick)
		return 0;
	check_tool(pg, checkup, "pg_restore");
	check_rights(pg, checkup);
	check_clock(pg, checkup);
	bak_pg_tell_kept(pg, checkup);
	check_room(pg, checkup);
	return 0;
}
