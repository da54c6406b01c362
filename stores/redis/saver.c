/*
 * One RDB file on its way into a snapshot: checked and counted while it streams, without the
 * databases that nobody wants, and what the manifest says of it.
 */
#include "stores/redis/redis.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* --- which databases --- */

bool bak_redis_wants_db(const struct bak_redis *redis, uint64_t db)
{
	const char *number;

	if (!bak_store_get_item(redis->conf, "databases", 0))
		return true;
	for (size_t i = 0; (number = bak_store_get_item(redis->conf, "databases", i)); i++) {
		if (strtoull(number, NULL, 10) == db)
			return true;
	}
	return false;
}

/* --- the file --- */

static bool wants(void *ctx, uint64_t db)
{
	const struct bak_redis_saver *saver = ctx;

	return bak_redis_wants_db(saver->redis, db);
}

static int take(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	struct bak_redis_saver *saver = ctx;

	if (bak_rdb_feed(saver->rdb, p, len, err) < 0)
		return -1;
	return bak_writer_data(saver->writer, p, len, err);
}

int bak_redis_saver_begin(struct bak_redis_saver *saver, const char *name, struct bak_error *err)
{
	const struct bak_rdb_filter_conf conf = {.ctx = saver, .wants = wants, .take = take};
	bool some = bak_store_get_item(saver->redis->conf, "databases", 0);
	struct bak_source_inode inode;

	bak_payload_inode(&inode, BAK_TYPE_FILE, 0600);
	if (bak_rdb_new(NULL, &saver->rdb, err) < 0 ||
	    (some && !saver->whole && bak_rdb_filter_new(&conf, &saver->filter, err) < 0))
		return -1;
	return bak_writer_file(saver->writer, name, &inode, BAK_HINT_NONE, err);
}

int bak_redis_saver_feed(struct bak_redis_saver *saver, const void *p, size_t len,
			 struct bak_error *err)
{
	if (bak_store_check_cancelled(saver->redis->env, err) < 0)
		return -1;
	return saver->filter ? bak_rdb_filter_feed(saver->filter, p, len, err)
			     : take(saver, p, len, err);
}

int bak_redis_saver_end(struct bak_redis_saver *saver, struct bak_error *err)
{
	if ((saver->filter && bak_rdb_filter_end(saver->filter, err) < 0) ||
	    bak_rdb_end(saver->rdb, err) < 0)
		return -1;
	return bak_writer_file_end(saver->writer, NULL, err);
}

void bak_redis_saver_release(struct bak_redis_saver *saver)
{
	bak_rdb_filter_free(saver->filter);
	bak_rdb_free(saver->rdb);
}

/* --- facts --- */

static json_t *db_json(const struct bak_rdb_db *db)
{
	json_t *types = json_object();

	for (size_t i = 0; i < BAK_RDB_N_CLASSES; i++) {
		if (db->types[i])
			json_object_set_new(types, bak_rdb_class_names[i],
					    json_integer((json_int_t)db->types[i]));
	}
	return json_pack("{s:I, s:I, s:o}", "keys", (json_int_t)db->keys, "expires",
			 (json_int_t)db->expires, "types", types);
}

/* Several files of a cluster have each a part of database 0. */
static int add_counts(json_t *counts, const struct bak_rdb_stats *stats)
{
	int rc = 0;

	for (size_t i = 0; i < stats->n_dbs; i++) {
		char name[40];

		snprintf(name, sizeof name, "db%" PRIu64 " keys", stats->dbs[i].number);
		json_int_t before = json_integer_value(json_object_get(counts, name));
		rc |= json_object_set_new(counts, name,
					  json_integer(before + (json_int_t)stats->dbs[i].keys));
	}
	if (stats->functions)
		rc |= json_object_set_new(counts, "functions",
					  json_integer((json_int_t)stats->functions));
	return rc;
}

/* What a file says of itself. */
static json_t *file_json(const char *name, const struct bak_rdb_stats *stats)
{
	json_t *dbs = json_object();
	char number[24];
	json_t *json = json_pack("{s:s, s:I, s:s, s:I, s:b, s:b, s:I}", "name", name, "bytes",
				 (json_int_t)stats->bytes, "format",
				 stats->valkey ? "VALKEY" : "REDIS", "rdb_version",
				 (json_int_t)stats->version, "checksum", stats->checksum, "counted",
				 !stats->opaque, "functions", (json_int_t)stats->functions);

	for (size_t i = 0; i < stats->n_dbs && !stats->opaque; i++) {
		snprintf(number, sizeof number, "%" PRIu64, stats->dbs[i].number);
		json_object_set_new(dbs, number, db_json(&stats->dbs[i]));
	}
	json_object_set_new(json, "databases", dbs);
	if (stats->used_memory)
		json_object_set_new(json, "used_memory",
				    json_integer((json_int_t)stats->used_memory));
	if (stats->created) {
		char text[BAK_TIME_LEN + 1];

		bak_time_format(stats->created, text);
		json_object_set_new(json, "instant", json_string(text));
	}
	if (*stats->server_version)
		json_object_set_new(json, "written_by", json_string(stats->server_version));
	return json;
}

/* Which databases it is of, if not all. */
static int note_choice(const struct bak_redis_saver *saver, json_t *facts, struct bak_error *err)
{
	json_t *numbers = json_array();
	const char *number;
	int rc = 0;

	for (size_t i = 0; (number = bak_store_get_item(saver->redis->conf, "databases", i)); i++)
		rc |= json_array_append_new(numbers,
					    json_integer((json_int_t)strtoull(number, NULL, 10)));
	rc |= json_object_set_new(facts, "databases", numbers);
	return rc ? bak_error_nomem(err) : 0;
}

int bak_redis_saver_note(const struct bak_redis_saver *saver, json_t *facts, const char *name,
			 struct bak_error *err)
{
	const struct bak_rdb_stats *stats = bak_rdb_stats(saver->rdb);
	json_t *files = json_object_get(facts, "files"), *counts = json_object_get(facts, "counts");

	if (!files) {
		json_object_set_new(facts, "files", json_array());
		json_object_set_new(facts, "counts", json_object());
		files = json_object_get(facts, "files");
		counts = json_object_get(facts, "counts");
	}
	if (!files || !counts || json_array_append_new(files, file_json(name, stats)) < 0)
		return bak_error_nomem(err);
	if (stats->opaque)
		bak_store_warn(saver->redis->env,
			       "%s: RDB version %u has records that bakfs does not know: saved "
			       "whole, its checksum is right, but its keys are not counted",
			       name, stats->version);
	else if (add_counts(counts, stats) < 0)
		return bak_error_nomem(err);
	return saver->filter ? note_choice(saver, facts, err) : 0;
}
