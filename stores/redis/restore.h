/*
 * The parts of restoring: which keys (choice.c), the snapshot's files (dump.c), a server that copies
 * them from us (replica.c, master.c), and commands: values cut out and put with RESTORE (load.c),
 * into unused databases that are then exchanged (exchange.c), or to the nodes of a cluster
 * (cluster.c). What restores that were killed left behind is in leftover.c.
 */
#ifndef BAK_STORES_REDIS_RESTORE_H
#define BAK_STORES_REDIS_RESTORE_H

#include "stores/redis/redis.h"

/* --- choice.c --- */

/* Digits and nothing else. */
bool bak_redis_is_number(const char *text);
/* Which keys, by the wishes key, db and key-type: of each kind that is given one must match. */
int bak_redis_choice_check(const struct bak_restore_from *from, struct bak_error *err);
bool bak_redis_choice_takes(const struct bak_restore_from *from, const struct bak_rdb_key *key);

/* --- dump.c --- */

/* The files of a snapshot, each read to its end and sound. */
struct bak_redis_dump {
	size_t n;
	struct bak_redis_file {
		struct bak_found found;
		struct bak_payload_reader reader;
		struct bak_rdb *rdb; /* after its end: the stats */
	} * files;
	/* Of all together; the newest version, and opaque if one is. dbs is owned here. */
	struct bak_rdb_stats stats;
	uint64_t expired; /* keys whose time is over */
	bool part;        /* not all of the snapshot: other keys stay as they are */
	/* The databases that this is about, if it is not about all: of the store's option and those
	 * that the snapshot was made of. Others are left alone. */
	bool some;
	const struct bak_redis *redis;
	json_t *saved; /* array of numbers, or NULL */
};
/* Releases what was there even if it fails. */
int bak_redis_dump_open(const struct bak_redis *redis, const struct bak_restore_from *from,
			struct bak_redis_dump *out, struct bak_error *err);
void bak_redis_dump_release(struct bak_redis_dump *dump);
bool bak_redis_dump_is_about(const struct bak_redis_dump *dump, uint64_t db);
static inline const struct bak_rdb_stats *bak_redis_file_stats(const struct bak_redis_file *file)
{
	return bak_rdb_stats(file->rdb);
}

/* --- a restore under way --- */

struct bak_redis_restore {
	struct bak_redis *redis;
	const struct bak_restore_from *from;
	const struct bak_redis_info *info; /* of the target */
	struct bak_redis_dump *dump;
	struct bak_redis_keyspace before;
	json_t *state;
};
int bak_redis_restore(struct bak_redis *redis, const struct bak_restore_from *from, json_t *state,
		      struct bak_error *err);
/* Waits until that server has on its disk what it has in memory; warns when it has not. */
void bak_redis_persist(const struct bak_redis *redis, struct bak_redis_conn *conn, bool aof);
/* Whether a server can read all files. */
int bak_redis_check_files(const struct bak_redis_dump *dump, const struct bak_redis_info *info,
			  struct bak_error *err);
/* Whether a server with that maxmemory, 0 for none, has room. */
int bak_redis_check_room(const struct bak_redis_dump *dump, uint64_t max_memory,
			 struct bak_error *err);
/* "before: 5 keys in 2 databases" into the log. */
void bak_redis_log_keys(const struct bak_redis *redis, const char *when,
			const struct bak_redis_keyspace *keyspace);

/* --- replica.c --- */

/* The target becomes our replica, copies the one file, and is its own master again: 1 done, 0 that
 * way is closed (err) and nothing was changed, -1. */
int bak_redis_replicate(struct bak_redis_restore *r, struct bak_error *err);

/* --- load.c --- */

/* A connection that keys go to: the server, or a primary of a cluster. */
struct bak_redis_link {
	struct bak_redis_conn *conn; /* borrowed */
	bool selected;
	uint64_t db;
	unsigned owed;
	size_t sent;
};
int bak_redis_link_select(struct bak_redis_link *link, uint64_t db, struct bak_error *err);
/* Sent without waiting; answers are read when many are owed. A refusal is an error. */
int bak_redis_link_send(struct bak_redis_link *link, int argc, const char **argv,
			const size_t *lens, struct bak_error *err);
int bak_redis_link_drain(struct bak_redis_link *link, struct bak_error *err);

struct bak_redis_loader {
	const struct bak_redis_restore *restore;
	struct bak_redis_link *links;
	size_t n_links;
	/* May be NULL. Which link a key goes to; which database; and who else wants to know. */
	size_t (*route)(void *ctx, const void *name, size_t len);
	uint64_t (*place)(void *ctx, uint64_t db);
	int (*note)(void *ctx, const struct bak_rdb_key *key, struct bak_error *err);
	void *ctx;
	bool cancellable;
	bool dry; /* nothing is sent: only noted */
	/* All libraries of functions, as FUNCTION RESTORE takes them, and of which version. */
	struct bak_buf functions;
	unsigned functions_version;
	uint64_t loaded, expired;
};
/* All files of the dump: the keys that the restore wants, but those whose time is over. */
int bak_redis_load(struct bak_redis_loader *loader, struct bak_error *err);
/* FUNCTION RESTORE or FLUSH, as words for a link; 0: there is nothing to do. The words live as long
 * as the loader. */
int bak_redis_function_words(struct bak_redis_loader *loader, const char *words[4], size_t lens[4]);
void bak_redis_loader_release(struct bak_redis_loader *loader);
/* Parts of a snapshot, to where they belong. */
int bak_redis_load_some(struct bak_redis_restore *r, struct bak_redis_loader *loader,
			struct bak_error *err);

/* --- exchange.c, cluster.c --- */

int bak_redis_exchange(struct bak_redis_restore *r, struct bak_error *err);
/* Into a cluster, all or some. */
int bak_redis_spread(struct bak_redis_restore *r, struct bak_error *err);
/* The slot of a key, of 16384. */
unsigned bak_redis_slot(const void *name, size_t len);

/* --- leftover.c --- */

/* Marks that tell what a restore that was killed left behind; set before anything is changed. A
 * replica of ours has its settings from before in `masteruser`, where nobody looks for it as long as
 * it has no primary of its own; a database that is being filled has a key. */
#define BAK_REDIS_MARK "bakfs-restore"

struct bak_redis_settings {
	char *diskless, *tls, *user; /* NULL: untouched */
};
/* Reads and marks, and back again. */
int bak_redis_settings_change(struct bak_redis_conn *conn, struct bak_redis_settings *out,
			      struct bak_error *err);
int bak_redis_settings_restore(struct bak_redis_conn *conn, struct bak_redis_settings *settings,
			       struct bak_error *err);
void bak_redis_settings_release(struct bak_redis_settings *settings);
/* Names the connection, and what the mark of a database that it fills says. */
int bak_redis_mark_name(struct bak_redis_conn *conn, char out[64], struct bak_error *err);
/* Before a backup or restore: the server is let go, databases are emptied. */
int bak_redis_clean_up(struct bak_redis *redis, struct bak_error *err);
/* The same to a doctor, who changes nothing. True: it is a replica of a bakfs that is gone. */
bool bak_redis_tell_leftovers(struct bak_redis *redis, const struct bak_checkup *checkup);

#endif
