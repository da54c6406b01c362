/*
 * The parts of the redis driver: a connection (conn.c, tls.c), what a server says of
 * itself (info.c), saving (backup.c) by replication (sync.c), its data file or key by key
 * (scan.c) into a file of the snapshot (saver.c), being the master that a target copies from (master.c), restoring
 * (restore.c, load.c), rights and health (doctor.c). The driver is redis.c.
 */
#ifndef BAK_STORES_REDIS_H
#define BAK_STORES_REDIS_H

#include "engine/base/hash.h"
#include "engine/base/place_set.h"
#include "stores/payload.h"
#include "stores/redis/rdb_filter.h"
#include "stores/stores.h"

#include <hiredis/hiredis.h>

#define BAK_REDIS_DATABASES_MAX 1024

/* Where a server listens. Owned strings; a path of a Unix socket, or host and port. */
struct bak_redis_address {
	char *path, *host;
	unsigned port;
};
/* "host", "host:port", "[v6]:port", "/path", redis://, rediss://, unix://. *out_tls: rediss. */
int bak_redis_address_parse(const char *text, struct bak_redis_address *out, bool *out_tls,
			    struct bak_error *err);
void bak_redis_address_release(struct bak_redis_address *address);
/* "host:port" or the path. */
void bak_redis_address_text(const struct bak_redis_address *address, char *out, size_t len);

struct bak_redis {
	const struct bak_store_conf *conf;
	const struct bak_store_env *env;
	struct bak_redis_address address; /* as configured; with sentinels: found by open */
	bool tls;
	uint64_t timeout_ms;
	struct bak_redis_conn *conn; /* opened by the first that needs it; NULL */
};

/* --- conn.c --- */

struct bak_redis_conn;
/* Connects, with TLS if configured, and logs in. */
int bak_redis_connect(const struct bak_redis *redis, const struct bak_redis_address *address,
		      struct bak_redis_conn **out, struct bak_error *err);
/* The same to a sentinel: with the sentinels' own password, if there is one. */
int bak_redis_connect_sentinel(const struct bak_redis *redis,
			       const struct bak_redis_address *address, struct bak_redis_conn **out,
			       struct bak_error *err);
void bak_redis_disconnect(struct bak_redis_conn *conn); /* NULL is fine */
int bak_redis_fd(const struct bak_redis_conn *conn);
/* It failed once and is of no more use. */
bool bak_redis_is_broken(const struct bak_redis_conn *conn);

/* A command of words, NULL at the end; the reply is the caller's. An error that the server answers
 * is BAK_REFUSED and such, in its words; a lost connection BAK_UNAVAILABLE. */
int bak_redis_do(struct bak_redis_conn *conn, redisReply **out, struct bak_error *err, ...)
	__attribute__((sentinel));
/* The same with lengths. */
int bak_redis_argv(struct bak_redis_conn *conn, int argc, const char **argv, const size_t *lens,
		   redisReply **out, struct bak_error *err);
/* Sent without waiting; each is answered by one bak_redis_reply, in order. */
int bak_redis_send(struct bak_redis_conn *conn, int argc, const char **argv, const size_t *lens,
		   struct bak_error *err);
/* Server errors come as replies here: raise makes one an error. */
int bak_redis_reply(struct bak_redis_conn *conn, redisReply **out, struct bak_error *err);
int bak_redis_raise(const struct bak_redis_conn *conn, const redisReply *reply,
		    struct bak_error *err);
/* The code that a server's error begins with, as in "NOPERM ...". */
bool bak_redis_is_error(const redisReply *reply, const char *code);
void bak_redis_free_reply(redisReply **reply); /* for BAK_AUTO */

/* Bytes as they come, once all replies are read: at least one, at most len; 0 at the end. */
int bak_redis_read(struct bak_redis_conn *conn, void *p, size_t len, size_t *out_n,
		   struct bak_error *err);
int bak_redis_write(struct bak_redis_conn *conn, const void *p, size_t len, struct bak_error *err);
/* How long a read or an answer may take from now on. */
void bak_redis_set_timeout(struct bak_redis_conn *conn, uint64_t ms);

