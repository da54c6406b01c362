/* Packs, written as their records come, and read from their end: see pack.h. */
#include "engine/objects/pack.h"

#include "engine/base/bytes.h"
#include "engine/base/hash.h"
#include "engine/objects/footer.h"
#include "engine/objects/parity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One read fetches the whole footer of a pack of some 2,000 chunks. */
#define TAIL_GUESS (64u << 10)

struct bak_pack {
	struct bak_backend *backend;
	const struct bak_keyring *ring;
	struct bak_put *put; /* NULL once it is finished */
	uint8_t id[BAK_PACK_ID_BYTES], run[8];
	int64_t run_start;
	uint64_t len;
	unsigned parity; /* percent; 0 none */
	/* Arrays, each a bak_buf of its rows. */
	struct bak_buf segs, kept, ranges, chunks, nodes;
};

#define COUNT(buf, type) ((buf).len / sizeof(type))

void bak_pack_name(const uint8_t id[BAK_PACK_ID_BYTES], char out[BAK_PACK_NAME_LEN])
{
	char hex[2 * BAK_PACK_ID_BYTES + 1];
	bak_hex(hex, id, BAK_PACK_ID_BYTES);
	snprintf(out, BAK_PACK_NAME_LEN, "packs/%.2s/%s", hex, hex);
}

bool bak_pack_id_of_name(const char *name, uint8_t out_id[BAK_PACK_ID_BYTES])
{
	return strncmp(name, "packs/", 6) == 0 && strlen(name) > 9 && name[8] == '/' &&
	       strncmp(name + 6, name + 9, 2) == 0 &&
	       bak_unhex(out_id, BAK_PACK_ID_BYTES, name + 9);
}

int bak_pack_new(struct bak_backend *backend, const struct bak_keyring *ring, const uint8_t run[8],
		 int64_t run_start, struct bak_pack **out_pack, struct bak_error *err)
{
	char run_hex[17], id_hex[2 * BAK_PACK_ID_BYTES + 1], tmp[64];
	struct bak_pack *pack = calloc(1, sizeof *pack);
	if (!pack)
		return bak_error_nomem(err);
	pack->backend = backend;
	pack->ring = ring;
	pack->run_start = run_start;
	memcpy(pack->run, run, sizeof pack->run);
	if (bak_random(pack->id, sizeof pack->id, err) < 0) {
		free(pack);
		return -1;
	}
	bak_hex(run_hex, run, 8);
	bak_hex(id_hex, pack->id, BAK_PACK_ID_BYTES);
	snprintf(tmp, sizeof tmp, "%s-%.16s", run_hex, id_hex);
	if (backend->ops->put_begin(backend, tmp, &pack->put, err) < 0) {
		free(pack);
		return -1;
	}
	*out_pack = pack;
	return 0;
}

static int keep_ranges(struct bak_pack *pack, const struct bak_seg_range *kept, size_t n)
{
	struct bak_kept_rows row = {.seg = COUNT(pack->segs, struct bak_seg_copy),
				    .first = COUNT(pack->ranges, struct bak_seg_range),
				    .n = n};
	if (bak_buf_append(&pack->kept, &row, sizeof row) < 0)
		return -1;
	return bak_buf_append(&pack->ranges, kept, n * sizeof *kept);
}

int bak_pack_add(struct bak_pack *pack, const void *record, size_t len,
		 const struct bak_seg_header *header, uint32_t key,
		 const struct bak_seg_range *kept, size_t n_kept, struct bak_error *err)
{
	struct bak_seg_copy row = {.id = header->id,
				   .off = pack->len,
				   .len = (uint32_t)len,
				   .raw_len = header->raw_len,
				   .key = key,
				   .type = (uint8_t)header->type,
				   .holed = header->holed};
	memcpy(row.pack, pack->id, BAK_PACK_ID_BYTES);
	if (len != BAK_SEG_OVERHEAD + (size_t)header->stored_len)
		return bak_error_set(err, BAK_BUG, "record and header differ");
	if (header->holed && keep_ranges(pack, kept, n_kept) < 0)
		return bak_error_nomem(err);
	if (bak_buf_append(&pack->segs, &row, sizeof row) < 0)
		return bak_error_nomem(err);
	if (pack->backend->ops->put_write(pack->put, record, len, err) < 0)
		return -1;
	pack->len += len;
	return 0;
}

