/* The link table being written: see link_writer.h. */
#include "engine/content/link_writer.h"

#include <stdlib.h>

/* Links in a page: cut by number, so that pages keep their place when groups come and go. */
#define LINKS_MIN 64
#define LINKS_MAX 512
#define LINE_MAX_COUNT 1024

void bak_link_writer_init(struct bak_link_writer *lw, uint64_t next_number)
{
	*lw = (struct bak_link_writer){.next = next_number ? next_number : 1};
}

static void slot_free(struct bak_link_slot *slot)
{
	if (!slot)
		return;
	free((void *)slot->link.inode.xattrs);
	free((void *)slot->link.inode.target);
	free(slot);
}

void bak_link_writer_release(struct bak_link_writer *lw)
{
	for (size_t i = 0; i < lw->n; i++)
		slot_free(lw->slots[i]);
	free(lw->slots);
	free(lw->by_inode);
	free(lw->by_number);
	*lw = (struct bak_link_writer){0};
}

static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t h = (a ^ b * 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu;
	return h ^ h >> 32;
}

static size_t inode_place(const struct bak_link_writer *lw, uint64_t dev, uint64_t ino)
{
	size_t i = mix(ino, dev) & (lw->table_cap - 1);
	for (; lw->by_inode[i]; i = (i + 1) & (lw->table_cap - 1)) {
		const struct bak_link_slot *slot = lw->slots[lw->by_inode[i] - 1];
		if (slot->dev == dev && slot->ino == ino)
			break;
	}
	return i;
}

static size_t number_place(const struct bak_link_writer *lw, uint64_t number)
{
	size_t i = mix(number, 0) & (lw->table_cap - 1);
	while (lw->by_number[i] && lw->slots[lw->by_number[i] - 1]->link.number != number)
		i = (i + 1) & (lw->table_cap - 1);
	return i;
}

static int grow(struct bak_link_writer *lw)
{
	size_t cap = lw->table_cap ? 2 * lw->table_cap : 256;
	size_t *by_inode = calloc(cap, sizeof *by_inode);
	size_t *by_number = calloc(cap, sizeof *by_number);
	void *slots = realloc(lw->slots, cap * sizeof *lw->slots);
	if (slots)
		lw->slots = slots;
	if (!by_inode || !by_number || !slots) {
		free(by_inode);
		free(by_number);
		return -1;
	}
	free(lw->by_inode);
	free(lw->by_number);
	lw->by_inode = by_inode;
	lw->by_number = by_number;
	lw->table_cap = cap;
	for (size_t k = 0; k < lw->n; k++) {
		lw->by_inode[inode_place(lw, lw->slots[k]->dev, lw->slots[k]->ino)] = k + 1;
		lw->by_number[number_place(lw, lw->slots[k]->link.number)] = k + 1;
	}
	return 0;
}

struct bak_link_slot *bak_link_writer_find(const struct bak_link_writer *lw, uint64_t dev,
					   uint64_t ino)
{
	if (lw->n == 0)
		return NULL;
	size_t k = lw->by_inode[inode_place(lw, dev, ino)];
	return k ? lw->slots[k - 1] : NULL;
}

static void *copy(const void *p, size_t len)
{
	void *q = malloc(len + 1);
	if (q && len)
		memcpy(q, p, len);
	return q;
}

int bak_link_writer_add(struct bak_link_writer *lw, uint64_t dev, uint64_t ino,
			const struct bak_inode *inode, uint64_t want, struct bak_link_slot **out,
			struct bak_error *err)
{
	if (2 * (lw->n + 1) > lw->table_cap && grow(lw) < 0)
		return bak_error_nomem(err);
	struct bak_link_slot *slot = calloc(1, sizeof *slot);
	if (!slot)
		return bak_error_nomem(err);
	slot->dev = dev;
	slot->ino = ino;
	slot->link.inode = *inode;
	slot->link.inode.xattrs = copy(inode->xattrs, inode->xattrs_len);
	slot->link.inode.target = copy(inode->target, inode->target_len);
	if (!slot->link.inode.xattrs || !slot->link.inode.target) {
		slot_free(slot);
		return bak_error_nomem(err);
	}
	bool free_number = want && want < lw->next && lw->by_number[number_place(lw, want)] == 0;
	slot->link.number = free_number ? want : lw->next++;
	lw->slots[lw->n++] = slot;
	lw->by_inode[inode_place(lw, dev, ino)] = lw->n;
	lw->by_number[number_place(lw, slot->link.number)] = lw->n;
	*out = slot;
	return 0;
}

