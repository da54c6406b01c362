/*
 * Restoring with commands, where a server cannot copy from us: each value is cut out of the file and
 * put there with RESTORE. A value passes through our memory as a whole.
 */
#include "stores/redis/restore.h"

#include "stores/redis/rdb_crc.h"
#include "stores/redis/rdb_grammar.h"

#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Answers are read at the latest when so many are owed, or so many bytes were sent. */
#define OWED_MAX 128
#define SENT_MAX (4u << 20)
/* The first major version with libraries of functions. */
#define FIRST_WITH_FUNCTIONS 7

/* --- a link --- */

int bak_redis_link_drain(struct bak_redis_link *link, struct bak_error *err)
{
	while (link->owed) {
		BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;

		if (bak_redis_reply(link->conn, &reply, err) < 0)
			return -1;
		link->owed--;
		if (bak_redis_raise(link->conn, reply, err) < 0)
			return -1;
	}
	link->sent = 0;
	return 0;
}

int bak_redis_link_select(struct bak_redis_link *link, uint64_t db, struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;
	char number[24];

	if (link->selected && link->db == db)
		return 0;
	if (bak_redis_link_drain(link, err) < 0)
		return -1;
	snprintf(number, sizeof number, "%" PRIu64, db);
	if (bak_redis_do(link->conn, &reply, err, "SELECT", number, NULL) < 0)
		return -1;
	link->selected = true;
	link->db = db;
	return 0;
}

int bak_redis_link_send(struct bak_redis_link *link, int argc, const char **argv,
			const size_t *lens, struct bak_error *err)
{
	if (bak_redis_send(link->conn, argc, argv, lens, err) < 0)
		return -1;
	link->owed++;
	for (int i = 0; i < argc; i++)
		link->sent += lens[i];
	return link->owed == OWED_MAX || link->sent > SENT_MAX ? bak_redis_link_drain(link, err)
							       : 0;
}

/* --- a key --- */

/* What a file's parser tells comes here. */
struct load {
	struct bak_redis_loader *loader;
	unsigned version; /* RDB version of the payloads */
	bool functions;   /* of this file; nodes of a cluster have the same ones each */
	int64_t now_ms;
	/* The key under way. */
	bool wanted, is_function;
	struct bak_rdb_key key;
	struct bak_buf name, payload;
};

/* Version and sum behind what DUMP would have given. */
static int seal(struct bak_buf *payload, unsigned version, struct bak_error *err)
{
	const uint8_t bytes[2] = {(uint8_t)version, (uint8_t)(version >> 8)};
	uint64_t sum;

	if (bak_buf_append(payload, bytes, 2) < 0)
		return bak_error_nomem(err);
	sum = htole64(bak_rdb_crc(0, payload->p, payload->len));
	return bak_buf_append(payload, &sum, 8) < 0 ? bak_error_nomem(err) : 0;
}

static int send_key(struct load *l, struct bak_error *err)
{
	struct bak_redis_loader *loader = l->loader;
	const char *name = l->name.len ? (const char *)l->name.p : "";
	size_t at = loader->route ? loader->route(loader->ctx, name, l->name.len) : 0;
	uint64_t db = loader->place ? loader->place(loader->ctx, l->key.db) : l->key.db;
	char until[24];
	const char *words[] = {"RESTORE", name,    until, (const char *)l->payload.p,
			       "REPLACE", "ABSTTL"};

	snprintf(until, sizeof until, "%" PRId64, l->key.expires ? l->key.expires_ms : 0);
	const size_t lens[] = {7, l->name.len, strlen(until), l->payload.len, 7, 6};
	loader->loaded++;
	return bak_redis_link_select(&loader->links[at], db, err) < 0 ||
			       bak_redis_link_send(&loader->links[at], 6, words, lens, err) < 0
		       ? bak_error_wrap(err, "RESTORE")
		       : 0;
}

/* --- what the file holds --- */

static int on_function(struct load *l, struct bak_error *err)
{
	const uint8_t op = BAK_RDB_OP_FUNCTION;

	l->wanted = l->functions;
	if (l->wanted && bak_buf_append(&l->loader->functions, &op, 1) < 0)
		return bak_error_nomem(err);
	return 0;
}

static bool is_wanted(struct load *l, const struct bak_rdb_key *key)
{
	const struct bak_redis_restore *r = l->loader->restore;

	if (!bak_redis_dump_is_about(r->dump, key->db) || !bak_redis_choice_takes(r->from, key))
		return false;
	if (!key->expires || key->expires_ms > l->now_ms)
		return true;
	l->loader->expired++;
	return false;
}

static int on_key(void *ctx, const struct bak_rdb_key *key, struct bak_error *err)
{
	struct load *l = ctx;

	l->is_function = key->class == BAK_RDB_FUNCTION;
	if (l->is_function)
		return on_function(l, err);
	l->wanted = is_wanted(l, key);
	if (!l->wanted)
		return 0;
	l->key = *key;
	l->name.len = l->payload.len = 0;
	if (bak_buf_append(&l->name, key->name, key->name_len) < 0 ||
	    bak_buf_append(&l->payload, &key->type, 1) < 0)
		return bak_error_nomem(err);
	return l->loader->note ? l->loader->note(l->loader->ctx, key, err) : 0;
}

