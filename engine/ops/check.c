/* The whole repository: small objects, and the order of the parts; packs are in check_packs.c,
 * snapshots in check_trees.c. See verify.h. */
#include "engine/ops/check_private.h"

#include "engine/objects/repo_json.h"

#include <stdio.h>
#include <stdlib.h>

void bak_checking_tell(struct bak_checking *c, const char *what, const char *where, const char *why)
{
	if (c->conf->finding)
		c->conf->finding(c->conf->ctx, what, where, why);
}

void bak_checking_progress(struct bak_checking *c, const char *what)
{
	if (c->conf->progress)
		c->conf->progress(c->conf->ctx, c->done, c->total, what);
}

void bak_checking_lost(struct bak_checking *c, const struct bak_lost *lost)
{
	c->out->lost++;
	if (c->conf->lost)
		c->conf->lost(c->conf->ctx, lost);
}

int bak_pack_list_add(struct bak_pack_list *list, const uint8_t id[BAK_PACK_ID_BYTES])
{
	if (bak_grow(&list->v, &list->cap, list->n, sizeof *list->v) < 0)
		return -1;
	memcpy(list->v[list->n++], id, BAK_PACK_ID_BYTES);
	return 0;
}

bool bak_pack_list_has(const struct bak_pack_list *list, const uint8_t id[BAK_PACK_ID_BYTES])
{
	for (size_t i = 0; i < list->n; i++)
		if (memcmp(list->v[i], id, BAK_PACK_ID_BYTES) == 0)
			return true;
	return false;
}

/* --- small objects --- */

static int check_object(void *ctx, const char *name, uint64_t size)
{
	struct bak_checking *c = ctx;
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf json = BAK_BUF_INIT;
	(void)size;
	if (bak_record_get(bak_repo_backend(c->repo), bak_repo_ring(c->repo), name, &json, &err) >=
	    0)
		return 0;
	c->out->damaged_objects++;
	bak_checking_tell(c, "damaged object", name, err.msg);
	return bak_buf_append(&c->objects, name, strlen(name) + 1);
}

/* A slot with another secret than ours opens for nobody here, but its MAC is under our id key. */
static int check_key(void *ctx, const char *name, uint64_t size)
{
	struct bak_checking *c = ctx;
	struct bak_error err = BAK_ERROR_INIT;
	char id[33];
	BAK_AUTO(bak_buf_release) struct bak_buf json = BAK_BUF_INIT;
	(void)size;
	snprintf(id, sizeof id, "%.32s", name + strlen("keys/"));
	int rc = bak_backend_get(bak_repo_backend(c->repo), name, 0, SIZE_MAX, &json, &err);
	if (rc == 1)
		rc = bak_slot_check(bak_repo_ring(c->repo), id, (const char *)json.p, json.len,
				    &err);
	if (rc >= 0)
		return 0;
	c->out->damaged_objects++;
	c->out->lost++;
	bak_checking_tell(c, "damaged object", name, err.msg);
	return 0;
}

/* It was right when the repository was opened; that may be long ago. */
static int check_identity(struct bak_checking *c, struct bak_error *err)
{
	struct bak_error why = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	int rc = bak_backend_get(bak_repo_backend(c->repo), "bakfs.json", 0, SIZE_MAX, &text, err);
	if (rc < 0)
		return -1;
	if (rc == 0)
		bak_error_set(&why, BAK_NOT_FOUND, "gone");
	else if (bak_repo_json_verify((const char *)text.p, text.len,
				      bak_repo_ring(c->repo)->id_key, &why) == 0)
		return 0;
	c->out->damaged_objects++;
	c->out->lost++;
	bak_checking_tell(c, "damaged object", "bakfs.json", why.msg);
	return 0;
}

int bak_check_objects(struct bak_checking *c, struct bak_error *err)
{
	static const char *const folders[] = {"forgotten", "tags", "condemned", "running"};
	struct bak_backend *backend = bak_repo_backend(c->repo);
	int rc = check_identity(c, err);
	for (size_t i = 0; i < sizeof folders / sizeof *folders && rc == 0; i++)
		rc = bak_backend_list(backend, folders[i], check_object, c, err);
	if (rc == 0)
		rc = bak_backend_list(backend, "keys", check_key, c, err);
	return rc > 0 ? bak_error_nomem(err) : rc;
}

/* --- the whole --- */

/* What the next backup must not refer to: what snapshots miss, and what lies damaged. */
static int remember_lost(struct bak_checking *c, struct bak_error *err)
{
	for (size_t i = 0; i < c->bad.cap; i++) {
		if (!c->bad.used[i])
			continue;
		c->out->healed += bak_place_set_has(&c->entire, &c->bad.v[i]);
		if (!bak_place_set_has(&c->good, &c->bad.v[i]) &&
		    bak_place_set_add(&c->gone, &c->bad.v[i]) < 0)
			return bak_error_nomem(err);
	}
	bak_repo_set_lost(c->repo, &c->gone);
	return 0;
}

static void release(struct bak_checking *c)
{
	bak_seg_codec_release(&c->codec);
	bak_buf_release(&c->record);
	bak_buf_release(&c->objects);
	bak_place_set_release(&c->good);
	bak_place_set_release(&c->entire);
	bak_place_set_release(&c->bad);
	bak_place_set_release(&c->gone);
	bak_place_set_release(&c->clean);
	free(c->packs.v);
	free(c->parity.v);
	bak_hold_end(c->hold);
}

int bak_check(struct bak_repo *repo, const struct bak_verify_conf *conf,
	      struct bak_check_result *out, struct bak_error *err)
{
	struct bak_checking c = {.repo = repo, .conf = conf, .out = out};
	bool changed;
	*out = (struct bak_check_result){0};
	int rc = conf->repair ? bak_hold_begin(repo, BAK_HOLD_PRUNE, NULL, 0, &c.hold, err) : 0;
	if (rc == 0 &&
	    (bak_repo_refresh_snapshots(repo, &changed, err) < 0 ||
	     bak_repo_refresh_packs(repo, &changed, err) < 0 || bak_check_packs(&c, err) < 0 ||
	     bak_check_parity(&c, err) < 0 || bak_check_objects(&c, err) < 0))
		rc = -1;
	if (rc == 0 && c.hold)
		rc = bak_repair(&c, err);
	if (rc == 0)
		rc = bak_check_trees(&c, err);
	if (rc == 0)
		rc = remember_lost(&c, err);
	release(&c);
	return rc;
}