int bak_pack_add_chunk(struct bak_pack *pack, const struct bak_chunk_row *chunk,
		       struct bak_error *err)
{
	return bak_buf_append(&pack->chunks, chunk, sizeof *chunk) < 0 ? bak_error_nomem(err) : 0;
}

int bak_pack_add_node(struct bak_pack *pack, const struct bak_node_row *node, struct bak_error *err)
{
	return bak_buf_append(&pack->nodes, node, sizeof *node) < 0 ? bak_error_nomem(err) : 0;
}

uint64_t bak_pack_len(const struct bak_pack *pack)
{
	return pack->len;
}

void bak_pack_set_parity(struct bak_pack *pack, unsigned percent)
{
	pack->parity = percent;
}

static int put_parity(struct bak_pack *pack, struct bak_error *err)
{
	char run[2 * sizeof pack->run + 1];
	bak_hex(run, pack->run, sizeof pack->run);
	return bak_parity_put(pack->backend, pack->ring, pack->id, pack->parity, run, err);
}

static void rows_of(struct bak_pack *pack, struct bak_pack_rows *out)
{
	*out = (struct bak_pack_rows){
		.segs = (const struct bak_seg_copy *)pack->segs.p,
		.n_segs = COUNT(pack->segs, struct bak_seg_copy),
		.kept = (const struct bak_kept_rows *)pack->kept.p,
		.n_kept = COUNT(pack->kept, struct bak_kept_rows),
		.ranges = (const struct bak_seg_range *)pack->ranges.p,
		.chunks = (const struct bak_chunk_row *)pack->chunks.p,
		.n_chunks = COUNT(pack->chunks, struct bak_chunk_row),
		.nodes = (const struct bak_node_row *)pack->nodes.p,
		.n_nodes = COUNT(pack->nodes, struct bak_node_row),
	};
	memcpy(out->pack.id, pack->id, BAK_PACK_ID_BYTES);
	memcpy(out->pack.run, pack->run, sizeof pack->run);
	out->pack.size = pack->len;
}

/* The footer's record with what follows it, appended to out. */
static int footer_make(struct bak_pack *pack, struct bak_buf *out, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf body = BAK_BUF_INIT;
	BAK_AUTO(bak_seg_codec_release) struct bak_seg_codec codec = {.cctx = NULL};
	struct bak_seg_id id = bak_footer_seg_id(pack->id);
	struct bak_footer_in in = {
		.run = pack->run,
		.run_start = pack->run_start,
		.segs = (const struct bak_seg_copy *)pack->segs.p,
		.n_segs = COUNT(pack->segs, struct bak_seg_copy),
		.kept = (const struct bak_kept_rows *)pack->kept.p,
		.n_kept = COUNT(pack->kept, struct bak_kept_rows),
		.ranges = (const struct bak_seg_range *)pack->ranges.p,
		.chunks = (const struct bak_chunk_row *)pack->chunks.p,
		.n_chunks = COUNT(pack->chunks, struct bak_chunk_row),
		.nodes = (const struct bak_node_row *)pack->nodes.p,
		.n_nodes = COUNT(pack->nodes, struct bak_node_row),
	};
	if (bak_footer_encode(&in, pack->len, &body, err) < 0 ||
	    bak_segment_seal(pack->ring, &codec, BAK_SEG_FOOTER, false, &id, body.p, body.len, 0,
			     out, NULL, err) < 0)
		return -1;
	if (bak_put_u32(out, (uint32_t)out->len) < 0 ||
	    bak_buf_append(out, BAK_PACK_MAGIC, BAK_PACK_TAIL - 4) < 0)
		return bak_error_nomem(err);
	return 0;
}