static int on_value(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	struct load *l = ctx;

	if (!l->wanted)
		return 0;
	return bak_buf_append(l->is_function ? &l->loader->functions : &l->payload, p, len) < 0
		       ? bak_error_nomem(err)
		       : 0;
}

static int on_key_end(void *ctx, struct bak_error *err)
{
	struct load *l = ctx;

	if (!l->wanted || l->is_function || l->loader->dry)
		return 0;
	return seal(&l->payload, l->version, err) < 0 ? -1 : send_key(l, err);
}

/* --- all of it --- */

static int read_file(struct load *l, struct bak_payload_reader *reader, struct bak_error *err)
{
	const struct bak_rdb_events events = {
		.ctx = l, .key = on_key, .value = on_value, .key_end = on_key_end};
	struct bak_rdb *rdb;
	const void *p;
	size_t len;
	int rc;

	if (bak_rdb_new(&events, &rdb, err) < 0)
		return -1;
	while ((rc = bak_payload_give(reader, &p, &len, err)) > 0) {
		if ((l->loader->cancellable && bak_store_check_cancelled(reader->env, err) < 0) ||
		    bak_rdb_feed(rdb, p, len, err) < 0) {
			rc = -1;
			break;
		}
	}
	if (rc == 0)
		rc = bak_rdb_end(rdb, err);
	bak_rdb_free(rdb);
	return rc;
}

static int load_file(struct bak_redis_loader *loader, struct bak_redis_file *file,
		     struct bak_error *err)
{
	const struct bak_rdb_stats *stats = bak_redis_file_stats(file);
	struct load l = {.loader = loader,
			 .version = stats->version,
			 .functions = !loader->restore->dump->part && !loader->functions.len,
			 .now_ms = (int64_t)time(NULL) * 1000};
	int rc = read_file(&l, &file->reader, err);

	if (l.functions && loader->functions.len)
		loader->functions_version = stats->version;
	bak_buf_release(&l.name);
	bak_buf_release(&l.payload);
	return rc;
}

int bak_redis_load(struct bak_redis_loader *loader, struct bak_error *err)
{
	struct bak_redis_dump *dump = loader->restore->dump;

	if (dump->stats.opaque)
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "RDB version %u can only be restored as a whole and by "
				     "replication: it has records that are not known here",
				     dump->stats.version);
	loader->loaded = loader->expired = 0;
	loader->functions.len = 0;
	for (size_t i = 0; i < dump->n; i++) {
		dump->files[i].reader.at = 0;
		if (load_file(loader, &dump->files[i], err) < 0)
			return -1;
	}
	for (size_t i = 0; i < loader->n_links; i++) {
		if (bak_redis_link_drain(&loader->links[i], err) < 0)
			return bak_error_wrap(err, "RESTORE");
	}
	if (!loader->functions.len)
		return 0;
	return seal(&loader->functions, loader->functions_version, err);
}

int bak_redis_function_words(struct bak_redis_loader *loader, const char *words[4], size_t lens[4])
{
	/* Of a server of which only some databases are meant the other libraries stay. */
	const char *how = loader->restore->dump->some ? "REPLACE" : "FLUSH";
	int n = 0;

	if (loader->restore->info->major < FIRST_WITH_FUNCTIONS)
		return 0;
	if (!loader->functions.len && loader->restore->dump->some)
		return 0;
	words[n] = "FUNCTION", lens[n++] = 8;
	if (!loader->functions.len) {
		words[n] = "FLUSH", lens[n++] = 5;
		return n;
	}
	words[n] = "RESTORE", lens[n++] = 7;
	words[n] = (const char *)loader->functions.p, lens[n++] = loader->functions.len;
	words[n] = how, lens[n++] = strlen(how);
	return n;
}

void bak_redis_loader_release(struct bak_redis_loader *loader)
{
	bak_buf_release(&loader->functions);
}

int bak_redis_load_some(struct bak_redis_restore *r, struct bak_redis_loader *loader,
			struct bak_error *err)
{
	json_object_set_new(r->state, "unchanged", json_true());
	if (bak_store_no_return(r->redis->env, err) < 0)
		return -1;
	int rc = bak_redis_load(loader, err);
	if (loader->loaded)
		json_object_del(r->state, "unchanged");
	if (rc < 0)
		return -1;
	if (!loader->loaded)
		return bak_error_set(err, BAK_NOT_FOUND, "the snapshot has no such key%s",
				     loader->expired ? " that has not expired" : "");
	bak_store_log(r->redis->env, "%" PRIu64 " keys restored; %" PRIu64 " had expired already",
		      loader->loaded, loader->expired);
	return 0;
}