/* --- tls.c --- */

struct bak_redis_tls;
/* A TLS client on fd, which stays the caller's. name: what the certificate must be for. */
int bak_redis_tls_new(const struct bak_store_conf *conf, const char *name, int fd,
		      struct bak_redis_tls **out, struct bak_error *err);
void bak_redis_tls_free(struct bak_redis_tls *tls);
/* > 0 bytes; 0 end; -1 with *out_events the poll(2) events to wait for, or 0 and err filled. */
ssize_t bak_redis_tls_read(struct bak_redis_tls *tls, void *p, size_t len, short *out_events,
			   struct bak_error *err);
ssize_t bak_redis_tls_write(struct bak_redis_tls *tls, const void *p, size_t len, short *out_events,
			    struct bak_error *err);
/* 1 done, -1 as above. */
int bak_redis_tls_handshake(struct bak_redis_tls *tls, short *out_events, struct bak_error *err);

/* --- info.c --- */

struct bak_redis_info {
	bool valkey, cluster, replica, sentinel;
	unsigned major, minor;
	char version[32];
	char master[320]; /* of a replica: host:port */
	bool aof;
	uint64_t used_memory, max_memory;
	unsigned n_modules;
	char modules[256]; /* names */
};
int bak_redis_info(struct bak_redis_conn *conn, struct bak_redis_info *out, struct bak_error *err);
const char *bak_redis_product(const struct bak_redis_info *info); /* "Redis", "Valkey" */
/* A field of an INFO section, as text; false when it is not there. */
bool bak_redis_field(const char *text, const char *name, char *out, size_t len);
/* INFO <section>; to free. */
int bak_redis_info_text(struct bak_redis_conn *conn, const char *section, char **out,
			struct bak_error *err);
/* CONFIG GET of one setting: 1 and its text, 0 there is none or we may not ask. To free. */
int bak_redis_config_get(struct bak_redis_conn *conn, const char *name, char **out,
			 struct bak_error *err);
int bak_redis_config_set(struct bak_redis_conn *conn, const char *name, const char *value,
			 struct bak_error *err);

struct bak_redis_keyspace {
	size_t n;
	struct bak_redis_db {
		uint64_t number, keys, expires;
	} * dbs;
};
int bak_redis_keyspace(struct bak_redis_conn *conn, struct bak_redis_keyspace *out,
		       struct bak_error *err);
void bak_redis_keyspace_release(struct bak_redis_keyspace *keyspace);
/* Zero when the database is empty. */
struct bak_redis_db bak_redis_keyspace_db(const struct bak_redis_keyspace *keyspace,
					  uint64_t number);

/* Whether that server can read an RDB file of that kind; why says which could. */
bool bak_redis_can_read(const struct bak_redis_info *info, bool valkey_head, unsigned version,
			char *why, size_t len);
/* Who writes such files: "Redis 7.0". */
const char *bak_redis_writers_of(bool valkey_head, unsigned version);

/* --- find.c --- */

/* The store's own connection, made when it is not there or has failed; sentinels are asked where it leads. */
int bak_redis_need(struct bak_redis *redis, struct bak_error *err);
/* A cluster's primaries, by their first slot. */
#define BAK_REDIS_SLOTS 16384
struct bak_redis_nodes {
	size_t n;
	struct bak_redis_node {
		struct bak_redis_address address;
		unsigned first_slot;
		size_t number; /* 1 to n */
	} * nodes;
	uint16_t owner[BAK_REDIS_SLOTS]; /* of each slot, the node's number; 0: nobody */
};
int bak_redis_nodes(struct bak_redis *redis, struct bak_redis_nodes *out, struct bak_error *err);
/* Of what CLUSTER NODES answers, which it cuts up. To release, whatever it answers. */
int bak_redis_nodes_parse(const struct bak_redis *redis, char *text, struct bak_redis_nodes *out,
			  struct bak_error *err);
void bak_redis_nodes_release(struct bak_redis_nodes *nodes);
/* Whether slots move to or from that node. No other one knows it. */
int bak_redis_moves_slots(struct bak_redis_conn *conn, bool *out, struct bak_error *err);

/* --- backup.c --- */

