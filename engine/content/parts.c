/* What a span is to be made of: see parts.h. */
#include "engine/content/parts.h"

#include "engine/base/bytes.h"
#include "engine/objects/span.h"

#include <stdlib.h>

/* A segment that gives fewer bytes to the span is not worth going to when the span is read; a
 * small file has no more to give. */
#define USE_MIN 512
#define USE_MIN_SMALL 64
#define SMALL (64u << 10)
/* Known bytes shorter than this between fresh ones cost more in the list than as bytes. Measured
 * over 30 generations of a SQL table: 24 to 96 are the same, 160 and more are worse. */
#define ISLAND_MIN 24
/* Anywhere. */
#define EXTENT_MIN 4
/* What is shorter goes first where matching does not pay. */
#define SHORT 4096
/* Two segments more may come with the fresh bytes. */
#define USES_MAX (BAK_SPAN_MAX_SEGMENTS - 2)
/* Past that: how many remain, if what the others give is at most a sixteenth of the span. So
 * segments do not go one by one, each time. */
#define USES_LEFT 8

void bak_parts_clear(struct bak_parts *parts)
{
	parts->n = parts->n_uses = 0;
}

void bak_parts_release(struct bak_parts *parts)
{
	free(parts->v);
	free(parts->uses);
	*parts = (struct bak_parts){0};
}

static int add(struct bak_parts *parts, const struct bak_part *part)
{
	if (bak_grow(&parts->v, &parts->cap, parts->n, sizeof *parts->v) < 0)
		return -1;
	parts->v[parts->n++] = *part;
	return 0;
}

int bak_parts_fresh(struct bak_parts *parts, uint32_t off, uint64_t len)
{
	struct bak_part *last = parts->n ? &parts->v[parts->n - 1] : NULL;
	if (last && last->fresh && last->off + last->extent.len == off) {
		last->extent.len += len;
		return 0;
	}
	struct bak_part part = {
		.fresh = true, .off = off, .extent = {BAK_EXTENT_BYTES, .len = len}};
	return add(parts, &part);
}

int bak_parts_known(struct bak_parts *parts, uint32_t off, const struct bak_extent *extent)
{
	struct bak_part *last = parts->n ? &parts->v[parts->n - 1] : NULL;
	bool bytes = extent->kind == BAK_EXTENT_BYTES;
	if (last && !last->fresh && bytes && last->extent.kind == BAK_EXTENT_BYTES &&
	    bak_seg_id_equal(&last->extent.seg, &extent->seg) &&
	    last->extent.off + last->extent.len == extent->off) {
		last->extent.len += extent->len;
		return 0;
	}
	struct bak_part part = {.off = off, .extent = *extent};
	return add(parts, &part);
}

/* --- deciding --- */

static bool is_known(const struct bak_part *part)
{
	return !part->fresh && part->extent.kind == BAK_EXTENT_BYTES;
}

static void make_fresh(struct bak_part *part)
{
	part->fresh = true;
	part->extent = (struct bak_extent){BAK_EXTENT_BYTES, .len = part->extent.len};
}

/* The segment's number in the table, or -1. Segments follow one another again and again. */
static int64_t number_use(struct bak_parts *parts, const struct bak_seg_id *seg, uint32_t guess)
{
	if (guess < parts->n_uses && bak_seg_id_equal(&parts->uses[guess].seg, seg))
		return guess;
	for (size_t i = 0; i < parts->n_uses; i++)
		if (bak_seg_id_equal(&parts->uses[i].seg, seg))
			return (int64_t)i;
	if (bak_grow(&parts->uses, &parts->cap_uses, parts->n_uses, sizeof *parts->uses) < 0)
		return -1;
	parts->uses[parts->n_uses] = (struct bak_part_use){.seg = *seg};
	return (int64_t)parts->n_uses++;
}

static int count_uses(struct bak_parts *parts)
{
	uint32_t last = 0, before = 0;
	parts->n_uses = 0;
	for (size_t i = 0; i < parts->n; i++) {
		struct bak_part *part = &parts->v[i];
		if (!is_known(part))
			continue;
		/* Old and newer bytes take turns. */
		int64_t use = number_use(parts, &part->extent.seg, before);
		if (use < 0)
			return -1;
		part->use = (uint32_t)use;
		parts->uses[use].bytes += part->extent.len;
		before = last;
		last = part->use;
	}
	return 0;
}

static int more_bytes(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? 1 : x > y ? -1 : 0;
}

/* How many bytes a segment has to give to stay. */
static int find_least(const struct bak_parts *parts, uint64_t *out_least)
{
	uint64_t all = 0, rest = 0;
	for (size_t i = 0; i < parts->n; i++)
		all += parts->v[i].extent.kind == BAK_EXTENT_BYTES ? parts->v[i].extent.len : 0;
	*out_least = all < SMALL ? USE_MIN_SMALL : USE_MIN;
	if (parts->n_uses <= USES_MAX)
		return 0;
	uint64_t *bytes = calloc(parts->n_uses, sizeof *bytes);
	if (!bytes)
		return -1;
	for (size_t i = 0; i < parts->n_uses; i++)
		rest += bytes[i] = parts->uses[i].bytes;
	qsort(bytes, parts->n_uses, sizeof *bytes, more_bytes);
	for (size_t i = 0; i < USES_LEFT; i++)
		rest -= bytes[i];
	/* More than the number-th largest, so that equal ones do not pass the limit. */
	*out_least = bytes[rest <= all / 16 ? USES_LEFT : USES_MAX] + 1;
	free(bytes);
	return 0;
}

/* Many short pieces between as many fresh ones (rows in another order) cost more than the whole:
 * stored, fresh bytes take about half, four bytes go to the list for each piece, and all together
 * would take two fifths. */
static bool not_worth_it(const struct bak_parts *parts)
{
	uint64_t all = 0, fresh = 0;
	for (size_t i = 0; i < parts->n; i++) {
		const struct bak_part *part = &parts->v[i];
		all += part->extent.kind == BAK_EXTENT_BYTES ? part->extent.len : 0;
		fresh += part->fresh ? part->extent.len : 0;
	}
	return fresh / 2 + 4 * parts->n > all / 3;
}

int bak_parts_settle(struct bak_parts *parts)
{
	uint64_t least;
	if (count_uses(parts) < 0 || find_least(parts, &least) < 0)
		return -1;
	for (size_t i = 0; i < parts->n; i++) {
		struct bak_part *part = &parts->v[i];
		if (is_known(part) &&
		    (part->extent.len < EXTENT_MIN || parts->uses[part->use].bytes < least))
			make_fresh(part);
	}
	bool drop = not_worth_it(parts);
	for (size_t i = 0; i < parts->n && drop; i++)
		if (is_known(&parts->v[i]) && parts->v[i].extent.len < SHORT)
			make_fresh(&parts->v[i]);
	for (size_t i = 1; i + 1 < parts->n; i++) {
		struct bak_part *part = &parts->v[i];
		if (is_known(part) && part[-1].fresh && part[1].fresh &&
		    part->extent.len < ISLAND_MIN)
			make_fresh(part);
	}
	return drop;
}

bool bak_parts_any_known(const struct bak_parts *parts)
{
	for (size_t i = 0; i < parts->n; i++)
		if (is_known(&parts->v[i]))
			return true;
	return false;
}
