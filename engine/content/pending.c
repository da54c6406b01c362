/* Rows of this run that the index does not know yet: see pending.h. */
#include "engine/content/pending.h"

#include <stdlib.h>

static size_t home(const struct bak_pending *p, const struct bak_hash *hash)
{
	uint64_t h;
	memcpy(&h, hash->b, sizeof h);
	return (size_t)h & (p->cap - 1);
}

/* Where the hash is, or the free place where it would go. */
static size_t place(const struct bak_pending *p, const struct bak_hash *hash)
{
	size_t i = home(p, hash);
	while (p->rows[i].seg && memcmp(&p->rows[i].hash, hash, sizeof *hash) != 0)
		i = (i + 1) & (p->cap - 1);
	return i;
}

static int grow(struct bak_pending *p)
{
	struct bak_pending bigger = {.cap = p->cap ? 2 * p->cap : 1024};
	bigger.rows = calloc(bigger.cap, sizeof *bigger.rows);
	if (!bigger.rows)
		return -1;
	for (size_t i = 0; i < p->cap; i++)
		if (p->rows[i].seg)
			bigger.rows[place(&bigger, &p->rows[i].hash)] = p->rows[i];
	bigger.n = p->n;
	free(p->rows);
	*p = bigger;
	return 0;
}

int bak_pending_add(struct bak_pending *p, const struct bak_hash *hash, uint32_t seg, uint32_t off,
		    uint32_t len)
{
	if (2 * (p->n + 1) > p->cap && grow(p) < 0)
		return -1;
	size_t i = place(p, hash);
	if (p->rows[i].seg)
		return 0;
	p->rows[i] = (struct bak_pending_row){*hash, seg + 1, off, len};
	p->n++;
	return 0;
}

int bak_pending_find(const struct bak_pending *p, const struct bak_hash *hash, uint32_t *out_seg,
		     uint32_t *out_off, uint32_t *out_len)
{
	if (p->n == 0)
		return 0;
	const struct bak_pending_row *row = &p->rows[place(p, hash)];
	if (!row->seg)
		return 0;
	*out_seg = row->seg - 1;
	*out_off = row->off;
	*out_len = row->len;
	return 1;
}

void bak_pending_remove(struct bak_pending *p, const struct bak_hash *hash)
{
	if (p->n == 0)
		return;
	size_t hole = place(p, hash);
	if (!p->rows[hole].seg)
		return;
	/* Rows behind that would no longer be reached move up. */
	for (size_t i = (hole + 1) & (p->cap - 1); p->rows[i].seg; i = (i + 1) & (p->cap - 1)) {
		size_t from_home = (i - home(p, &p->rows[i].hash)) & (p->cap - 1);
		size_t from_hole = (i - hole) & (p->cap - 1);
		if (from_home >= from_hole) {
			p->rows[hole] = p->rows[i];
			hole = i;
		}
	}
	p->rows[hole].seg = 0;
	p->n--;
}

void bak_pending_release(struct bak_pending *p)
{
	free(p->rows);
	*p = (struct bak_pending){0};
}
