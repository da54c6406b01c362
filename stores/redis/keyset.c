/* Which keys were seen: see redis.h. */
#include "stores/redis/redis.h"

#include <string.h>

int bak_redis_keyset_init(struct bak_redis_keyset *set, struct bak_error *err)
{
	*set = (struct bak_redis_keyset){.places = {.n = 0}};
	return bak_sha256_init(&set->sha, err);
}

void bak_redis_keyset_release(struct bak_redis_keyset *set)
{
	bak_sha256_release(&set->sha);
	bak_place_set_release(&set->places);
}

/* A hash of it: names may be long, and there may be many. */
static struct bak_place place_of(struct bak_redis_keyset *set, uint64_t db, const void *name,
				 size_t len)
{
	uint8_t digest[BAK_SHA256_LEN];
	struct bak_place place;

	bak_sha256_begin(&set->sha);
	bak_sha256_update(&set->sha, &db, sizeof db);
	bak_sha256_update(&set->sha, name, len);
	bak_sha256_final(&set->sha, digest);
	memset(&place, 0, sizeof place);
	memcpy(&place, digest, sizeof place);
	return place;
}

int bak_redis_keyset_add(struct bak_redis_keyset *set, uint64_t db, const void *name, size_t len,
			 struct bak_error *err)
{
	const struct bak_place place = place_of(set, db, name, len);
	int rc = bak_place_set_add(&set->places, &place);

	return rc < 0 ? bak_error_nomem(err) : rc;
}

bool bak_redis_keyset_has(struct bak_redis_keyset *set, uint64_t db, const void *name, size_t len)
{
	const struct bak_place place = place_of(set, db, name, len);

	return bak_place_set_has(&set->places, &place);
}
