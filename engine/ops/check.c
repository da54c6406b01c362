/* The whole repository, byte by byte and reference by reference: see verify.h. */
#include "engine/base/place_set.h"
#include "engine/content/reader.h"
#include "engine/ops/verify.h"
#include "engine/ops/walk.h"

#include <stdio.h>
#include <stdlib.h>

struct check {
	struct bak_repo *repo;
	const struct bak_verify_conf *conf;
	struct bak_check_result *out;
	uint64_t total, done;
	struct bak_seg_codec codec;
	struct bak_buf record;
	struct bak_place_set good;     /* segments of which a copy opened; off 0 */
	struct bak_place_set entire;   /* those of which a copy without holes opened */
	struct bak_place_set bad;      /* segments of which a copy did not open */
	struct bak_place_set clean;    /* folders without damage below */
	struct bak_snapshot *snapshot; /* the one being walked */
};

static void finding(struct check *c, const char *what, const char *where, const char *why)
{
	if (c->conf->finding)
		c->conf->finding(c->conf->ctx, what, where, why);
}

static void told_progress(struct check *c, const char *what)
{
	if (c->conf->progress)
		c->conf->progress(c->conf->ctx, c->done, c->total, what);
}

/* --- packs --- */

static struct bak_place whole(const struct bak_seg_id *id)
{
	return (struct bak_place){.seg = *id};
}

/* Opens one record of a pack. 0 good, 1 damaged (told), -1 worse. */
static int check_segment(struct check *c, const char *pack, const struct bak_seg_copy *copy,
			 struct bak_error *err)
{
	struct bak_segment segment = {0};
	struct bak_place place = whole(&copy->id);
	c->record.len = 0;
	int rc = bak_backend_get(bak_repo_backend(c->repo), pack, copy->off, copy->len, &c->record,
				 err);
	if (rc == 1)
		rc = bak_segment_open(bak_repo_ring(c->repo), &c->codec, copy->type, &copy->id,
				      c->record.p, c->record.len, &segment, err);
	else if (rc == 0)
		rc = bak_error_set(err, BAK_CORRUPT, "missing");
	if (rc == 0 &&
	    (segment.header.holed != copy->holed || segment.header.raw_len != copy->raw_len))
		rc = bak_error_set(err, BAK_CORRUPT, "not as the footer says");
	bak_segment_release(&segment);
	c->out->segments++;
	c->done += copy->len;
	if (rc == 0)
		return bak_place_set_add(&c->good, &place) < 0 ||
				       (!copy->holed && bak_place_set_add(&c->entire, &place) < 0)
			       ? bak_error_nomem(err)
			       : 0;
	if (!bak_is_damage(err))
		return -1;
	char where[128];
	snprintf(where, sizeof where, "%s at %llu", pack, (unsigned long long)copy->off);
	c->out->damaged_segments++;
	finding(c, "damaged segment", where, err->msg);
	return bak_place_set_add(&c->bad, &place) < 0 ? bak_error_nomem(err) : 1;
}

/* Footer, or what can be walked. 1 good, 0 damaged and told, -1 worse. */
static int read_footer(struct check *c, const struct bak_pack_row *row, const char *pack,
		       struct bak_footer *out, struct bak_error *err)
{
	struct bak_backend *backend = bak_repo_backend(c->repo);
	int rc = bak_pack_read_footer(backend, bak_repo_ring(c->repo), row->id, out, err);
	if (rc == 1)
		return 1;
	if (rc < 0 && !bak_is_damage(err))
		return -1;
	finding(c, rc == 0 ? "missing pack" : "damaged footer", pack, rc == 0 ? "gone" : err->msg);
	if (rc == 0)
		return 0;
	uint64_t lost;
	struct bak_error scratch = BAK_ERROR_INIT;
	if (bak_pack_walk(backend, bak_repo_ring(c->repo), row->id, out, &lost, &scratch) == 1)
		return 0;
	*out = (struct bak_footer){0};
	return 0;
}

