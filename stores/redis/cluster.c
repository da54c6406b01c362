/*
 * Restoring into a cluster: each key goes to the primary of its slot, over what is there, and then
 * keys that the snapshot does not have are removed. There is no exchange in one step here: what can
 * be known beforehand is looked at before the first key is sent.
 */
#include "stores/redis/restore.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SCAN_COUNT "1000"

struct cluster {
	struct bak_redis_restore *r;
	struct bak_redis_nodes nodes;
	/* Both by a node's number less one. */
	struct bak_redis_link *links;
	struct target {
		struct bak_redis_info info;
		uint64_t evicted; /* before */
	} * targets;
	struct bak_redis_loader loader;
	struct bak_redis_keyset seen;
};

/* --- slots --- */

/* CRC-16/XMODEM: polynomial 0x1021, from 0. */
static unsigned crc16(const uint8_t *p, size_t len)
{
	unsigned crc = 0;

	while (len--) {
		crc ^= (unsigned)*p++ << 8;
		for (int bit = 0; bit < 8; bit++)
			crc = (crc << 1 ^ (crc & 0x8000 ? 0x1021 : 0)) & 0xffff;
	}
	return crc;
}

/* Of a name with a pair of braces, what is between the first ones, if that is something. */
unsigned bak_redis_slot(const void *name, size_t len)
{
	const uint8_t *p = name;
	const uint8_t *open = len ? memchr(p, '{', len) : NULL;
	const uint8_t *close = open ? memchr(open, '}', (size_t)(p + len - open)) : NULL;

	if (close && close > open + 1)
		return crc16(open + 1, (size_t)(close - open - 1)) % BAK_REDIS_SLOTS;
	return crc16(p, len) % BAK_REDIS_SLOTS;
}

static size_t route(void *ctx, const void *name, size_t len)
{
	const struct cluster *c = ctx;

	return c->nodes.owner[bak_redis_slot(name, len)] - 1u;
}

/* --- before the first key --- */

static int check_slots(const struct bak_redis_nodes *nodes, struct bak_error *err)
{
	for (unsigned slot = 0; slot < BAK_REDIS_SLOTS; slot++) {
		if (!nodes->owner[slot])
			return bak_error_set(err, BAK_REFUSED, "slot %u of the cluster has no node",
					     slot);
	}
	return 0;
}

static int count_evicted(struct bak_redis_conn *conn, uint64_t *out, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *text = NULL;
	char number[32];

	if (bak_redis_info_text(conn, "stats", &text, err) < 0)
		return -1;
	bak_redis_field(text, "evicted_keys", number, sizeof number);
	*out = strtoull(number, NULL, 10);
	return 0;
}

/* A cluster has database 0 and, if it is a Valkey 9, perhaps more. */
static int check_databases(struct cluster *c, struct bak_redis_link *link, struct bak_error *err)
{
	const struct bak_rdb_stats *stats = &c->r->dump->stats;

	for (size_t i = 0; i < stats->n_dbs; i++) {
		if (bak_redis_link_select(link, stats->dbs[i].number, err) == 0)
			continue;
		if (err->code != BAK_REFUSED)
			return -1;
		return bak_error_wrap(err,
				      "the cluster has no database %" PRIu64
				      " (option databases leaves it out)",
				      stats->dbs[i].number);
	}
	return 0;
}

static int open_node(struct cluster *c, const struct bak_redis_node *node, struct bak_error *err)
{
	struct bak_redis_link *link = &c->links[node->number - 1];
	struct target *target = &c->targets[node->number - 1];
	bool moves = false;

	if (bak_redis_connect(c->r->redis, &node->address, &link->conn, err) < 0 ||
	    bak_redis_moves_slots(link->conn, &moves, err) < 0)
		return -1;
	if (moves)
		return bak_error_set(err, BAK_REFUSED,
				     "the cluster moves slots from one node to another: wait "
				     "until that has ended");
	if (bak_redis_info(link->conn, &target->info, err) < 0 ||
	    bak_redis_check_files(c->r->dump, &target->info, err) < 0 ||
	    check_databases(c, link, err) < 0 ||
	    count_evicted(link->conn, &target->evicted, err) < 0)
		return -1;
	return 0;
}