/* The one file of a snapshot of one server. */
#define BAK_REDIS_FILE "dump.rdb"
int bak_redis_backup(struct bak_redis *redis, struct bak_writer *writer, json_t *facts,
		     struct bak_error *err);
int bak_redis_import(struct bak_redis *redis, const char *path, struct bak_writer *writer,
		     json_t *facts, struct bak_error *err);
/* Has the server write its own data file, and waits for that. */
int bak_redis_save_file(struct bak_redis_conn *conn, const struct bak_store_env *env,
			struct bak_error *err);

/* --- saver.c --- */

/* By the option `databases`. */
bool bak_redis_wants_db(const struct bak_redis *redis, uint64_t db);
/* One RDB file on its way into a snapshot. Set redis, writer and whole; the rest is zero. */
struct bak_redis_saver {
	const struct bak_redis *redis;
	struct bak_writer *writer;
	bool whole;          /* whatever the option says */
	struct bak_rdb *rdb; /* of what is stored */
	struct bak_rdb_filter *filter;
};
int bak_redis_saver_begin(struct bak_redis_saver *saver, const char *name, struct bak_error *err);
int bak_redis_saver_feed(struct bak_redis_saver *saver, const void *p, size_t len,
			 struct bak_error *err);
/* Only what is whole comes to its end. */
int bak_redis_saver_end(struct bak_redis_saver *saver, struct bak_error *err);
/* For the manifest. */
int bak_redis_saver_note(const struct bak_redis_saver *saver, json_t *facts, const char *name,
			 struct bak_error *err);
void bak_redis_saver_release(struct bak_redis_saver *saver);

/* --- sync.c --- */

/* 1 done; 0 the server will not (err), and nothing was fed; -1. */
int bak_redis_sync(struct bak_redis_conn *conn, struct bak_redis_saver *saver,
		   struct bak_error *err);

/* --- scan.c --- */

/* Every key asked for one by one, as an RDB file. */
int bak_redis_scan(struct bak_redis_conn *conn, const struct bak_redis_info *info,
		   struct bak_redis_saver *saver, struct bak_error *err);

/* --- master.c --- */

/* Serves bytes to a target as its master would. */
struct bak_redis_master;
/* Listens where the target, that conn leads to, can reach us. */
int bak_redis_master_new(const struct bak_redis *redis, struct bak_redis_conn *conn,
			 struct bak_redis_master **out, struct bak_error *err);
void bak_redis_master_free(struct bak_redis_master *master);
const char *bak_redis_master_host(const struct bak_redis_master *master);
unsigned bak_redis_master_port(const struct bak_redis_master *master);
/* Waits for the target and does the handshake. BAK_UNAVAILABLE: nobody came in time. */
int bak_redis_master_accept(struct bak_redis_master *master, uint64_t size, struct bak_error *err);
/* The next bytes of the file. -1 also when the target has given up. */
int bak_redis_master_send(struct bak_redis_master *master, const void *p, size_t len,
			  struct bak_error *err);
/* Takes what the target says, keeps the link alive, waits at most ms. -1: it has given up. */
int bak_redis_master_tend(struct bak_redis_master *master, int ms, struct bak_error *err);

/* What SCAN answers: a cursor and keys. */
bool bak_redis_is_page(const redisReply *reply);

/* --- keyset.c --- */

/* Keys that were seen, by a hash: about 50 bytes each. */
struct bak_redis_keyset {
	struct bak_place_set places;
	struct bak_sha256 sha;
};
int bak_redis_keyset_init(struct bak_redis_keyset *set, struct bak_error *err);
/* 1 it is new, 0 not, -1. */
int bak_redis_keyset_add(struct bak_redis_keyset *set, uint64_t db, const void *name, size_t len,
			 struct bak_error *err);
bool bak_redis_keyset_has(struct bak_redis_keyset *set, uint64_t db, const void *name, size_t len);
void bak_redis_keyset_release(struct bak_redis_keyset *set);

/* --- doctor.c --- */

int bak_redis_doctor(struct bak_redis *redis, const struct bak_checkup *checkup,
		     struct bak_error *err);

#endif