static int check_pack(struct check *c, const struct bak_pack_row *row, struct bak_error *err)
{
	char pack[BAK_PACK_NAME_LEN];
	struct bak_footer footer = {0};
	bak_pack_name(row->id, pack);
	int rc = read_footer(c, row, pack, &footer, err);
	if (rc < 0)
		return -1;
	bool damaged = rc == 0;
	uint64_t at = 0;
	c->out->packs++;
	c->out->bytes += row->size;
	for (size_t i = 0; i < footer.rows.n_segs; i++) {
		if (footer.segs[i].off != at && !damaged) {
			damaged = true;
			finding(c, "damaged footer", pack,
				"its segments do not follow one another");
		}
		at = footer.segs[i].off + footer.segs[i].len;
		rc = check_segment(c, pack, &footer.segs[i], err);
		if (rc < 0)
			break;
		damaged |= rc == 1;
		told_progress(c, pack);
	}
	bak_footer_release(&footer);
	c->out->damaged_packs += damaged;
	return rc < 0 ? -1 : 0;
}

static int check_packs(struct check *c, struct bak_error *err)
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
	for (size_t i = 0; i < c->bad.cap; i++)
		if (c->bad.used[i] && bak_place_set_has(&c->entire, &c->bad.v[i]))
			c->out->healed++;
	return 0;
}

/* --- small objects --- */

static int check_object(void *ctx, const char *name, uint64_t size)
{
	struct check *c = ctx;
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf json = BAK_BUF_INIT;
	(void)size;
	if (bak_record_get(bak_repo_backend(c->repo), bak_repo_ring(c->repo), name, &json, &err) >=
	    0)
		return 0;
	c->out->damaged_objects++;
	finding(c, "damaged object", name, err.msg);
	return 0;
}

static int check_key(void *ctx, const char *name, uint64_t size)
{
	struct check *c = ctx;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_slot_info info;
	char id[33];
	BAK_AUTO(bak_buf_release) struct bak_buf json = BAK_BUF_INIT;
	(void)size;
	snprintf(id, sizeof id, "%.32s", name + strlen("keys/"));
	if (bak_backend_get(bak_repo_backend(c->repo), name, 0, SIZE_MAX, &json, &err) == 1 &&
	    bak_slot_describe(id, (const char *)json.p, json.len, &info, &err) == 0)
		return 0;
	c->out->damaged_objects++;
	finding(c, "damaged object", name, err.msg);
	return 0;
}

static int check_objects(struct check *c, struct bak_error *err)
{
	static const char *const folders[] = {"forgotten", "tags", "condemned"};
	struct bak_backend *backend = bak_repo_backend(c->repo);
	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
		if (bak_backend_list(backend, folders[i], check_object, c, err) < 0)
			return -1;
	return bak_backend_list(backend, "keys", check_key, c, err);
}

/* --- trees --- */