/* Without a limit on one of them there is none for all. */
static uint64_t max_memory(const struct cluster *c)
{
	uint64_t all = 0;

	for (size_t i = 0; i < c->nodes.n; i++) {
		if (!c->targets[i].info.max_memory)
			return 0;
		all += c->targets[i].info.max_memory;
	}
	return all;
}

static int open_nodes(struct cluster *c, struct bak_error *err)
{
	if (bak_redis_nodes(c->r->redis, &c->nodes, err) < 0 || check_slots(&c->nodes, err) < 0)
		return -1;
	c->links = calloc(c->nodes.n, sizeof *c->links);
	c->targets = calloc(c->nodes.n, sizeof *c->targets);
	if (!c->links || !c->targets)
		return bak_error_nomem(err);
	for (size_t i = 0; i < c->nodes.n; i++) {
		if (open_node(c, &c->nodes.nodes[i], err) < 0)
			return -1;
	}
	return bak_redis_check_room(c->r->dump, max_memory(c), err);
}

/* --- what the snapshot does not have --- */

static int remove_page(struct cluster *c, struct bak_redis_link *link, const redisReply *keys,
		       uint64_t *removed, struct bak_error *err)
{
	for (size_t i = 0; i < keys->elements; i++) {
		const redisReply *key = keys->element[i];
		const char *words[] = {"UNLINK", key->str};
		const size_t lens[] = {6, key->len};

		if (key->type != REDIS_REPLY_STRING ||
		    bak_redis_keyset_has(&c->seen, link->db, key->str, key->len))
			continue;
		if (bak_redis_link_send(link, 2, words, lens, err) < 0)
			return -1;
		++*removed;
	}
	return bak_redis_link_drain(link, err);
}

static int remove_others(struct cluster *c, struct bak_redis_link *link, uint64_t db,
			 uint64_t *removed, struct bak_error *err)
{
	char cursor[24] = "0";

	if (bak_redis_link_select(link, db, err) < 0)
		return -1;
	do {
		BAK_AUTO(bak_redis_free_reply) redisReply *page = NULL;

		if (bak_redis_do(link->conn, &page, err, "SCAN", cursor, "COUNT", SCAN_COUNT,
				 NULL) < 0)
			return -1;
		if (!bak_redis_is_page(page))
			return bak_error_set(err, BAK_UNAVAILABLE,
					     "SCAN: the answer makes no sense");
		snprintf(cursor, sizeof cursor, "%s", page->element[0]->str);
		if (remove_page(c, link, page->element[1], removed, err) < 0)
			return -1;
	} while (strcmp(cursor, "0") != 0);
	return 0;
}

static int clean_node(struct cluster *c, size_t node, uint64_t *removed, struct bak_error *err)
{
	struct bak_redis_link *link = &c->links[node];
	struct bak_redis_keyspace dbs;
	int rc = bak_redis_keyspace(link->conn, &dbs, err);

	for (size_t i = 0; rc == 0 && i < dbs.n; i++) {
		if (bak_redis_dump_is_about(c->r->dump, dbs.dbs[i].number))
			rc = remove_others(c, link, dbs.dbs[i].number, removed, err);
	}
	bak_redis_keyspace_release(&dbs);
	return rc;
}

/* --- the whole --- */

static int note(void *ctx, const struct bak_rdb_key *key, struct bak_error *err)
{
	struct cluster *c = ctx;

	return bak_redis_keyset_add(&c->seen, key->db, key->name, key->name_len, err) < 0 ? -1 : 0;
}

static int put_functions(struct cluster *c, struct bak_error *err)
{
	const char *words[4];
	size_t lens[4];
	int n = bak_redis_function_words(&c->loader, words, lens);

	for (size_t i = 0; n && i < c->nodes.n; i++) {
		BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;

		if (bak_redis_argv(c->links[i].conn, n, words, lens, &reply, err) < 0)
			return -1;
	}
	return 0;
}

static int log_keys(struct cluster *c, const char *when, struct bak_error *err)
{
	uint64_t keys = 0;

	for (size_t i = 0; i < c->nodes.n; i++) {
		struct bak_redis_keyspace now;

		if (bak_redis_keyspace(c->links[i].conn, &now, err) < 0)
			return -1;
		for (size_t k = 0; k < now.n; k++)
			keys += now.dbs[k].keys;
		bak_redis_keyspace_release(&now);
	}
	bak_store_log(c->r->redis->env, "%s: %" PRIu64 " keys on %zu nodes", when, keys,
		      c->nodes.n);
	return 0;
}

