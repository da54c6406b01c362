/*
 * What a restore that was killed leaves behind: a server that is a replica of a bakfs that is gone,
 * or databases that were being filled. Both bear marks, made before anything else was done.
 *
 * A replica of ours has in `masteruser` what its settings were before; nobody looks there as long as
 * it has no primary of its own. A database that is filled has a key, whose value is the name of the
 * connection that fills it: one that is not among the server's clients any more is gone.
 */
#include "stores/redis/restore.h"

#include "engine/base/hash.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* A target whose master is there connects at once, and again each second. */
#define LOOKS 15
#define LOOK_MS 200
#define NO_WORD "-"

/* --- settings --- */

static int set_mark(struct bak_redis_conn *conn, const struct bak_redis_settings *was,
		    struct bak_error *err)
{
	char text[512];

	snprintf(text, sizeof text, BAK_REDIS_MARK " diskless=%s tls=%s user=%s", was->diskless,
		 was->tls ? was->tls : NO_WORD, was->user);
	return bak_redis_config_set(conn, "masteruser", text, err);
}

static int read_settings(struct bak_redis_conn *conn, struct bak_redis_settings *out,
			 struct bak_error *err)
{
	int rc = bak_redis_config_get(conn, "repl-diskless-load", &out->diskless, err);

	if (rc == 0)
		return bak_error_set(err, BAK_REFUSED,
				     "the server does not let us read its settings (CONFIG GET)");
	if (rc < 0 || bak_redis_config_get(conn, "masteruser", &out->user, err) < 0 ||
	    bak_redis_config_get(conn, "tls-replication", &out->tls, err) < 0)
		return -1;
	if (out->tls && strcmp(out->tls, "yes") != 0) {
		free(out->tls);
		out->tls = NULL;
	}
	return 0;
}

int bak_redis_settings_change(struct bak_redis_conn *conn, struct bak_redis_settings *out,
			      struct bak_error *err)
{
	*out = (struct bak_redis_settings){.diskless = NULL};
	if (read_settings(conn, out, err) < 0 || (out->user && set_mark(conn, out, err) < 0)) {
		bak_redis_settings_release(out);
		return -1;
	}
	/* "swapdb": the old data stays until the new is there as a whole. */
	if (bak_redis_config_set(conn, "repl-diskless-load", "swapdb", err) < 0)
		return -1;
	return out->tls ? bak_redis_config_set(conn, "tls-replication", "no", err) : 0;
}

int bak_redis_settings_restore(struct bak_redis_conn *conn, struct bak_redis_settings *settings,
			       struct bak_error *err)
{
	int rc = 0;

	if (settings->diskless &&
	    bak_redis_config_set(conn, "repl-diskless-load", settings->diskless, err) < 0)
		rc = bak_error_wrap(err, "the server's repl-diskless-load was %s",
				    settings->diskless);
	if (settings->tls && bak_redis_config_set(conn, "tls-replication", settings->tls, err) < 0)
		rc = bak_error_wrap(err, "the server's tls-replication was %s", settings->tls);
	/* Last: the mark says that there is something to be put back. */
	if (rc == 0 && settings->user)
		rc = bak_redis_config_set(conn, "masteruser", settings->user, err);
	return rc;
}

void bak_redis_settings_release(struct bak_redis_settings *settings)
{
	free(settings->diskless);
	free(settings->tls);
	free(settings->user);
	*settings = (struct bak_redis_settings){.diskless = NULL};
}

/* --- a replica of nobody --- */

static char *word_of(const char *mark, const char *name, bool to_end)
{
	const char *at = strstr(mark, name);

	if (!at)
		return NULL;
	at += strlen(name);
	size_t len = to_end ? strlen(at) : strcspn(at, " ");
	if (!to_end && (len == 0 || (len == strlen(NO_WORD) && memcmp(at, NO_WORD, len) == 0)))
		return NULL;
	return strndup(at, len);
}

/* 1 it bears our mark, 0 not. */
static int read_mark(struct bak_redis_conn *conn, struct bak_redis_settings *out,
		     struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *mark = NULL;
	int rc = bak_redis_config_get(conn, "masteruser", &mark, err);

	*out = (struct bak_redis_settings){.diskless = NULL};
	if (rc <= 0)
		return rc;
	if (strncmp(mark, BAK_REDIS_MARK " ", sizeof BAK_REDIS_MARK) != 0)
		return 0;
	out->diskless = word_of(mark, " diskless=", false);
	out->tls = word_of(mark, " tls=", false);
	out->user = word_of(mark, " user=", true);
	return 1;
}

/* Nobody serves it: 1, 0 somebody does, -1. master: whose replica it is, "" if none's. */
static int is_alone(struct bak_redis_conn *conn, char *master, size_t len, struct bak_error *err)
{
	for (int i = 0; i < LOOKS; i++) {
		BAK_AUTO(bak_free_ptr) char *text = NULL;
		char link[16], sync[16], host[256], port[16];

		if (i)
			poll(NULL, 0, LOOK_MS);
		if (bak_redis_info_text(conn, "replication", &text, err) < 0)
			return -1;
		bak_redis_field(text, "master_link_status", link, sizeof link);
		bak_redis_field(text, "master_sync_in_progress", sync, sizeof sync);
		if (strcmp(link, "up") == 0 || strcmp(sync, "1") == 0)
			return 0;
		bak_redis_field(text, "master_host", host, sizeof host);
		bak_redis_field(text, "master_port", port, sizeof port);
		snprintf(master, len, *host ? "%s:%s" : "%s%s", host, port);
	}
	return 1;
}