/* A data segment of which no good copy was met. */
static int extent_sound(void *ctx, uint64_t off, const struct bak_extent *extent,
			struct bak_error *err)
{
	struct check *c = ctx;
	(void)off;
	if (extent->kind != BAK_EXTENT_BYTES)
		return 0;
	struct bak_place place = whole(&extent->seg);
	if (!bak_place_set_has(&c->good, &place)) {
		bool damaged = bak_place_set_has(&c->bad, &place);
		c->out->missing += !damaged;
		return bak_error_set(err, BAK_CORRUPT, "segment %u %s", extent->seg.n,
				     damaged ? "is damaged" : "is in no pack");
	}
	struct bak_seg_copy copies[16];
	size_t n = 0;
	if (bak_place_set_has(&c->entire, &place) &&
	    bak_index_find_segment(bak_repo_index(c->repo), &extent->seg, copies, 16, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n && i < 16; i++)
		if (!copies[i].holed && extent->off + extent->len <= copies[i].raw_len)
			return 0;
	/* Only holed copies are sound: the bytes themselves tell. */
	const uint8_t *p;
	BAK_AUTO(bak_pin_put_ptr) struct bak_pin *pin = NULL;
	return bak_source_bytes(bak_repo_source(c->repo), &extent->seg, extent->off,
				(uint32_t)extent->len, &p, &pin, err);
}

static void damaged_path(struct check *c, const char *what, const char *path, const char *why)
{
	char quoted[512], where[600];
	snprintf(where, sizeof where, "snapshot %llu (%s): %s",
		 (unsigned long long)c->snapshot->number, c->snapshot->store,
		 bak_error_quote(path[0] ? path : ".", quoted, sizeof quoted));
	c->out->damaged_files++;
	finding(c, what, where, why);
}

static int check_file(void *ctx, const char *path, const struct bak_inode *inode,
		      struct bak_error *err)
{
	struct check *c = ctx;
	if (bak_each_extent(bak_repo_source(c->repo), &inode->content, inode->size, extent_sound, c,
			    err) == 0)
		return 0;
	if (!bak_is_damage(err))
		return -1;
	damaged_path(c, "damaged file", path, err->msg);
	return 0;
}

static int check_folder(void *ctx, const char *path, struct bak_error *err)
{
	damaged_path(ctx, "damaged folder", path, err->msg);
	return 0;
}

/* Folders that an earlier snapshot had and that were sound need no second look; with any damage in
 * the repository every snapshot is walked whole, so that every name is told. */
static int known_clean(void *ctx, const struct bak_ref *dir)
{
	struct check *c = ctx;
	struct bak_place place = {dir->seg, dir->off};
	return bak_place_set_has(&c->clean, &place);
}

static void remember_clean(void *ctx, const struct bak_ref *dir)
{
	struct check *c = ctx;
	struct bak_place place = {dir->seg, dir->off};
	if (c->out->damaged_files == 0)
		bak_place_set_add(&c->clean, &place);
}

static int check_snapshot(struct check *c, uint64_t number, struct bak_error *err)
{
	struct bak_snapshot snapshot = {0};
	char name[32];
	snprintf(name, sizeof name, "snapshots/%llu", (unsigned long long)number);
	int rc = bak_repo_snapshot(c->repo, number, &snapshot, err);
	if (rc == 0)
		return 0;
	if (rc < 0) {
		if (!bak_is_damage(err))
			return -1;
		c->out->damaged_objects++;
		finding(c, "damaged snapshot", name, err->msg);
		return 0;
	}
	c->snapshot = &snapshot;
	struct bak_walk walk = {.tree = {bak_repo_source(c->repo), &snapshot},
				.file = check_file,
				.damaged = check_folder,
				.skip = known_clean,
				.leave = remember_clean,
				.ctx = c};
	rc = bak_walk(&walk, err);
	c->out->snapshots++;
	told_progress(c, name);
	bak_snapshot_release(&snapshot);
	return rc;
}

static int check_snapshots(struct check *c, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) uint64_t *numbers = NULL;
	char *omitted = NULL;
	size_t n;
	if (bak_index_snapshot_numbers(bak_repo_index(c->repo), &numbers, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (check_snapshot(c, numbers[i], err) < 0)
			return -1;
	if (bak_repo_omissions(c->repo, &omitted, err) < 0)
		return -1;
	if (omitted) {
		c->out->missing++;
		finding(c, "missing snapshots", "snapshots/", omitted);
	}
	free(omitted);
	return 0;
}

int bak_check(struct bak_repo *repo, const struct bak_verify_conf *conf,
	      struct bak_check_result *out, struct bak_error *err)
{
	struct check c = {.repo = repo, .conf = conf, .out = out};
	bool changed;
	*out = (struct bak_check_result){0};
	int rc = bak_repo_refresh_snapshots(repo, &changed, err) < 0 ||
				 bak_repo_refresh_packs(repo, &changed, err) < 0 ||
				 check_packs(&c, err) < 0 || check_objects(&c, err) < 0 ||
				 check_snapshots(&c, err) < 0
			 ? -1
			 : 0;
	bak_seg_codec_release(&c.codec);
	bak_buf_release(&c.record);
	bak_place_set_release(&c.good);
	bak_place_set_release(&c.entire);
	bak_place_set_release(&c.bad);
	bak_place_set_release(&c.clean);
	return rc;
}
