/* Where the rows of tables begin in a dump: see dump.h. */
#include "stores/postgresql/dump.h"

#include "engine/base/buf.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void see_place(void *ctx, enum bak_pg_text which, const uint8_t *p, size_t len)
{
	struct bak_pg_places *places = ctx;
	const struct bak_pg_archive *walk = &places->walk;

	(void)p;
	(void)len;
	if (which == BAK_PG_TEXT_ENTRY && walk->has_data) {
		if (bak_grow(&places->v, &places->cap, places->n, sizeof *places->v) < 0)
			places->no_memory = true;
		else
			places->v[places->n++] = (struct bak_pg_place){
				.id = walk->id, .field = bak_pg_archive_offset_at(walk)};
	} else if (which == BAK_PG_TEXT_BLOCK) {
		while (places->next < places->n && places->v[places->next].id != walk->id)
			places->next++;
		if (places->next < places->n)
			places->v[places->next].block = bak_pg_archive_block_at(walk);
	}
}

int bak_pg_places_see(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	struct bak_pg_places *places = ctx;

	bak_pg_archive_feed(&places->walk, p, len, see_place, places);
	return places->no_memory ? bak_error_nomem(err) : 0;
}

int bak_pg_places_write(const struct bak_pg_places *places, int file, struct bak_error *err)
{
	for (size_t i = 0; i < places->n; i++) {
		uint8_t bytes[9] = {BAK_PG_OFFSET_SET};
		uint64_t little = htole64(places->v[i].block);
		size_t len = places->walk.offset_size;

		if (!little || len > sizeof little)
			continue;
		memcpy(bytes + 1, &little, len);
		if (pwrite(file, bytes, 1 + len, (off_t)places->v[i].field) != (ssize_t)(1 + len))
			return bak_error_sys(err, errno, "the copy of the dump");
	}
	return 0;
}

void bak_pg_places_release(struct bak_pg_places *places)
{
	free(places->v);
	*places = (struct bak_pg_places){.n = 0};
}
