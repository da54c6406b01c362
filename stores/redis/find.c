/* Which server: the one that is configured, the primary that sentinels name, a cluster's nodes. */
#include "stores/redis/redis.h"

#include <stdlib.h>
#include <string.h>

/* --- sentinels --- */

/* 1 it names the primary, 0 it knows none, -1. */
static int ask_sentinel(struct bak_redis *redis, const char *sentinel, const char *name,
			struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;
	struct bak_redis_address address;
	struct bak_redis_conn *conn = NULL;
	char text[300];
	bool tls = false;
	int rc;

	if (bak_redis_address_parse(sentinel, &address, &tls, err) < 0)
		return -1;
	rc = bak_redis_connect_sentinel(redis, &address, &conn, err);
	if (rc == 0)
		rc = bak_redis_do(conn, &reply, err, "SENTINEL", "get-master-addr-by-name", name,
				  NULL);
	bak_redis_disconnect(conn);
	bak_redis_address_release(&address);
	if (rc < 0)
		return -1;
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2) {
		bak_error_set(err, BAK_NOT_FOUND, "sentinel %s knows no primary called %s",
			      sentinel, name);
		return 0;
	}
	snprintf(text, sizeof text, strchr(reply->element[0]->str, ':') ? "[%s]:%s" : "%s:%s",
		 reply->element[0]->str, reply->element[1]->str);
	bak_redis_address_release(&redis->address);
	return bak_redis_address_parse(text, &redis->address, &tls, err) < 0 ? -1 : 1;
}

/* The first one that knows. */
static int find_primary(struct bak_redis *redis, struct bak_error *err)
{
	const char *name = bak_store_get(redis->conf, "master_name");
	const char *sentinel;

	for (size_t i = 0; (sentinel = bak_store_get_item(redis->conf, "sentinel", i)); i++) {
		if (ask_sentinel(redis, sentinel, name, err) > 0) {
			char text[300];

			bak_redis_address_text(&redis->address, text, sizeof text);
			bak_store_log(redis->env, "sentinel %s: the primary of %s is %s", sentinel,
				      name, text);
			return 0;
		}
		if (err->code == BAK_CANCELLED)
			return -1;
	}
	return bak_error_wrap(err, "no sentinel could say which server is the primary");
}

int bak_redis_need(struct bak_redis *redis, struct bak_error *err)
{
	if (redis->conn && !bak_redis_is_broken(redis->conn))
		return 0;
	bak_redis_disconnect(redis->conn);
	redis->conn = NULL;
	if (bak_store_get_item(redis->conf, "sentinel", 0) && find_primary(redis, err) < 0)
		return -1;
	return bak_redis_connect(redis, &redis->address, &redis->conn, err);
}

/* --- clusters --- */

static int by_slot(const void *a, const void *b)
{
	const struct bak_redis_node *x = a, *y = b;

	return x->first_slot < y->first_slot ? -1 : x->first_slot > y->first_slot;
}

/* "10.0.0.1:6379@16379,name": the host may be missing where the node knows its own name not. */
static int node_address(const struct bak_redis *redis, const char *text,
			struct bak_redis_address *out, struct bak_error *err)
{
	size_t len = strcspn(text, "@,");
	const char *colon = memrchr(text, ':', len);
	unsigned long port = colon ? strtoul(colon + 1, NULL, 10) : 0;
	const char *host = redis->address.host ? redis->address.host : "127.0.0.1";

	if (port == 0 || port > UINT16_MAX)
		return bak_error_set(err, BAK_UNAVAILABLE, "CLUSTER NODES makes no sense");
	out->path = NULL;
	out->host = colon == text ? strdup(host) : strndup(text, (size_t)(colon - text));
	out->port = (unsigned)port;
	return out->host ? 0 : bak_error_nomem(err);
}

