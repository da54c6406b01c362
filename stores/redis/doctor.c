/* What is or will be wrong with a Redis or Valkey server. */
#include "stores/checkup.h"
#include "stores/redis/restore.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A clock that is off by more makes keys expire at the wrong time after a restore. */
#define CLOCK_SLACK_S 10

/* Without these commands a backup or restore takes a lesser way. */
static const struct right {
	const char *command, *without, *todo;
} rights[] = {
	{"sync", "it is saved by BGSAVE or key by key", "ACL SETUSER <user> +sync +replconf +ping"},
	{"replicaof", "it is restored with RESTORE",
	 "ACL SETUSER <user> +replicaof +config|set +config|get"},
	{"restore", "parts of a snapshot cannot be restored",
	 "ACL SETUSER <user> +restore +select +swapdb +flushdb"},
};

/* ACL DRYRUN needs the right to ACL itself; where it cannot be asked nothing is said. */
static void check_right(struct bak_redis_conn *conn, const struct bak_checkup *checkup,
			const struct right *right)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *who = NULL;
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;
	struct bak_error ignored = BAK_ERROR_INIT;
	const char *arguments[3] = {NULL};

	if (strcmp(right->command, "replicaof") == 0)
		arguments[0] = "no", arguments[1] = "one";
	else if (strcmp(right->command, "restore") == 0)
		arguments[0] = "k", arguments[1] = "0", arguments[2] = "v";
	if (bak_redis_do(conn, &who, &ignored, "ACL", "WHOAMI", NULL) < 0 ||
	    who->type != REDIS_REPLY_STRING ||
	    bak_redis_do(conn, &reply, &ignored, "ACL", "DRYRUN", who->str, right->command,
			 arguments[0], arguments[1], arguments[2], NULL) < 0)
		return;
	if (reply->type == REDIS_REPLY_STRING && strstr(reply->str, "permission"))
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE, right->todo,
				 "user %s may not %s, so %s", who->str, right->command,
				 right->without);
}

static void check_clock(struct bak_redis_conn *conn, const struct bak_checkup *checkup)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;
	struct bak_error ignored = BAK_ERROR_INIT;
	long long off;

	if (bak_redis_do(conn, &reply, &ignored, "TIME", NULL) < 0 ||
	    reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
		return;
	off = strtoll(reply->element[0]->str, NULL, 10) - (long long)time(NULL);
	if (off > CLOCK_SLACK_S || off < -CLOCK_SLACK_S)
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE, "correct the clock that is wrong",
				 "the server's clock is %lld seconds %s ours", llabs(off),
				 off > 0 ? "ahead of" : "behind");
}

static void check_role(const struct bak_redis_info *info, const struct bak_checkup *checkup)
{
	if (info->replica)
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE,
				 "backups are fine; name the primary to be able to restore",
				 "it is a replica of %s", info->master);
	if (info->n_modules)
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE,
				 "have the same modules wherever it is restored",
				 "it has modules: %s", info->modules);
}

static void check_persistence(struct bak_redis_conn *conn, const struct bak_checkup *checkup)
{
	BAK_AUTO(bak_free_ptr) char *text = NULL;
	struct bak_error ignored = BAK_ERROR_INIT;
	char rdb[16], aof[16];

	if (bak_redis_info_text(conn, "persistence", &text, &ignored) < 0)
		return;
	bak_redis_field(text, "rdb_last_bgsave_status", rdb, sizeof rdb);
	bak_redis_field(text, "aof_last_write_status", aof, sizeof aof);
	if (strcmp(rdb, "err") == 0 || strcmp(aof, "err") == 0)
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE,
				 "see the server's log; often its disk is full",
				 "the server could not write its own data to disk last time");
}

/* A fork copies what is written meanwhile. */
static void check_memory(struct bak_redis_conn *conn, const struct bak_redis_info *info,
			 const struct bak_checkup *checkup)
{
	BAK_AUTO(bak_free_ptr) char *text = NULL;
	struct bak_error ignored = BAK_ERROR_INIT;
	char total[32];

	if (bak_redis_info_text(conn, "memory", &text, &ignored) < 0 ||
	    !bak_redis_field(text, "total_system_memory", total, sizeof total))
		return;
	uint64_t bytes = strtoull(total, NULL, 10);
	if (bytes && info->used_memory > bytes / 2)
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE,
				 "have more memory, or restore into another server",
				 "its data fills more than half of the memory, and a restore holds "
				 "old and new at once");
}

int bak_redis_doctor(struct bak_redis *redis, const struct bak_checkup *checkup,
		     struct bak_error *err)
{
	struct bak_redis_info info;

	if (!checkup->quick)
		bak_checkup_password_file(checkup, redis->conf);
	/* A probe has connected before; a backup does so anyway. */
	if (bak_redis_need(redis, err) < 0 || bak_redis_info(redis->conn, &info, err) < 0)
		return -1;
	check_persistence(redis->conn, checkup);
	if (checkup->quick)
		return 0;
	if (!info.cluster && bak_redis_tell_leftovers(redis, checkup))
		info.replica = false;
	check_role(&info, checkup);
	for (size_t i = 0; i < sizeof rights / sizeof *rights; i++)
		check_right(redis->conn, checkup, &rights[i]);
	check_clock(redis->conn, checkup);
	check_memory(redis->conn, &info, checkup);
	return 0;
}
