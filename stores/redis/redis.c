/*
 * The redis driver: a Redis or Valkey server, or a cluster of them, through its socket.
 *
 * Consistency: the moment of the server's fork, all databases; in a cluster one for each node.
 */
#include "stores/drivers.h"
#include "stores/redis/rdb_proof.h"
#include "stores/redis/restore.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct bak_store_option redis_options[] = {
	{.name = "address",
	 .kind = BAK_OPTION_TEXT,
	 .fallback = "localhost:6379",
	 .help = "host:port, the path of a Unix socket, or redis:// rediss:// unix://"},
	{.name = "user", .kind = BAK_OPTION_TEXT, .help = "the ACL user; default: default"},
	{.name = "password", .kind = BAK_OPTION_SECRET, .help = "the password itself"},
	{.name = "password_file",
	 .kind = BAK_OPTION_PATH,
	 .help = "file with the password in its first line"},
	{.name = "password_command",
	 .kind = BAK_OPTION_TEXT,
	 .help = "shell command that prints the password"},
	{.name = "password_env",
	 .kind = BAK_OPTION_TEXT,
	 .fallback = "REDISCLI_AUTH",
	 .help = "environment variable with the password, if nothing else names one"},
	{.name = "tls",
	 .kind = BAK_OPTION_BOOL,
	 .fallback = "no",
	 .help = "speak TLS; rediss:// says so too"},
	{.name = "tls_ca",
	 .kind = BAK_OPTION_PATH,
	 .help = "certificates to trust, instead of the system's"},
	{.name = "tls_cert",
	 .kind = BAK_OPTION_PATH,
	 .help = "our certificate, where one is asked"},
	{.name = "tls_key", .kind = BAK_OPTION_PATH, .help = "its key, if it is in another file"},
	{.name = "tls_name",
	 .kind = BAK_OPTION_TEXT,
	 .help = "the name in the server's certificate, if it is not the host"},
	{.name = "sentinel",
	 .kind = BAK_OPTION_LIST,
	 .help = "host:port of a sentinel, to be asked for the primary"},
	{.name = "master_name",
	 .kind = BAK_OPTION_TEXT,
	 .fallback = "mymaster",
	 .help = "what the sentinels call it"},
	{.name = "databases",
	 .kind = BAK_OPTION_LIST,
	 .help = "number of a database to save and restore; default: all"},
	{.name = "method",
	 .kind = BAK_OPTION_CHOICE,
	 .choices = "auto|replication|bgsave|scan",
	 .fallback = "auto",
	 .help = "how to save: the best that the server allows, or this one alone"},
	{.name = "restore_method",
	 .kind = BAK_OPTION_CHOICE,
	 .choices = "auto|replication|commands",
	 .fallback = "auto",
	 .help = "how to restore: as the server's master, or with RESTORE"},
	{.name = "listen",
	 .kind = BAK_OPTION_TEXT,
	 .help = "host or host:port where a server that is restored reaches us"},
	{.name = "timeout",
	 .kind = BAK_OPTION_DURATION,
	 .fallback = "60s",
	 .help = "how long to wait for an answer"},
	{.name = NULL},
};

static const struct bak_store_option restore_options[] = {
	{.name = "key", .kind = BAK_OPTION_LIST, .help = "only keys that match this pattern"},
	{.name = "db", .kind = BAK_OPTION_LIST, .help = "only keys of this database"},
	{.name = "key-type",
	 .kind = BAK_OPTION_LIST,
	 .help = "only keys of this type: string, list, set, zset, hash, stream, module"},
	{.name = NULL},
};

static void redis_close(void *store)
{
	struct bak_redis *redis = store;

	if (!redis)
		return;
	bak_redis_disconnect(redis->conn);
	bak_redis_address_release(&redis->address);
	free(redis);
}

static int check_databases(const struct bak_store_conf *conf, struct bak_error *err)
{
	const char *number;

	for (size_t i = 0; (number = bak_store_get_item(conf, "databases", i)) != NULL; i++) {
		if (!bak_redis_is_number(number))
			return bak_error_set(err, BAK_USAGE, "databases: \"%s\" is not a number",
					     number);
	}
	return 0;
}

static int redis_open(const struct bak_store_conf *conf, const struct bak_store_env *env,
		      void **out_store, struct bak_error *err)
{
	struct bak_redis *redis = calloc(1, sizeof *redis);

	if (!redis)
		return bak_error_nomem(err);
	*redis = (struct bak_redis){.conf = conf,
				    .env = env,
				    .tls = bak_store_get_bool(conf, "tls"),
				    .timeout_ms = bak_store_get_duration_ms(conf, "timeout")};
	if (check_databases(conf, err) < 0 ||
	    bak_redis_address_parse(bak_store_get(conf, "address"), &redis->address, &redis->tls,
				    err) < 0) {
		redis_close(redis);
		return -1;
	}
	*out_store = redis;
	return 0;
}

static int redis_probe(void *store, struct bak_store_probe *out, struct bak_error *err)
{
	struct bak_redis *redis = store;
	struct bak_redis_info info;

	*out = (struct bak_store_probe){.bytes = 0};
	bak_redis_address_text(&redis->address, out->target, sizeof out->target);
	if (bak_redis_need(redis, err) < 0 || bak_redis_info(redis->conn, &info, err) < 0)
		return -1;
	bak_redis_address_text(&redis->address, out->target, sizeof out->target);
	if (info.sentinel)
		return bak_error_set(err, BAK_USAGE,
				     "%s is a sentinel: name it with the option sentinel",
				     out->target);
	snprintf(out->version, sizeof out->version, "%s %s%s", bak_redis_product(&info),
		 info.version, info.cluster ? ", a cluster" : "");
	return 0;
}

static int redis_doctor(void *store, const struct bak_checkup *checkup, struct bak_error *err)
{
	return bak_redis_doctor(store, checkup, err);
}

static int redis_backup(void *store, struct bak_writer *writer, json_t *facts,
			struct bak_error *err)
{
	return bak_redis_backup(store, writer, facts, err);
}

static int redis_restore(void *store, const struct bak_restore_from *from, json_t *state,
			 struct bak_error *err)
{
	return bak_redis_restore(store, from, state, err);
}

static int redis_import(void *store, const char *path, struct bak_writer *writer, json_t *facts,
			struct bak_error *err)
{
	return bak_redis_import(store, path, writer, facts, err);
}

const struct bak_store_driver bak_store_redis = {
	.name = "redis",
	.summary = "a Redis or Valkey server or cluster",
	.features = BAK_STORE_PARTIAL,
	.options = redis_options,
	.address_option = "address",
	.restore_options = restore_options,
	.proof = &bak_rdb_proof,
	.open = redis_open,
	.probe = redis_probe,
	.doctor = redis_doctor,
	.backup = redis_backup,
	.restore = redis_restore,
	.import = redis_import,
	.close = redis_close,
};
