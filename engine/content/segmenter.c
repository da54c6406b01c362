/* Open segments of a run: see segmenter.h. */
#include "engine/content/segmenter.h"

#include <stdlib.h>

/* Tree segments are small: a look-up decodes a whole one for a page. */
static const uint32_t target[BAK_CLASSES] = {BAK_SEG_RAW, BAK_SEG_RAW_SMALL, BAK_SEG_RAW_SMALL,
					     BAK_SEG_RAW_TINY, BAK_SEG_RAW_TINY};

void bak_segmenter_init(struct bak_segmenter *s, struct bak_sealer *sealer,
			const uint8_t run[BAK_RUN_BYTES])
{
	*s = (struct bak_segmenter){.sealer = sealer};
	memcpy(s->run, run, BAK_RUN_BYTES);
}

void bak_segmenter_release(struct bak_segmenter *s)
{
	for (int i = 0; i < BAK_CLASSES; i++)
		bak_job_release(&s->open[i]);
	bak_pending_release(&s->chunks);
	bak_pending_release(&s->nodes);
}

int bak_segmenter_flush(struct bak_segmenter *s, enum bak_seg_class class, struct bak_error *err)
{
	if (s->open[class].raw.len == 0)
		return 0;
	if (bak_sealer_submit(s->sealer, &s->open[class], err) < 0)
		return -1;
	bak_segmenter_settle(s);
	return 0;
}

/* An open segment of the class with room for len bytes. */
static int make_room(struct bak_segmenter *s, enum bak_seg_class class, size_t len,
		     struct bak_error *err)
{
	struct bak_job *job = &s->open[class];
	uint32_t limit = target[class] + target[class] / 4;
	if (job->raw.len > 0 && (job->raw.len >= target[class] || job->raw.len + len > limit) &&
	    bak_segmenter_flush(s, class, err) < 0)
		return -1;
	if (job->raw.len > 0)
		return 0;
	if (s->next == UINT32_MAX)
		return bak_error_set(err, BAK_UNSUPPORTED, "more segments than one run can number");
	job->type = class == BAK_CLASS_TREE || class == BAK_CLASS_LISTS ? BAK_SEG_TREE
									: BAK_SEG_DATA;
	job->copies = class == BAK_CLASS_TREE ? 2 : 1;
	memcpy(job->id.run, s->run, BAK_RUN_BYTES);
	job->id.n = s->next++;
	if (bak_buf_reserve(&job->raw, len > limit ? len : limit) < 0)
		return bak_error_nomem(err);
	return 0;
}

static int list_chunk(struct bak_segmenter *s, struct bak_job *job, const struct bak_hash *hash,
		      uint32_t off, uint32_t len)
{
	if (bak_grow(&job->chunks, &job->cap_chunks, job->n_chunks, sizeof *job->chunks) < 0)
		return -1;
	job->chunks[job->n_chunks++] = (struct bak_chunk_row){*hash, job->id, off, len};
	return bak_pending_add(&s->chunks, hash, job->id.n, off, len);
}

int bak_segmenter_bytes(struct bak_segmenter *s, enum bak_seg_class class, const void *p,
			uint32_t len, const struct bak_hash *hash, struct bak_extent *out,
			struct bak_error *err)
{
	if (make_room(s, class, len, err) < 0)
		return -1;
	struct bak_job *job = &s->open[class];
	uint32_t off = (uint32_t)job->raw.len;
	*out = (struct bak_extent){BAK_EXTENT_BYTES, job->id, off, len};
	if (bak_buf_append(&job->raw, p, len) < 0 ||
	    (hash && list_chunk(s, job, hash, off, len) < 0))
		return bak_error_nomem(err);
	s->new_bytes += len;
	return 0;
}

static int list_node(struct bak_segmenter *s, struct bak_job *job, const struct bak_hash *hash,
		     uint64_t span_len, const struct bak_ref *ref)
{
	if (bak_grow(&job->nodes, &job->cap_nodes, job->n_nodes, sizeof *job->nodes) < 0)
		return -1;
	job->nodes[job->n_nodes++] = (struct bak_node_row){*hash, *ref, span_len};
	return bak_pending_add(&s->nodes, hash, ref->seg.n, ref->off, ref->len);
}

int bak_segmenter_object(struct bak_segmenter *s, enum bak_seg_class class,
			 enum bak_object_kind kind, const struct bak_buf *payload,
			 const struct bak_hash *hash, uint64_t span_len, struct bak_ref *out,
			 struct bak_error *err)
{
	size_t len = payload->len + BAK_OBJECT_PREFIX;
	if (len > BAK_SEG_LIMIT)
		return bak_error_set(err, BAK_UNSUPPORTED, "a tree object of %zu bytes", len);
	if (make_room(s, class, len, err) < 0)
		return -1;
	struct bak_job *job = &s->open[class];
	uint8_t prefix[BAK_OBJECT_PREFIX] = {(uint8_t)kind};
	bak_store_u32(prefix + 1, (uint32_t)payload->len);
	*out = (struct bak_ref){job->id, (uint32_t)job->raw.len, (uint32_t)len};
	if (bak_buf_append(&job->raw, prefix, sizeof prefix) < 0 ||
	    bak_buf_append(&job->raw, payload->p, payload->len) < 0 ||
	    (hash && list_node(s, job, hash, span_len, out) < 0))
		return bak_error_nomem(err);
	return 0;
}

void bak_segmenter_settle(struct bak_segmenter *s)
{
	struct bak_hash *chunks, *nodes;
	size_t n_chunks, n_nodes;
	bak_sealer_take_done(s->sealer, &chunks, &n_chunks, &nodes, &n_nodes);
	for (size_t i = 0; i < n_chunks; i++)
		bak_pending_remove(&s->chunks, &chunks[i]);
	for (size_t i = 0; i < n_nodes; i++)
		bak_pending_remove(&s->nodes, &nodes[i]);
	free(chunks);
	free(nodes);
}
