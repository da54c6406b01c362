/* Every byte of every pack, and its parity: see verify.h. */
#include "engine/ops/check_private.h"

#include "engine/objects/parity.h"
#include "engine/ops/walk.h"

#include <stdio.h>
#include <stdlib.h>

static struct bak_place whole(const struct bak_seg_id *id)
{
	return (struct bak_place){.seg = *id};
}

/* Reads and opens one record. */
static int open_record(struct bak_checking *c, struct bak_backend *backend, const char *pack,
		       const struct bak_seg_copy *copy, struct bak_error *err)
{
	struct bak_segment segment = {0};
	c->record.len = 0;
	int rc = bak_backend_get(backend, pack, copy->off, copy->len, &c->record, err);
	if (rc == 1)
		rc = bak_segment_open(bak_repo_ring(c->repo), &c->codec, copy->type, &copy->id,
				      c->record.p, c->record.len, &segment, err);
	else if (rc == 0)
		rc = bak_error_set(err, BAK_CORRUPT, "missing");
	if (rc == 0 &&
	    (segment.header.holed != copy->holed || segment.header.raw_len != copy->raw_len))
		rc = bak_error_set(err, BAK_CORRUPT, "not as the footer says");
	bak_segment_release(&segment);
	return rc;
}

static int remember_good(struct bak_checking *c, const struct bak_seg_copy *copy,
			 struct bak_error *err)
{
	struct bak_place place = whole(&copy->id);
	return bak_place_set_add(&c->good, &place) < 0 ||
			       (!copy->holed && bak_place_set_add(&c->entire, &place) < 0)
		       ? bak_error_nomem(err)
		       : 0;
}

/* Opens one record of a pack. 0 good, 1 damaged (told), -1 worse. In a condemned pack damage costs
 * nothing by itself: it was condemned for that, or is garbage. */
static int check_segment(struct bak_checking *c, const char *pack, const struct bak_seg_copy *copy,
			 bool condemned, struct bak_error *err)
{
	struct bak_place place = whole(&copy->id);
	struct bak_error scratch = BAK_ERROR_INIT;
	char where[128];
	c->out->segments++;
	c->done += copy->len;
	int rc = open_record(c, bak_repo_backend(c->repo), pack, copy, err);
	if (rc == 0)
		return remember_good(c, copy, err);
	if (!bak_is_damage(err))
		return -1;
	bool mended = open_record(c, bak_source_mended(bak_repo_source(c->repo)), pack, copy,
				  &scratch) == 0;
	if (condemned)
		return mended && remember_good(c, copy, err) < 0 ? -1 : 0;
	snprintf(where, sizeof where, "%s at %llu", pack, (unsigned long long)copy->off);
	c->out->damaged_segments++;
	c->out->mended += mended;
	bak_checking_tell(c, mended ? "damaged segment that parity gives back" : "damaged segment",
			  where, err->msg);
	if (bak_place_set_add(&c->bad, &place) < 0)
		return bak_error_nomem(err);
	return mended && remember_good(c, copy, err) < 0 ? -1 : 1;
}

/* Which segments the pack has: by its footer, else as the index knows them, which read it earlier,
 * through parity, or header by header. 1 good, 0 damaged and told, -1 worse. */
static int pack_segments(struct bak_checking *c, const struct bak_pack_row *row, const char *pack,
			 struct bak_seg_copy **out, size_t *out_n, struct bak_error *err)
{
	struct bak_footer footer = {0};
	int rc = bak_pack_read_footer(bak_repo_backend(c->repo), bak_repo_ring(c->repo), row->id,
				      &footer, err);
	if (rc == 1) {
		*out = footer.segs;
		*out_n = footer.rows.n_segs;
		footer.segs = NULL;
		bak_footer_release(&footer);
		return 1;
	}
	if (rc < 0 && !bak_is_damage(err))
		return -1;
	if (!row->condemned)
		bak_checking_tell(c, rc == 0 ? "missing pack" : "damaged footer", pack,
				  rc == 0 ? "gone" : err->msg);
	if (bak_index_pack_segments(bak_repo_index(c->repo), row->id, out, out_n, err) < 0)
		return -1;
	return row->condemned;
}

static int check_pack(struct bak_checking *c, const struct bak_pack_row *row, struct bak_error *err)
{
	char pack[BAK_PACK_NAME_LEN];
	BAK_AUTO(bak_free_ptr) struct bak_seg_copy *segs = NULL;
	size_t n = 0;
	bak_pack_name(row->id, pack);
	int rc = pack_segments(c, row, pack, &segs, &n, err);
	if (rc < 0)
		return -1;
	bool damaged = rc == 0;
	uint64_t at = 0;
	c->out->packs++;
	c->out->bytes += row->size;
	for (size_t i = 0; i < n; i++) {
		if (segs[i].off != at && !damaged && !row->condemned) {
			damaged = true;
			bak_checking_tell(c, "damaged footer", pack,
					  "its segments do not follow one another");
		}
		at = segs[i].off + segs[i].len;
		rc = check_segment(c, pack, &segs[i], row->condemned, err);
		if (rc < 0)
			return -1;
		damaged |= rc == 1;
		bak_checking_progress(c, pack);
	}
	c->out->damaged_packs += damaged;
	if (damaged && bak_pack_list_add(&c->packs, row->id) < 0)
		return bak_error_nomem(err);
	return 0;
}

int bak_check_packs(struct bak_checking *c, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) struct bak_pack_row *packs = NULL;
	size_t n;
	if (bak_index_packs(bak_repo_index(c->repo), &packs, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		c->total += packs[i].size;
	for (size_t i = 0; i < n; i++)
		if (check_pack(c, &packs[i], err) < 0)
			return -1;
	return 0;
}

/* --- parity --- */

/* One pack's. A pack without is no damage; with repair it gets some. */
static int check_one(struct bak_checking *c, const struct bak_pack_row *row, struct bak_error *err)
{
	struct bak_error why = BAK_ERROR_INIT;
	uint64_t bad = 0, bad_blocks = 0;
	char name[BAK_PARITY_NAME_LEN];
	bak_parity_name(row->id, name);
	int rc = bak_parity_verify(bak_repo_backend(c->repo), bak_repo_ring(c->repo), row->id, &bad,
				   &bad_blocks, &why);
	if (rc < 0 && !bak_is_damage(&why)) {
		*err = why;
		return -1;
	}
	c->out->parity += rc != 0;
	/* Blocks of a pack that is otherwise sound: it is the parity that is wrong. */
	bool sound = !bak_pack_list_has(&c->packs, row->id);
	if (rc == 1 && bad == 0 && (bad_blocks == 0 || !sound))
		return 0;
	if (rc == 1)
		bak_error_set(&why, BAK_CORRUPT,
			      bad ? "%llu of its parts are not as they were"
				  : "%llu blocks of its pack do not fit it",
			      (unsigned long long)(bad ? bad : bad_blocks));
	if (rc != 0) {
		c->out->damaged_objects++;
		bak_checking_tell(c, "damaged parity", name, why.msg);
	}
	return bak_pack_list_add(&c->parity, row->id) < 0 ? bak_error_nomem(err) : 0;
}

int bak_check_parity(struct bak_checking *c, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) struct bak_pack_row *packs = NULL;
	size_t n;
	if (bak_index_packs(bak_repo_index(c->repo), &packs, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (!packs[i].condemned && check_one(c, &packs[i], err) < 0)
			return -1;
	return 0;
}
