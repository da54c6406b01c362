/* What a node says of its cluster. Input: the text. Slots belong to nodes that are there, nodes have
 * addresses and stand in order. */
#include "stores/redis/redis.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

static void check(const struct bak_redis_nodes *nodes)
{
	for (size_t i = 0; i < nodes->n; i++) {
		const struct bak_redis_node *node = &nodes->nodes[i];

		if (!node->address.host || !node->address.port || !node->number ||
		    node->number > nodes->n || (i && node[-1].first_slot > node->first_slot))
			abort();
	}
	for (size_t slot = 0; slot < BAK_REDIS_SLOTS; slot++) {
		if (nodes->owner[slot] > nodes->n)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	const struct bak_redis redis = {.conn = NULL};
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_redis_nodes nodes;
	char *text = malloc(len + 1);

	if (!text)
		abort();
	memcpy(text, p, len);
	text[len] = '\0';
	if (bak_redis_nodes_parse(&redis, text, &nodes, &err) == 0)
		check(&nodes);
	bak_redis_nodes_release(&nodes);
	free(text);
	return 0;
}
