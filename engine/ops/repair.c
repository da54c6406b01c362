/* What check found, put right as far as it goes: see verify.h. Small records are in
 * repair_objects.c. */
#include "engine/ops/repair.h"

#include "engine/content/repack.h"
#include "engine/objects/condemned.h"
#include "engine/objects/parity.h"
#include "engine/ops/walk.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_COPIES 16
/* For parity that is damaged where the configuration asks for none. */
#define USUAL_PERCENT 5

/* --- packs --- */

/* A copy that lies in no damaged pack. */
static bool lies_well(const struct bak_checking *c, const struct bak_seg_copy *copy)
{
	return !copy->condemned && !bak_pack_list_has(&c->packs, copy->pack);
}

/* As the damaged pack has it, or its parity, or another pack. Data that another pack has as a whole
 * needs no second copy; trees lie twice. 0, -1. */
static int save_segment(struct bak_checking *c, struct bak_repack *repack,
			const struct bak_seg_copy *copy, struct bak_error *err)
{
	struct bak_seg_copy others[MAX_COPIES];
	size_t n = 0;
	int rc = bak_repack_whole(repack, copy, err);
	if (rc < 0 && !bak_is_damage(err))
		return -1;
	if (rc < 0 && bak_index_find_segment(bak_repo_index(c->repo), &copy->id, others, MAX_COPIES,
					     &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n && i < MAX_COPIES && rc < 0; i++) {
		if (memcmp(others[i].pack, copy->pack, BAK_PACK_ID_BYTES) == 0)
			continue;
		struct bak_place place = {.seg = copy->id};
		bool there = copy->type == BAK_SEG_DATA && lies_well(c, &others[i]) &&
			     !others[i].holed && bak_place_set_has(&c->entire, &place);
		rc = there ? 0 : bak_repack_whole(repack, &others[i], err);
		if (rc < 0 && !bak_is_damage(err))
			return -1;
	}
	c->out->segments_saved += rc == 0;
	c->out->segments_lost += rc < 0;
	return 0;
}

/* A pack of a run that is still at work is referred to by what nobody sees yet. */
static bool at_work(const struct bak_pack_row *row, const struct bak_leases *leases)
{
	char run[17];
	bak_hex(run, row->run, sizeof row->run);
	for (size_t i = 0; i < leases->n; i++)
		if (row->walked || strcmp(run, leases->v[i].run) == 0)
			return true;
	return false;
}

static int save_pack(struct bak_checking *c, struct bak_repack *repack,
		     const struct bak_pack_row *row, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) struct bak_seg_copy *segs = NULL;
	size_t n = 0;
	if (bak_index_pack_segments(bak_repo_index(c->repo), row->id, &segs, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (save_segment(c, repack, &segs[i], err) < 0)
			return -1;
	return 0;
}

/* Copies what can be copied, and lists in done the packs that are needed no more. */
static int save_packs(struct bak_checking *c, struct bak_repack *repack, struct bak_pack_list *done,
		      struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) struct bak_pack_row *rows = NULL;
	BAK_AUTO(bak_leases_release) struct bak_leases leases = {.n = 0};
	size_t n;
	if (bak_leases_list(c->repo, bak_hold_id(c->hold), &leases, err) < 0 ||
	    bak_index_packs(bak_repo_index(c->repo), &rows, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		char name[BAK_PACK_NAME_LEN];
		if (!bak_pack_list_has(&c->packs, rows[i].id))
			continue;
		bak_pack_name(rows[i].id, name);
		if (at_work(&rows[i], &leases)) {
			c->out->lost++;
			bak_checking_tell(
				c, "not repaired", name,
				"a backup that may need it is at work: check again later");
			continue;
		}
		if (save_pack(c, repack, &rows[i], err) < 0)
			return bak_error_wrap(err, "%s", name);
		if (bak_pack_list_add(done, rows[i].id) < 0)
			return bak_error_nomem(err);
	}
	return 0;
}

static int condemn(struct bak_checking *c, const struct bak_pack_list *packs, struct bak_error *err)
{
	struct bak_condemned condemned = {
		.time = bak_repo_now(c->repo), .damaged = true, .packs = packs->v, .n = packs->n};
	char name[BAK_CONDEMNED_NAME_LEN];
	unsigned lapses;
	bool changed;
	if (packs->n == 0)
		return 0;
	if (bak_hold_check(c->hold, &lapses, err) < 0)
		return -1;
	if (lapses > 0)
		return bak_error_set(err, BAK_UNAVAILABLE,
				     "the lease lapsed meanwhile: what was saved is saved, but "
				     "check has to begin anew");
	snprintf(condemned.run, sizeof condemned.run, "%s", bak_hold_id(c->hold));
	if (bak_condemned_put(bak_repo_backend(c->repo), bak_repo_ring(c->repo), &condemned, name,
			      err) < 0)
		return -1;
	c->out->packs_replaced += packs->n;
	return bak_repo_refresh_packs(c->repo, &changed, err);
}

static int repair_packs(struct bak_checking *c, struct bak_error *err)
{
	struct bak_repack_conf conf = {.backend = bak_repo_backend(c->repo),
				       .ring = bak_repo_ring(c->repo),
				       .index = bak_repo_index(c->repo),
				       .run_start = bak_hold_start(c->hold),
				       .parity = bak_repo_parity(c->repo),
				       .mended = bak_source_mended(bak_repo_source(c->repo))};
	struct bak_repack *repack;
	struct bak_pack_list done = {.n = 0};
	uint64_t added;
	memcpy(conf.run, bak_hold_run(c->hold), sizeof conf.run);
	if (c->packs.n == 0)
		return 0;
	if (bak_repack_new(&conf, &repack, err) < 0)
		return -1;
	int rc = save_packs(c, repack, &done, err);
	if (rc == 0)
		rc = bak_repack_finish(repack, &added, err);
	bak_repack_free(repack);
	if (rc == 0)
		rc = condemn(c, &done, err);
	free(done.v);
	return rc;
}

/* --- parity --- */

/* Of a sound pack. Damaged parity is no loss: it goes, and is written anew. */
static int write_parity(struct bak_checking *c, const uint8_t pack[BAK_PACK_ID_BYTES],
			struct bak_error *err)
{
	struct bak_backend *backend = bak_repo_backend(c->repo);
	unsigned percent = bak_repo_parity(c->repo);
	char name[BAK_PARITY_NAME_LEN];
	bak_parity_name(pack, name);
	int removed = bak_backend_remove(backend, name, err);
	if (removed < 0)
		return -1;
	if (removed == 1 && percent == 0)
		percent = USUAL_PERCENT;
	if (percent == 0)
		return 0;
	c->out->parity_written++;
	return bak_parity_put(backend, bak_repo_ring(c->repo), pack, percent, bak_hold_id(c->hold),
			      err) < 0
		       ? -1
		       : 0;
}

struct orphans {
	struct bak_checking *c;
	struct bak_buf names; /* each terminated */
	struct bak_error *err;
};

static int look_at_parity(void *ctx, const char *name, uint64_t size)
{
	struct orphans *o = ctx;
	uint8_t id[BAK_PACK_ID_BYTES];
	char pack[BAK_PACK_NAME_LEN];
	(void)size;
	if (!bak_parity_id_of_name(name, id))
		return 0;
	bak_pack_name(id, pack);
	int rc = bak_backend_size(bak_repo_backend(o->c->repo), pack, &size, o->err);
	if (rc == 0 && bak_buf_append(&o->names, name, strlen(name) + 1) < 0)
		rc = bak_error_nomem(o->err);
	return rc < 0 ? -1 : 0;
}

/* A pack goes before its parity: what has no pack belongs to nothing. */
static int remove_orphans(struct bak_checking *c, struct bak_error *err)
{
	struct bak_backend *backend = bak_repo_backend(c->repo);
	struct orphans o = {.c = c, .err = err};
	int rc = bak_backend_list(backend, "parity", look_at_parity, &o, err);
	for (size_t at = 0; at < o.names.len && rc == 0; at += strlen((char *)o.names.p + at) + 1) {
		rc = bak_backend_remove(backend, (char *)o.names.p + at, err) < 0 ? -1 : 0;
		c->out->objects_removed++;
	}
	bak_buf_release(&o.names);
	return rc;
}

int bak_repair(struct bak_checking *c, struct bak_error *err)
{
	if (repair_packs(c, err) < 0)
		return -1;
	for (size_t i = 0; i < c->parity.n; i++)
		if (!bak_pack_list_has(&c->packs, c->parity.v[i]) &&
		    write_parity(c, c->parity.v[i], err) < 0)
			return -1;
	return remove_orphans(c, err) < 0 ? -1 : bak_repair_objects(c, err);
}
