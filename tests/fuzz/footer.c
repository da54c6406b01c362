/* Pack footers. Input: u64 bytes of records in front of the footer, then the unpacked frame; it is
 * packed here, since few inputs get past zstd's checksum. */
#include "engine/objects/footer.h"

#include "engine/base/bytes.h"
#include "engine/objects/compress.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

static void check(const struct bak_footer *footer)
{
	const struct bak_pack_rows *rows = &footer->rows;
	uint64_t off = 0;
	for (size_t i = 0; i < rows->n_segs; i++) {
		if (rows->segs[i].off != off || rows->segs[i].raw_len > BAK_SEG_LIMIT)
			abort();
		off += rows->segs[i].len;
	}
	if (off > rows->pack.size)
		abort();
	for (size_t i = 0; i < rows->n_kept; i++) {
		const struct bak_kept_rows *kept = &rows->kept[i];
		if (kept->seg >= rows->n_segs || !rows->segs[kept->seg].holed ||
		    (i > 0 && kept->seg <= kept[-1].seg))
			abort();
		for (size_t k = kept->first; k < kept->first + kept->n; k++)
			if (rows->ranges[k].len == 0 ||
			    (k > kept->first && rows->ranges[k].off <= rows->ranges[k - 1].off))
				abort();
	}
	for (size_t i = 0; i < rows->n_chunks; i++)
		if ((uint64_t)rows->chunks[i].off + rows->chunks[i].len > BAK_SEG_LIMIT)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	static const uint8_t id[BAK_PACK_ID_BYTES] = {1};
	struct bak_error err;
	struct bak_footer footer;
	struct bak_buf body = BAK_BUF_INIT;
	if (len < 8)
		return 0;
	uint64_t records = bak_load_u64(p) % (1ull << 40);
	if (bak_put_u32(&body, 0) < 0 || bak_put_u32(&body, (uint32_t)(len - 8)) < 0 ||
	    bak_zstd_pack(p + 8, len - 8, 1, &body, &err) < 0)
		abort();
	bak_store_u32(body.p, (uint32_t)(body.len - 8));
	uint64_t size = records + body.len + BAK_SEG_OVERHEAD + BAK_PACK_TAIL;
	if (bak_footer_parse(id, size, body.p, body.len, &footer, &err) == 0) {
		check(&footer);
		bak_footer_release(&footer);
	}
	/* And as it is, without the help. */
	if (bak_footer_parse(id, len * 2, p, len, &footer, &err) == 0)
		bak_footer_release(&footer);
	bak_buf_release(&body);
	return 0;
}