/* --- pages --- */

static int slot_cmp(const void *a, const void *b)
{
	const struct bak_link_slot *const *x = a, *const *y = b;
	return (*x)->link.number < (*y)->link.number ? -1 : (*x)->link.number > (*y)->link.number;
}

/* Writes slots [from, to) as a link page. */
static int write_page(const struct bak_link_writer *lw, size_t from, size_t to,
		      struct bak_segmenter *segmenter, const struct bak_tree *previous,
		      struct bak_link_line *out, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf payload = BAK_BUF_INIT;
	BAK_AUTO(bak_free_ptr) struct bak_link *links = calloc(to - from, sizeof *links);
	struct bak_error scratch = BAK_ERROR_INIT;
	struct bak_ref old = {.len = 0};
	if (!links)
		return bak_error_nomem(err);
	for (size_t i = from; i < to; i++)
		links[i - from] = lw->slots[i]->link;
	out->first = links[0].number;
	out->count = to - from;
	if (bak_links_encode(links, to - from, &payload, err) < 0)
		return -1;
	if (previous && bak_link_page_ref(previous, out->first, &old, &scratch) != 1)
		old.len = 0;
	return bak_object_write_unless(segmenter, previous, &old, BAK_OBJECT_LINKS, &payload,
				       &out->ref, err);
}

/* Folds lines into pages of lines until one is left. */
static int write_tops(struct bak_link_line *lines, size_t n, struct bak_segmenter *segmenter,
		      const struct bak_tree *previous, struct bak_ref *out, struct bak_error *err)
{
	while (n > 1) {
		size_t m = 0;
		for (size_t i = 0; i < n; i += LINE_MAX_COUNT) {
			BAK_AUTO(bak_buf_release) struct bak_buf payload = BAK_BUF_INIT;
			size_t k = n - i < LINE_MAX_COUNT ? n - i : LINE_MAX_COUNT;
			struct bak_link_line up = {.first = lines[i].first};
			for (size_t j = 0; j < k; j++)
				up.count += lines[i + j].count;
			struct bak_ref old = {.len = 0};
			if (previous && n <= LINE_MAX_COUNT)
				old = previous->snapshot->link_table;
			if (bak_link_names_encode(lines + i, k, &payload, err) < 0 ||
			    bak_object_write_unless(segmenter, previous, &old,
						    BAK_OBJECT_LINK_NAMES, &payload, &up.ref,
						    err) < 0)
				return -1;
			lines[m++] = up;
		}
		n = m;
	}
	*out = lines[0].ref;
	return 0;
}

int bak_link_writer_finish(struct bak_link_writer *lw, struct bak_segmenter *segmenter,
			   const struct bak_tree *previous, struct bak_ref *out_ref,
			   uint64_t *out_bytes, struct bak_error *err)
{
	*out_bytes = 0;
	*out_ref = (struct bak_ref){.len = 0};
	if (lw->n == 0)
		return 0;
	qsort(lw->slots, lw->n, sizeof *lw->slots, slot_cmp);
	BAK_AUTO(bak_free_ptr) struct bak_link_line *lines = calloc(lw->n, sizeof *lines);
	if (!lines)
		return bak_error_nomem(err);
	size_t n_lines = 0, from = 0;
	for (size_t i = 0; i < lw->n; i++) {
		const struct bak_link *link = &lw->slots[i]->link;
		if (link->inode.type == BAK_TYPE_FILE)
			*out_bytes += link->inode.size;
		size_t n = i + 1 - from;
		bool mark = (mix(link->number, 1) & 127) == 0;
		if (i + 1 < lw->n && n < LINKS_MAX && !(n >= LINKS_MIN && mark))
			continue;
		if (write_page(lw, from, i + 1, segmenter, previous, &lines[n_lines++], err) < 0)
			return -1;
		from = i + 1;
	}
	return write_tops(lines, n_lines, segmenter, previous, out_ref, err);
}