/* A node with too little memory drops keys and says nothing. */
static int check_evicted(struct cluster *c, struct bak_error *err)
{
	for (size_t i = 0; i < c->nodes.n; i++) {
		uint64_t now;

		if (count_evicted(c->links[i].conn, &now, err) < 0)
			return -1;
		if (now > c->targets[i].evicted)
			return bak_error_set(err, BAK_NO_SPACE,
					     "validation: a node's maxmemory is too small: it "
					     "dropped %" PRIu64 " keys meanwhile",
					     now - c->targets[i].evicted);
	}
	return 0;
}

static int remove_unknown(struct cluster *c, struct bak_error *err)
{
	uint64_t removed = 0;

	for (size_t i = 0; i < c->nodes.n; i++) {
		if (clean_node(c, i, &removed, err) < 0)
			return -1;
	}
	bak_store_log(c->r->redis->env, "%" PRIu64 " keys that the snapshot does not have removed",
		      removed);
	return 0;
}

/* Answers that are owed are read, whatever they are. */
static void settle(struct cluster *c)
{
	struct bak_error ignored = BAK_ERROR_INIT;

	for (size_t i = 0; i < c->nodes.n; i++) {
		struct bak_redis_link *link = &c->links[i];

		while (link->owed && !bak_redis_is_broken(link->conn))
			bak_redis_link_drain(link, &ignored);
	}
}

/* Where old and new do not fit together, what the snapshot does not have goes first. */
static int load_tight(struct cluster *c, struct bak_error *err)
{
	bak_store_log(c->r->redis->env, "%s: keys that the snapshot does not have go first",
		      err->msg);
	settle(c);
	c->loader.dry = true;
	if (bak_redis_load(&c->loader, err) < 0 || remove_unknown(c, err) < 0)
		return -1;
	c->loader.dry = false;
	return bak_redis_load(&c->loader, err);
}

static int load_all(struct cluster *c, struct bak_error *err)
{
	json_object_set_new(c->r->state, "unchanged", json_true());
	if (bak_store_no_return(c->r->redis->env, err) < 0)
		return -1;
	int rc = bak_redis_load(&c->loader, err);
	if (c->loader.loaded || rc == 0)
		json_object_del(c->r->state, "unchanged");
	if (rc < 0 && err->code == BAK_NO_SPACE)
		rc = load_tight(c, err);
	if (rc < 0 || remove_unknown(c, err) < 0)
		return -1;
	bak_store_log(c->r->redis->env, "%" PRIu64 " keys restored", c->loader.loaded);
	return put_functions(c, err);
}

static int spread(struct cluster *c, struct bak_error *err)
{
	if (open_nodes(c, err) < 0 || log_keys(c, "before", err) < 0)
		return -1;
	c->loader.links = c->links;
	c->loader.n_links = c->nodes.n;
	if (c->r->dump->part) {
		if (bak_redis_load_some(c->r, &c->loader, err) < 0)
			return -1;
	} else {
		c->loader.note = note;
		if (load_all(c, err) < 0)
			return -1;
	}
	if (check_evicted(c, err) < 0 || log_keys(c, "after", err) < 0)
		return -1;
	for (size_t i = 0; i < c->nodes.n; i++)
		bak_redis_persist(c->r->redis, c->links[i].conn, c->targets[i].info.aof);
	return 0;
}

int bak_redis_spread(struct bak_redis_restore *r, struct bak_error *err)
{
	struct cluster *c = calloc(1, sizeof *c);
	int rc;

	if (!c)
		return bak_error_nomem(err);
	c->r = r;
	c->loader = (struct bak_redis_loader){.restore = r, .route = route, .ctx = c};
	rc = bak_redis_keyset_init(&c->seen, err);
	if (rc == 0)
		rc = spread(c, err);
	for (size_t i = 0; c->links && i < c->nodes.n; i++)
		bak_redis_disconnect(c->links[i].conn);
	bak_redis_loader_release(&c->loader);
	bak_redis_keyset_release(&c->seen);
	bak_redis_nodes_release(&c->nodes);
	free(c->links);
	free(c->targets);
	free(c);
	return rc;
}