/* "5", "0-5460", or "[5->-<id>]" for one that moves. */
static int take_slots(struct bak_redis_nodes *out, const char *word, struct bak_error *err)
{
	char *end;
	unsigned long first, last;

	if (*word == '[')
		return 0;
	first = last = strtoul(word, &end, 10);
	if (*end == '-')
		last = strtoul(end + 1, &end, 10);
	if (*end || end == word || first > last || last >= BAK_REDIS_SLOTS)
		return bak_error_set(err, BAK_UNAVAILABLE, "CLUSTER NODES makes no sense");
	for (unsigned long slot = first; slot <= last; slot++)
		out->owner[slot] = (uint16_t)out->n;
	return 0;
}

static int add_node(const struct bak_redis *redis, const char *address, const char *slots,
		    struct bak_redis_nodes *out, struct bak_error *err)
{
	struct bak_redis_node node = {.first_slot = (unsigned)strtoul(slots, NULL, 10)};

	if (node_address(redis, address, &node.address, err) < 0)
		return -1;
	struct bak_redis_node *nodes = realloc(out->nodes, (out->n + 1) * sizeof *nodes);
	if (!nodes) {
		bak_redis_address_release(&node.address);
		return bak_error_nomem(err);
	}
	out->nodes = nodes;
	node.number = ++out->n;
	nodes[node.number - 1] = node;
	return 0;
}

/* "<id> <address> <flags> <master> <ping> <pong> <epoch> <link> <slot> <slot>-<slot> ..." Primaries
 * with slots are taken; one that failed means that data is missing. */
static int take_node(const struct bak_redis *redis, char *line, struct bak_redis_nodes *out,
		     struct bak_error *err)
{
	char *words[9] = {NULL}, *save = NULL;

	for (size_t i = 0; i < 9; i++)
		words[i] = strtok_r(i ? NULL : line, " ", &save);
	/* Without slots of its own. */
	if (!words[8] || *words[8] == '[' || !strstr(words[2], "master"))
		return 0;
	if (strstr(words[2], "fail"))
		return bak_error_set(err, BAK_UNAVAILABLE,
				     "the cluster's node %s, with slots from %s on, has failed",
				     words[1], words[8]);
	if (add_node(redis, words[1], words[8], out, err) < 0)
		return -1;
	for (char *word = words[8]; word; word = strtok_r(NULL, " ", &save)) {
		if (take_slots(out, word, err) < 0)
			return -1;
	}
	return 0;
}

int bak_redis_nodes_parse(const struct bak_redis *redis, char *text, struct bak_redis_nodes *out,
			  struct bak_error *err)
{
	char *save = NULL;

	*out = (struct bak_redis_nodes){.n = 0};
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (take_node(redis, line, out, err) < 0)
			return -1;
	}
	if (out->n == 0)
		return bak_error_set(err, BAK_UNAVAILABLE, "the cluster has no primary with slots");
	qsort(out->nodes, out->n, sizeof *out->nodes, by_slot);
	return 0;
}

int bak_redis_nodes(struct bak_redis *redis, struct bak_redis_nodes *out, struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;

	*out = (struct bak_redis_nodes){.n = 0};
	if (bak_redis_do(redis->conn, &reply, err, "CLUSTER", "NODES", NULL) < 0)
		return -1;
	if (reply->type != REDIS_REPLY_STRING)
		return bak_error_set(err, BAK_UNAVAILABLE, "CLUSTER NODES makes no sense");
	return bak_redis_nodes_parse(redis, reply->str, out, err);
}

int bak_redis_moves_slots(struct bak_redis_conn *conn, bool *out, struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;

	if (bak_redis_do(conn, &reply, err, "CLUSTER", "NODES", NULL) < 0)
		return -1;
	*out = reply->type == REDIS_REPLY_STRING && strstr(reply->str, " [");
	return 0;
}

void bak_redis_nodes_release(struct bak_redis_nodes *nodes)
{
	for (size_t i = 0; i < nodes->n; i++)
		bak_redis_address_release(&nodes->nodes[i].address);
	free(nodes->nodes);
	*nodes = (struct bak_redis_nodes){.n = 0};
}
