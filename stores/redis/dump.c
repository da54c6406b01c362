/* The files of a snapshot that is restored: found, and read to their end before anything is touched.
 * Servers end themselves when a file turns out to be damaged. */
#include "stores/redis/restore.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* As many as a cluster can have primaries. */
#define FILES_MAX 16384

struct expired {
	int64_t now_ms;
	uint64_t n;
};

static int count_expired(void *ctx, const struct bak_rdb_key *key, struct bak_error *err)
{
	struct expired *expired = ctx;

	(void)err;
	expired->n += key->expires && key->expires_ms < expired->now_ms;
	return 0;
}

static int read_file(const struct bak_redis *redis, struct bak_redis_file *file,
		     struct bak_error *err)
{
	const void *p;
	size_t len;
	int rc;

	while ((rc = bak_payload_give(&file->reader, &p, &len, err)) > 0) {
		if (bak_store_check_cancelled(redis->env, err) < 0 ||
		    bak_rdb_feed(file->rdb, p, len, err) < 0)
			return -1;
	}
	file->reader.at = 0;
	return rc == 0 ? bak_rdb_end(file->rdb, err) : -1;
}

static int add_db(struct bak_rdb_stats *all, const struct bak_rdb_db *db, struct bak_error *err)
{
	size_t i;

	for (i = 0; i < all->n_dbs && all->dbs[i].number != db->number; i++)
		;
	if (i == all->n_dbs) {
		struct bak_rdb_db *dbs = realloc(all->dbs, (i + 1) * sizeof *dbs);

		if (!dbs)
			return bak_error_nomem(err);
		all->dbs = dbs;
		all->dbs[all->n_dbs++] = (struct bak_rdb_db){.number = db->number};
	}
	all->dbs[i].keys += db->keys;
	all->dbs[i].expires += db->expires;
	return 0;
}

static int merge(struct bak_redis_dump *dump, const struct bak_rdb_stats *stats,
		 struct bak_error *err)
{
	struct bak_rdb_stats *all = &dump->stats;

	all->valkey |= stats->valkey;
	all->version = stats->version > all->version ? stats->version : all->version;
	all->opaque |= stats->opaque;
	all->fields_expire |= stats->fields_expire;
	all->bytes += stats->bytes;
	all->functions += stats->functions;
	all->used_memory += stats->used_memory;
	for (size_t i = 0; i < stats->n_dbs; i++) {
		if (bak_redis_dump_is_about(dump, stats->dbs[i].number) &&
		    add_db(all, &stats->dbs[i], err) < 0)
			return -1;
	}
	return 0;
}

static int open_file(const struct bak_redis *redis, const struct bak_restore_from *from,
		     uint64_t number, struct bak_redis_file *out, struct bak_error *err)
{
	struct bak_tree tree = {bak_repo_source(from->repo), from->snapshot};

	if (bak_folder_at(&tree, &from->snapshot->root.dir, number, &out->found, err) != 1 ||
	    out->found.entry.inode.type != BAK_TYPE_FILE)
		return bak_error_set(err, BAK_CORRUPT, "the snapshot should hold files alone");
	out->reader = (struct bak_payload_reader){
		.env = redis->env, .source = tree.source, .inode = &out->found.entry.inode};
	return 0;
}

static int check_files(const struct bak_redis *redis, struct bak_redis_dump *dump,
		       struct bak_error *err)
{
	struct expired expired = {.now_ms = (int64_t)time(NULL) * 1000};
	const struct bak_rdb_events events = {.ctx = &expired, .key = count_expired};
	uint64_t all = 0, before = 0;

	for (size_t i = 0; i < dump->n; i++)
		all += dump->files[i].reader.inode->size;
	for (size_t i = 0; i < dump->n; i++) {
		struct bak_redis_file *file = &dump->files[i];

		file->reader.all = all;
		file->reader.before = before;
		before += file->reader.inode->size;
		if (bak_rdb_new(&events, &file->rdb, err) < 0 || read_file(redis, file, err) < 0 ||
		    merge(dump, bak_redis_file_stats(file), err) < 0)
			return -1;
	}
	dump->expired = expired.n;
	return 0;
}

/* By the paths that were asked for, if any were. */
static bool is_asked_for(const struct bak_restore_from *from, const struct bak_entry *entry)
{
	for (size_t i = 0; i < from->n_only; i++) {
		if (strlen(from->only[i]) == entry->name_len &&
		    memcmp(from->only[i], entry->name, entry->name_len) == 0)
			return true;
	}
	return from->n_only == 0;
}

static int open_files(const struct bak_redis *redis, const struct bak_restore_from *from,
		      struct bak_redis_dump *dump, struct bak_error *err)
{
	uint64_t n = from->snapshot->root.totals.entries;

	if (n == 0 || n > FILES_MAX)
		return bak_error_set(err, BAK_CORRUPT, "the snapshot should hold files alone");
	dump->files = calloc((size_t)n, sizeof *dump->files);
	if (!dump->files)
		return bak_error_nomem(err);
	for (uint64_t i = 1; i <= n; i++) {
		struct bak_redis_file *file = &dump->files[dump->n++];

		if (open_file(redis, from, i, file, err) < 0)
			return -1;
		if (is_asked_for(from, &file->found.entry))
			continue;
		bak_found_release(&file->found);
		*file = (struct bak_redis_file){.rdb = NULL};
		dump->n--;
	}
	if (dump->n == 0)
		return bak_error_set(err, BAK_NOT_FOUND, "the snapshot has no such file");
	dump->part = dump->n < n || from->n_wishes;
	return 0;
}

int bak_redis_dump_open(const struct bak_redis *redis, const struct bak_restore_from *from,
			struct bak_redis_dump *out, struct bak_error *err)
{
	json_t *facts = bak_snapshot_facts(from->snapshot);

	*out = (struct bak_redis_dump){.redis = redis};
	if (!facts)
		return bak_error_nomem(err);
	out->saved = json_incref(json_object_get(facts, "databases"));
	json_decref(facts);
	out->some = json_is_array(out->saved) || bak_store_get_item(redis->conf, "databases", 0);
	if (open_files(redis, from, out, err) == 0 && check_files(redis, out, err) == 0)
		return 0;
	bak_redis_dump_release(out);
	return -1;
}

void bak_redis_dump_release(struct bak_redis_dump *dump)
{
	for (size_t i = 0; i < dump->n; i++) {
		bak_payload_reader_release(&dump->files[i].reader);
		bak_rdb_free(dump->files[i].rdb);
		bak_found_release(&dump->files[i].found);
	}
	free(dump->files);
	free(dump->stats.dbs);
	json_decref(dump->saved);
	*dump = (struct bak_redis_dump){.n = 0};
}

bool bak_redis_dump_is_about(const struct bak_redis_dump *dump, uint64_t db)
{
	size_t n = json_array_size(dump->saved);

	if (!bak_redis_wants_db(dump->redis, db))
		return false;
	for (size_t i = 0; i < n; i++) {
		if ((uint64_t)json_integer_value(json_array_get(dump->saved, i)) == db)
			return true;
	}
	return !json_is_array(dump->saved);
}
