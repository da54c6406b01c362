/* Reading what users would read, and comparing sums: see verify.h. */
#include "engine/ops/verify.h"

#include "engine/base/hash.h"
#include "engine/content/reader.h"
#include "engine/ops/ahead.h"
#include "engine/ops/walk.h"

#include <stdio.h>
#include <stdlib.h>

#define READ_STEP (1u << 20)

struct verify {
	struct bak_repo *repo;
	const struct bak_verify_conf *conf;
	struct bak_verify_result *result;
	uint64_t number, total;
	struct bak_sha256 sha;
	struct bak_ahead *ahead;
	struct bak_seg_id last_found; /* structure: the segment looked up last */
	uint32_t last_raw_len;
};

static void finding(struct verify *v, const char *what, const char *path, const char *why)
{
	char quoted[512], where[600];
	if (!v->conf->finding)
		return;
	snprintf(where, sizeof where, "snapshot %llu: %s", (unsigned long long)v->number,
		 bak_error_quote(path, quoted, sizeof quoted));
	v->conf->finding(v->conf->ctx, what, where, why);
}

/* An extent's segment is in some pack and long enough. */
static int look_up(void *ctx, uint64_t off, const struct bak_extent *extent, struct bak_error *err)
{
	struct verify *v = ctx;
	(void)off;
	if (extent->kind != BAK_EXTENT_BYTES)
		return 0;
	if (!v->last_raw_len || !bak_seg_id_equal(&v->last_found, &extent->seg)) {
		struct bak_seg_copy copy;
		size_t n;
		int rc = bak_index_find_segment(bak_repo_index(v->repo), &extent->seg, &copy, 1, &n,
						err);
		if (rc < 0)
			return -1;
		if (rc == 0)
			return bak_error_set(err, BAK_CORRUPT, "a segment is in no pack");
		v->last_found = extent->seg;
		v->last_raw_len = copy.holed ? UINT32_MAX : copy.raw_len;
	}
	if (extent->len > v->last_raw_len || extent->off > v->last_raw_len - extent->len)
		return bak_error_set(err, BAK_CORRUPT, "an extent reaches beyond its segment");
	return 0;
}

/* Reads data between holes only: for files whose sum was not taken. */
static int read_data(struct verify *v, const struct bak_inode *inode, struct bak_error *err)
{
	struct bak_source *source = bak_repo_source(v->repo);
	uint64_t off = 0;
	while (off < inode->size) {
		BAK_AUTO(bak_slices_release) struct bak_slices slices = BAK_SLICES_INIT;
		int rc = bak_seek_data(source, &inode->content, inode->size, off, &off, err);
		if (rc <= 0)
			return rc;
		if (bak_read_slices(source, &inode->content, inode->size, off, READ_STEP, &slices,
				    err) < 0)
			return -1;
		off += READ_STEP;
	}
	return 0;
}

static int read_and_sum(struct verify *v, const struct bak_inode *inode, struct bak_error *err)
{
	uint8_t sum[BAK_SHA256_LEN];
	if (inode->flags & BAK_INODE_NOSUM)
		return read_data(v, inode, err);
	bak_sha256_begin(&v->sha);
	for (uint64_t off = 0; off < inode->size; off += READ_STEP) {
		BAK_AUTO(bak_slices_release) struct bak_slices slices = BAK_SLICES_INIT;
		if (bak_read_slices(bak_repo_source(v->repo), &inode->content, inode->size, off,
				    READ_STEP, &slices, err) < 0)
			return -1;
		for (size_t i = 0; i < slices.n; i++)
			bak_sha256_update(&v->sha, slices.v[i].p, slices.v[i].len);
		bak_ahead_took(v->ahead, READ_STEP);
	}
	bak_sha256_final(&v->sha, sum);
	if (inode->size > 0 && memcmp(sum, inode->sha256, sizeof sum) != 0)
		return bak_error_set(err, BAK_CORRUPT, "SHA-256 is not what it was at the backup");
	return 0;
}

static int verify_file(void *ctx, const char *path, const struct bak_inode *inode,
		       struct bak_error *err)
{
	struct verify *v = ctx;
	int rc = v->conf->quick ? bak_each_extent(bak_repo_source(v->repo), &inode->content,
						  inode->size, look_up, v, err)
				: read_and_sum(v, inode, err);
	v->result->files++;
	v->result->bytes += inode->size;
	if (v->conf->progress)
		v->conf->progress(v->conf->ctx, v->result->bytes, v->total, path);
	if (rc == 0)
		return 0;
	if (!bak_is_damage(err))
		return -1;
	v->result->damaged_files++;
	finding(v, "damaged file", path, err->msg);
	return 0;
}

static int verify_folder(void *ctx, const char *path, const struct bak_gap *gap,
			 struct bak_error *err)
{
	struct verify *v = ctx;
	v->result->damaged_files++;
	finding(v, gap->one ? "damaged file" : "damaged folder", path[0] ? path : ".", err->msg);
	return 0;
}

int bak_verify(struct bak_repo *repo, uint64_t number, const struct bak_verify_conf *conf,
	       struct bak_verify_result *out, struct bak_error *err)
{
	struct bak_snapshot snapshot = {0};
	int rc = bak_repo_snapshot(repo, number, &snapshot, err);
	if (rc <= 0)
		return rc < 0 ? -1
			      : bak_error_set(err, BAK_NOT_FOUND, "no snapshot %llu",
					      (unsigned long long)number);
	struct verify v = {.repo = repo, .conf = conf, .result = out, .number = number};
	v.total = out->bytes + snapshot.root.totals.bytes + snapshot.link_bytes;
	if (bak_sha256_init(&v.sha, err) < 0) {
		bak_snapshot_release(&snapshot);
		return -1;
	}
	struct bak_walk walk = {.tree = {bak_repo_source(repo), &snapshot},
				.file = verify_file,
				.damaged = verify_folder,
				.ctx = &v};
	v.ahead = conf->quick ? NULL : bak_ahead_start(&walk.tree);
	rc = bak_walk(&walk, err);
	bak_ahead_stop(v.ahead);
	out->snapshots++;
	bak_sha256_release(&v.sha);
	bak_snapshot_release(&snapshot);
	return rc;
}
