/* What a Redis or Valkey server says of itself, and who reads whose files. */
#include "stores/redis/redis.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* --- INFO and CONFIG --- */

int bak_redis_info_text(struct bak_redis_conn *conn, const char *section, char **out,
			struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;

	if (bak_redis_do(conn, &reply, err, "INFO", section, NULL) < 0)
		return -1;
	if (reply->type != REDIS_REPLY_STRING)
		return bak_error_set(err, BAK_UNAVAILABLE, "INFO: not a text");
	*out = strndup(reply->str, reply->len);
	return *out ? 0 : bak_error_nomem(err);
}

bool bak_redis_field(const char *text, const char *name, char *out, size_t len)
{
	size_t name_len = strlen(name);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, name_len) == 0 && line[name_len] == ':') {
			line += name_len + 1;
			snprintf(out, len, "%.*s", (int)strcspn(line, "\r\n"), line);
			return true;
		}
	}
	*out = '\0';
	return false;
}

static uint64_t field_number(const char *text, const char *name)
{
	char value[32];

	return bak_redis_field(text, name, value, sizeof value) ? strtoull(value, NULL, 10) : 0;
}

/* "module:name=search,ver=20811,api=1,..." lines. */
static void note_modules(const char *text, struct bak_redis_info *out)
{
	static const char mark[] = "module:name=";
	size_t len = 0;

	for (const char *at = strstr(text, mark); at; at = strstr(at, mark)) {
		at += sizeof mark - 1;
		/* Valkey's own, which keeps no data. */
		if (strncmp(at, "lua,", 4) == 0)
			continue;
		len += (size_t)snprintf(out->modules + len, sizeof out->modules - len, "%s%.*s",
					out->n_modules ? ", " : "", (int)strcspn(at, ",\r\n"), at);
		out->n_modules++;
		if (len >= sizeof out->modules)
			break;
	}
}

static int note_server(struct bak_redis_conn *conn, struct bak_redis_info *out,
		       struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *text = NULL;
	char mode[32];

	if (bak_redis_info_text(conn, "server", &text, err) < 0)
		return -1;
	out->valkey = bak_redis_field(text, "valkey_version", out->version, sizeof out->version);
	if (!out->valkey)
		bak_redis_field(text, "redis_version", out->version, sizeof out->version);
	sscanf(out->version, "%u.%u", &out->major, &out->minor);
	/* Valkey 9 calls it server_mode, and may leave the old name out. */
	if (!bak_redis_field(text, "redis_mode", mode, sizeof mode))
		bak_redis_field(text, "server_mode", mode, sizeof mode);
	out->cluster = strcmp(mode, "cluster") == 0;
	out->sentinel = strcmp(mode, "sentinel") == 0;
	return 0;
}

static int note_state(struct bak_redis_conn *conn, struct bak_redis_info *out,
		      struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *text = NULL;
	char role[16], host[256], port[16];

	if (bak_redis_info_text(conn, "all", &text, err) < 0)
		return -1;
	bak_redis_field(text, "role", role, sizeof role);
	out->replica = strcmp(role, "slave") == 0;
	bak_redis_field(text, "master_host", host, sizeof host);
	bak_redis_field(text, "master_port", port, sizeof port);
	if (out->replica)
		snprintf(out->master, sizeof out->master, "%s:%s", host, port);
	out->aof = field_number(text, "aof_enabled") > 0;
	out->used_memory = field_number(text, "used_memory");
	out->max_memory = field_number(text, "maxmemory");
	note_modules(text, out);
	return 0;
}

int bak_redis_info(struct bak_redis_conn *conn, struct bak_redis_info *out, struct bak_error *err)
{
	*out = (struct bak_redis_info){.major = 0};
	if (note_server(conn, out, err) < 0 || (!out->sentinel && note_state(conn, out, err) < 0))
		return -1;
	return 0;
}

const char *bak_redis_product(const struct bak_redis_info *info)
{
	return info->valkey ? "Valkey" : "Redis";
}

int bak_redis_config_get(struct bak_redis_conn *conn, const char *name, char **out,
			 struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;
	const char *words[] = {"CONFIG", "GET", name};
	const size_t lens[] = {6, 3, strlen(name)};

	*out = NULL;
	if (bak_redis_send(conn, 3, words, lens, err) < 0 || bak_redis_reply(conn, &reply, err) < 0)
		return -1;
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
	    reply->element[1]->type != REDIS_REPLY_STRING)
		return 0;
	*out = strndup(reply->element[1]->str, reply->element[1]->len);
	return *out ? 1 : bak_error_nomem(err);
}