/* Whether it was left so: 1 and the settings of before, 0, -1. */
static int find_replica(struct bak_redis_conn *conn, struct bak_redis_settings *out, char *master,
			size_t len, struct bak_error *err)
{
	int rc = read_mark(conn, out, err);

	if (rc > 0)
		rc = is_alone(conn, master, len, err);
	if (rc > 0) {
		/* It may have come to its end meanwhile. */
		bak_redis_settings_release(out);
		rc = read_mark(conn, out, err);
	}
	if (rc <= 0)
		bak_redis_settings_release(out);
	return rc;
}

static int let_go(struct bak_redis *redis, struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;
	BAK_AUTO(bak_redis_settings_release) struct bak_redis_settings was;
	char master[300];
	int rc = find_replica(redis->conn, &was, master, sizeof master, err);

	if (rc <= 0)
		return rc;
	if (*master && bak_redis_do(redis->conn, &reply, err, "REPLICAOF", "NO", "ONE", NULL) < 0)
		return bak_error_wrap(err,
				      "a restore that was killed left the server a replica of %s: "
				      "REPLICAOF NO ONE",
				      master);
	if (bak_redis_settings_restore(redis->conn, &was, err) < 0)
		return -1;
	if (*master)
		bak_store_warn(redis->env,
			       "a restore that was killed had left the server a replica of %s: it "
			       "is its own primary again, with the data that it has",
			       master);
	return 0;
}

/* --- databases half filled --- */

int bak_redis_mark_name(struct bak_redis_conn *conn, char out[64], struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;
	uint8_t random[8];
	char hex[2 * sizeof random + 1];

	if (bak_random(random, sizeof random, err) < 0)
		return -1;
	bak_hex(hex, random, sizeof random);
	snprintf(out, 64, BAK_REDIS_MARK "-%s", hex);
	return bak_redis_do(conn, &reply, err, "CLIENT", "SETNAME", out, NULL);
}

/* 1 a database that nobody fills any more, 0 another, -1. */
static int is_abandoned(struct bak_redis_link *link, uint64_t db, struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *mark = NULL;
	BAK_AUTO(bak_redis_free_reply) redisReply *clients = NULL;

	if (bak_redis_link_select(link, db, err) < 0 ||
	    bak_redis_do(link->conn, &mark, err, "GET", BAK_REDIS_MARK, NULL) < 0)
		return -1;
	if (mark->type != REDIS_REPLY_STRING ||
	    strncmp(mark->str, BAK_REDIS_MARK "-", sizeof BAK_REDIS_MARK) != 0)
		return 0;
	if (bak_redis_do(link->conn, &clients, err, "CLIENT", "LIST", NULL) < 0)
		return -1;
	return clients->type == REDIS_REPLY_STRING && !strstr(clients->str, mark->str);
}

static int sweep(struct bak_redis *redis, const struct bak_checkup *checkup, struct bak_error *err)
{
	struct bak_redis_link link = {.conn = redis->conn};
	struct bak_redis_keyspace dbs;
	int rc = bak_redis_keyspace(redis->conn, &dbs, err);

	for (size_t i = 0; rc == 0 && i < dbs.n; i++) {
		BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;
		uint64_t db = dbs.dbs[i].number;

		/* Only where there are others is one filled beside them. */
		rc = db ? is_abandoned(&link, db, err) : 0;
		if (rc <= 0)
			continue;
		if (checkup) {
			bak_checkup_tell(checkup, BAK_AILMENT_ADVICE,
					 "the next restore empties it, or FLUSHDB there",
					 "database %" PRIu64 " is what a restore that was killed "
					 "had brought so far",
					 db);
			rc = 0;
			continue;
		}
		rc = bak_redis_do(redis->conn, &reply, err, "FLUSHDB", "ASYNC", NULL);
		if (rc == 0)
			bak_store_warn(redis->env,
				       "database %" PRIu64 " had what a restore that was killed "
				       "left there, and was emptied",
				       db);
	}
	bak_redis_keyspace_release(&dbs);
	return rc;
}

/* --- both --- */

int bak_redis_clean_up(struct bak_redis *redis, struct bak_error *err)
{
	struct bak_error second = BAK_ERROR_INIT;

	if (let_go(redis, err) < 0)
		return -1;
	/* Whoever may not look there is not hindered by it. */
	if (sweep(redis, NULL, &second) < 0)
		bak_store_log(redis->env, "nobody looked for unfinished restores: %s", second.msg);
	return bak_redis_need(redis, err);
}

bool bak_redis_tell_leftovers(struct bak_redis *redis, const struct bak_checkup *checkup)
{
	BAK_AUTO(bak_redis_settings_release) struct bak_redis_settings was;
	struct bak_error ignored = BAK_ERROR_INIT;
	char master[300];

	bool ours = find_replica(redis->conn, &was, master, sizeof master, &ignored) > 0 && *master;
	if (ours)
		bak_checkup_tell(checkup, BAK_AILMENT_BROKEN,
				 "the next backup or restore makes it its own primary again, or "
				 "REPLICAOF NO ONE",
				 "a restore that was killed left the server a replica of %s, so "
				 "it takes no writes",
				 master);
	sweep(redis, checkup, &ignored);
	return ours;
}