int bak_pack_finish(struct bak_pack *pack, struct bak_pack_rows *out_rows, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf footer = BAK_BUF_INIT;
	char name[BAK_PACK_NAME_LEN];
	bak_pack_name(pack->id, name);
	if (footer_make(pack, &footer, err) < 0 ||
	    pack->backend->ops->put_write(pack->put, footer.p, footer.len, err) < 0)
		return bak_error_wrap(err, "pack %.32s", name + 9);
	struct bak_put *put = pack->put;
	pack->put = NULL;
	int result = pack->backend->ops->put_commit(put, name, err);
	if (result == 0)
		bak_error_set(err, BAK_BUG, "its name is taken");
	if (result <= 0)
		return bak_error_wrap(err, "pack %.32s", name + 9);
	if (pack->parity && put_parity(pack, err) < 0)
		return -1;
	rows_of(pack, out_rows);
	out_rows->pack.size = pack->len + footer.len;
	return 0;
}

void bak_pack_free(struct bak_pack *pack)
{
	if (!pack)
		return;
	pack->backend->ops->put_abort(pack->put);
	bak_buf_release(&pack->segs);
	bak_buf_release(&pack->kept);
	bak_buf_release(&pack->ranges);
	bak_buf_release(&pack->chunks);
	bak_buf_release(&pack->nodes);
	free(pack);
}

/* Gets the pack's last bytes, at least the footer's record and what follows it. 1, 0, -1. */
static int get_tail(struct bak_backend *backend, const char *name, uint64_t size,
		    uint32_t *out_record_len, struct bak_buf *out, struct bak_error *err)
{
	uint64_t want = size < TAIL_GUESS ? size : TAIL_GUESS;
	int found = bak_backend_get(backend, name, size - want, (size_t)want, out, err);
	if (found <= 0)
		return found;
	if (out->len != want || want < BAK_SEG_OVERHEAD + BAK_PACK_TAIL ||
	    memcmp(out->p + out->len - 8, BAK_PACK_MAGIC, 8) != 0)
		return bak_error_set(err, BAK_CORRUPT, "its end is damaged");
	uint32_t len = bak_load_u32(out->p + out->len - BAK_PACK_TAIL);
	*out_record_len = len;
	if (len < BAK_SEG_OVERHEAD || len > BAK_SEG_OVERHEAD + BAK_SEG_LIMIT ||
	    len > size - BAK_PACK_TAIL)
		return bak_error_set(err, BAK_CORRUPT, "its footer has an impossible length");
	uint64_t need = (uint64_t)len + BAK_PACK_TAIL;
	if (need <= want)
		return 1;
	out->len = 0;
	found = bak_backend_get(backend, name, size - need, (size_t)need, out, err);
	if (found == 1 && out->len != need)
		return bak_error_set(err, BAK_CORRUPT, "its end is damaged");
	return found;
}

int bak_pack_read_footer(struct bak_backend *backend, const struct bak_keyring *ring,
			 const uint8_t id[BAK_PACK_ID_BYTES], struct bak_footer *out,
			 struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf tail = BAK_BUF_INIT;
	BAK_AUTO(bak_seg_codec_release) struct bak_seg_codec codec = {.cctx = NULL};
	struct bak_segment segment = {.data = NULL};
	struct bak_seg_id seg = bak_footer_seg_id(id);
	char name[BAK_PACK_NAME_LEN];
	uint64_t size = 0;
	uint32_t len = 0;
	bak_pack_name(id, name);
	int result = bak_backend_size(backend, name, &size, err);
	if (result == 1)
		result = get_tail(backend, name, size, &len, &tail, err);
	if (result == 1 &&
	    bak_segment_open(ring, &codec, BAK_SEG_FOOTER, &seg,
			     tail.p + tail.len - BAK_PACK_TAIL - len, len, &segment, err) < 0)
		result = -1;
	if (result == 1 &&
	    bak_footer_parse(id, size, segment.data, segment.header.raw_len, out, err) < 0)
		result = -1;
	bak_segment_release(&segment);
	return result < 0 ? bak_error_wrap(err, "pack %.32s", name + 9) : result;
}