int bak_redis_config_set(struct bak_redis_conn *conn, const char *name, const char *value,
			 struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;

	if (bak_redis_do(conn, &reply, err, "CONFIG", "SET", name, value, NULL) < 0)
		return bak_error_wrap(err, "CONFIG SET %s", name);
	return 0;
}

/* --- keys --- */

int bak_redis_keyspace(struct bak_redis_conn *conn, struct bak_redis_keyspace *out,
		       struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *text = NULL;
	struct bak_redis_db db;

	*out = (struct bak_redis_keyspace){.n = 0};
	if (bak_redis_info_text(conn, "keyspace", &text, err) < 0)
		return -1;
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (sscanf(line, "db%" SCNu64 ":keys=%" SCNu64 ",expires=%" SCNu64, &db.number,
			   &db.keys, &db.expires) != 3)
			continue;
		struct bak_redis_db *dbs = realloc(out->dbs, (out->n + 1) * sizeof *dbs);

		if (!dbs) {
			bak_redis_keyspace_release(out);
			return bak_error_nomem(err);
		}
		out->dbs = dbs;
		dbs[out->n++] = db;
	}
	return 0;
}

void bak_redis_keyspace_release(struct bak_redis_keyspace *keyspace)
{
	free(keyspace->dbs);
	*keyspace = (struct bak_redis_keyspace){.n = 0};
}

struct bak_redis_db bak_redis_keyspace_db(const struct bak_redis_keyspace *keyspace,
					  uint64_t number)
{
	for (size_t i = 0; i < keyspace->n; i++) {
		if (keyspace->dbs[i].number == number)
			return keyspace->dbs[i];
	}
	return (struct bak_redis_db){.number = number};
}

/* --- who reads whose files --- */

/* The newest RDB version that a server of that product writes and reads, by its first version. The
 * two went apart at 11: Redis counts on from 12, Valkey from 80. */
static const struct version {
	bool valkey;
	unsigned major, minor, rdb;
	const char *name;
} versions[] = {
	{false, 0, 0, 8, "Redis 4"},    {false, 5, 0, 9, "Redis 5 to 6.2"},
	{false, 7, 0, 10, "Redis 7.0"}, {false, 7, 2, 11, "Redis 7.2 or Valkey 7.2 to 8.1"},
	{false, 7, 4, 12, "Redis 7.4"}, {true, 0, 0, 11, "Valkey 7.2 to 8.1"},
	{true, 9, 0, 80, "Valkey 9.0"}, {true, 9, 2, 81, "Valkey 9.2"},
};
#define N_VERSIONS (sizeof versions / sizeof *versions)
/* Between these Valkey reads nothing: numbers that Redis gives. */
#define FOREIGN_MIN 12
#define FOREIGN_MAX 79

static unsigned newest_of(const struct bak_redis_info *info)
{
	unsigned newest = 0;

	for (size_t i = 0; i < N_VERSIONS; i++) {
		const struct version *v = &versions[i];

		if (v->valkey == info->valkey &&
		    (info->major > v->major ||
		     (info->major == v->major && info->minor >= v->minor)))
			newest = v->rdb;
	}
	return newest;
}

const char *bak_redis_writers_of(bool valkey_head, unsigned version)
{
	for (size_t i = 0; i < N_VERSIONS; i++) {
		if (versions[i].rdb == version && versions[i].valkey == valkey_head)
			return versions[i].name;
	}
	if (version <= 8)
		return "Redis 4 or older";
	return valkey_head ? "a Valkey newer than 9.2" : "a Redis newer than 8.0";
}

bool bak_redis_can_read(const struct bak_redis_info *info, bool valkey_head, unsigned version,
			char *why, size_t len)
{
	unsigned newest = newest_of(info);
	bool foreign = info->valkey && version >= FOREIGN_MIN && version <= FOREIGN_MAX;

	/* Of newer servers than are known here it can be said what they read at least. */
	if (!foreign && version <= newest && (!valkey_head || info->valkey))
		return true;
	if (!foreign && info->major > (info->valkey ? 9u : 8u) && valkey_head == info->valkey)
		return true;
	if (!info->valkey && !valkey_head && info->major >= 8 && version > 12)
		return true;
	snprintf(why, len,
		 "it is RDB version %u, as %s writes it, and %s %s reads up to %u%s: restore it "
		 "into "
		 "the product and version that it came from, or a newer one",
		 version, bak_redis_writers_of(valkey_head, version), bak_redis_product(info),
		 info->version, newest,
		 foreign ? ", without what Redis made since they went apart" : "");
	return false;
}
