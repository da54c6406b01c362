/*
 * The folders above the snapshots: /by-date, /by-store, /latest, and the computed files in them.
 *
 * Offsets in listings are made of what never moves (a day, a stamp, a hash of a store's name), so
 * that a reader who comes back goes on where it was, whatever came or went meanwhile.
 */
#include "engine/ops/sums.h"
#include "fs/control.h"
#include "fs/errno.h"
#include "fs/fs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_OFF (BAK_DIR_FIRST + 1)
/* In folders with more snapshots than this, listings name them without attributes: these would
 * have each one opened. `ls -l` asks for them one by one. */
#define OPEN_IN_LISTING 64

static const char *const root_names[] = {"by-date", "by-store", "latest",
					 "restore", "status",   "metrics"};
enum root_name {
	ROOT_BY_DATE,
	ROOT_BY_STORE,
	ROOT_LATEST,
	ROOT_RESTORE,
	ROOT_STATUS,
	ROOT_METRICS
};

/* --- attributes --- */

static int64_t run_time(const struct bak_catalog *cat, const struct bak_cat_run *run)
{
	int64_t newest = run->stamp;
	for (uint32_t i = 0; i < run->n_snaps; i++)
		if (cat->snaps[run->snaps[i]].stamp > newest)
			newest = cat->snaps[run->snaps[i]].stamp;
	return newest;
}

static int64_t day_time(const struct bak_catalog *cat, const struct bak_cat_day *day)
{
	int64_t newest = 0;
	for (uint32_t i = day->first_run; i < day->first_run + day->n_runs; i++) {
		int64_t t = run_time(cat, &cat->runs[i]);
		newest = t > newest ? t : newest;
	}
	return newest;
}

static int64_t store_time(const struct bak_catalog *cat, const struct bak_cat_store *store)
{
	return store->n_snaps ? cat->snaps[store->snaps[store->n_snaps - 1]].stamp : cat->newest;
}

static uint32_t n_latest(const struct bak_catalog *cat)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < cat->n_stores; i++)
		n += cat->stores[i].latest != BAK_CAT_NONE;
	return n;
}

static const struct bak_cat_snap *snap_of_node(const struct bak_catalog *cat, struct bak_vnode node)
{
	if (node.kind == BAK_V_SNAP_MANIFEST || node.kind == BAK_V_SNAP_SUMS)
		return &cat->snaps[node.index];
	return &cat->snaps[cat->stores[node.index].latest];
}

static void folder_attr(struct bak_fs *fs, const struct bak_catalog *cat, struct bak_vnode node,
			struct stat *out)
{
	int64_t time = cat->newest ? cat->newest : fs->mounted;
	nlink_t folders = 0;
	switch (node.kind) {
	case BAK_V_ROOT:
		folders = 3 + (fs->control != NULL);
		break;
	case BAK_V_BY_DATE:
		folders = cat->n_days;
		break;
	case BAK_V_BY_STORE:
		folders = cat->n_stores;
		break;
	case BAK_V_LATEST:
		folders = n_latest(cat);
		break;
	case BAK_V_DAY:
		folders = cat->days[node.index].n_runs;
		time = day_time(cat, &cat->days[node.index]);
		break;
	case BAK_V_RUN:
		folders = cat->runs[node.index].n_snaps;
		time = run_time(cat, &cat->runs[node.index]);
		break;
	default:
		folders = cat->stores[node.index].n_snaps;
		time = store_time(cat, &cat->stores[node.index]);
		break;
	}
	bak_attr_own(fs, bak_catalog_ino(cat, node), S_IFDIR | 0555, 2 + folders, 4096, time, out);
}

int bak_view_attr(struct bak_fs *fs, const struct bak_catalog *cat, struct bak_vnode node,
		  struct stat *out)
{
	if (node.kind <= BAK_V_RUN || node.kind == BAK_V_STORE) {
		folder_attr(fs, cat, node, out);
		return 0;
	}
	uint64_t size;
	int no = bak_view_size(fs, cat, node, &size);
	if (no)
		return no;
	bool of_run = node.kind == BAK_V_RUN_MANIFEST || node.kind == BAK_V_RUN_SUMS;
	int64_t time = of_run ? run_time(cat, &cat->runs[node.index])
			      : snap_of_node(cat, node)->stamp;
	/* Sums and manifests say much of what private files hold: they are for the mounting user.
	 */
	mode_t mode = node.kind == BAK_V_STORE_LATEST ? S_IFLNK | 0777 : S_IFREG | 0400;
	bak_attr_own(fs, bak_catalog_ino(cat, node), mode, 1, size, time, out);
	return 0;
}

/* --- contents --- */

static int run_manifest(struct bak_fs *fs, const struct bak_catalog *cat,
			const struct bak_cat_run *run, uint64_t off, size_t len,
			struct bak_buf *out, uint64_t *out_size)
{
	int no = bak_text_get(fs, run->manifest_ino, off, len, out, out_size, NULL);
	if (no != ESTALE)
		return no;
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	BAK_AUTO(bak_free_ptr) uint64_t *numbers = malloc(run->n_snaps * sizeof *numbers);
	if (!numbers)
		return ENOMEM;
	for (uint32_t i = 0; i < run->n_snaps; i++)
		numbers[i] = cat->snaps[run->snaps[i]].number;
	if (bak_run_manifest(fs->repo, run->id, numbers, run->n_snaps, &text, &err) < 0)
		return bak_damage(fs, NULL, (struct bak_ino){.range = BAK_RANGE_VIRTUAL}, &err);
	no = bak_text_keep(fs, run->manifest_ino, &text);
	if (no)
		return no;
	return bak_text_get(fs, run->manifest_ino, off, len, out, out_size, NULL);
}

static uint64_t sums_size(const struct bak_catalog *cat, const struct bak_cat_snap *snap,
			  bool by_stamp)
{
	size_t prefix = by_stamp ? BAK_STAMP_LEN : strlen(cat->stores[snap->store].name);
	return bak_sums_len(&snap->totals, prefix + 1);
}

int bak_view_size(struct bak_fs *fs, const struct bak_catalog *cat, struct bak_vnode node,
		  uint64_t *out)
{
	*out = 0;
	switch (node.kind) {
	case BAK_V_STORE_LATEST:
		*out = BAK_STAMP_LEN;
		return 0;
	case BAK_V_RUN_MANIFEST:
		return run_manifest(fs, cat, &cat->runs[node.index], 0, 0, NULL, out);
	case BAK_V_RUN_SUMS:
		for (uint32_t i = 0; i < cat->runs[node.index].n_snaps; i++)
			*out += sums_size(cat, &cat->snaps[cat->runs[node.index].snaps[i]], false);
		return 0;
	case BAK_V_SNAP_SUMS:
	case BAK_V_LATEST_SUMS:
		*out = sums_size(cat, snap_of_node(cat, node), node.kind == BAK_V_SNAP_SUMS);
		return 0;
	case BAK_V_SNAP_MANIFEST:
	case BAK_V_LATEST_MANIFEST:
		*out = snap_of_node(cat, node)->manifest_len;
		return 0;
	default:
		return EISDIR;
	}
}

static int cut_text(const char *text, size_t text_len, uint64_t off, size_t len,
		    struct bak_buf *out)
{
	if (off >= text_len)
		return 0;
	if (len > text_len - off)
		len = text_len - (size_t)off;
	return bak_buf_append(out, text + off, len) < 0 ? ENOMEM : 0;
}

/* A part of a snapshot's manifest, or of its sums when prefix is not NULL. */
static int snap_text(struct bak_fs *fs, uint64_t number, const char *prefix, uint64_t off,
		     size_t len, struct bak_buf *out)
{
	struct bak_snap *snap;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_ino at = {.range = BAK_RANGE_TREE, .number = number};
	int rc = bak_snap_get(fs->snaps, number, &snap, &err);
	if (rc == 0)
		return ESTALE;
	if (rc < 0)
		return bak_damage(fs, NULL, at, &err);
	int no = 0;
	if (!prefix)
		no = cut_text(snap->snapshot.manifest, snap->snapshot.manifest_len, off, len, out);
	else if (bak_sums_range(&snap->tree, prefix, off, len, out, &err) < 0)
		no = bak_damage(fs, &snap->tree, at, &err);
	bak_snap_put(snap);
	return no;
}

static int run_sums(struct bak_fs *fs, const struct bak_catalog *cat, const struct bak_cat_run *run,
		    uint64_t off, size_t len, struct bak_buf *out)
{
	for (uint32_t i = 0; i < run->n_snaps && len; i++) {
		const struct bak_cat_snap *snap = &cat->snaps[run->snaps[i]];
		uint64_t size = sums_size(cat, snap, false);
		if (off >= size) {
			off -= size;
			continue;
		}
		char prefix[BAK_STORE_NAME_MAX + 2];
		snprintf(prefix, sizeof prefix, "%s/", cat->stores[snap->store].name);
		size_t before = out->len;
		int no = snap_text(fs, snap->number, prefix, off, len, out);
		if (no)
			return no;
		len -= out->len - before;
		off = 0;
	}
	return 0;
}

int bak_view_text(struct bak_fs *fs, const struct bak_catalog *cat, struct bak_vnode node,
		  uint64_t off, size_t len, struct bak_buf *out)
{
	char prefix[BAK_STORE_NAME_MAX + 2];
	uint64_t size;
	const struct bak_cat_snap *snap;
	switch (node.kind) {
	case BAK_V_RUN_MANIFEST:
		return run_manifest(fs, cat, &cat->runs[node.index], off, len, out, &size);
	case BAK_V_RUN_SUMS:
		return run_sums(fs, cat, &cat->runs[node.index], off, len, out);
	case BAK_V_SNAP_MANIFEST:
	case BAK_V_LATEST_MANIFEST:
		return snap_text(fs, snap_of_node(cat, node)->number, NULL, off, len, out);
	case BAK_V_SNAP_SUMS:
	case BAK_V_LATEST_SUMS:
		snap = snap_of_node(cat, node);
		snprintf(prefix, sizeof prefix, "%s/",
			 node.kind == BAK_V_SNAP_SUMS ? snap->name : cat->stores[snap->store].name);
		return snap_text(fs, snap->number, prefix, off, len, out);
	case BAK_V_STORE_LATEST:
		return cut_text(snap_of_node(cat, node)->name, BAK_STAMP_LEN, off, len, out);
	default:
		return EISDIR;
	}
}

/* --- parents --- */

uint64_t bak_view_parent(const struct bak_catalog *cat, struct bak_vnode node)
{
	switch (node.kind) {
	case BAK_V_DAY:
		return cat->by_date_ino;
	case BAK_V_RUN:
		return cat->days[cat->runs[node.index].day].ino;
	case BAK_V_STORE:
		return cat->by_store_ino;
	default:
		return BAK_INO_ROOT;
	}
}

uint64_t bak_view_parent_of_root(const struct bak_catalog *cat, enum bak_view view, uint64_t number)
{
	const struct bak_cat_snap *snap = bak_catalog_snap(cat, number);
	if (view == BAK_VIEW_LATEST)
		return cat->latest_ino;
	if (!snap)
		return 0;
	return view == BAK_VIEW_BY_DATE ? cat->runs[snap->run].ino : cat->stores[snap->store].ino;
}

/* --- look-ups --- */

static int found_node(struct bak_fs *fs, const struct bak_catalog *cat, enum bak_vkind kind,
		      size_t index, struct fuse_entry_param *out)
{
	struct bak_vnode node = {kind, (uint32_t)index};
	int no = bak_view_attr(fs, cat, node, &out->attr);
	out->ino = out->attr.st_ino;
	return no;
}

static int snap_root_attr(struct bak_fs *fs, enum bak_view view, uint64_t number, struct stat *out)
{
	struct bak_place place;
	uint64_t ino = bak_ino_tree(view, number, 0);
	int no = bak_place_open(fs, ino, &place);
	if (no)
		return no;
	bak_attr_found(fs, &place.snap->tree, ino, &place.found, out);
	bak_place_close(&place);
	return 0;
}

static int found_snap(struct bak_fs *fs, enum bak_view view, const struct bak_cat_snap *snap,
		      struct fuse_entry_param *out)
{
	out->ino = bak_ino_tree(view, snap->number, 0);
	return snap_root_attr(fs, view, snap->number, &out->attr);
}

static int found_text(struct bak_fs *fs, enum bak_text_kind kind, struct fuse_entry_param *out)
{
	uint64_t size;
	int64_t made;
	int no = bak_text_current(fs, kind, &out->ino, &size, &made);
	if (no)
		return no;
	/* The next one may be another text under another number; this one never changes. */
	out->entry_timeout = 0;
	bak_attr_own(fs, out->ino, S_IFREG | 0444, 1, size, made, &out->attr);
	return 0;
}

static int lookup_root(struct bak_fs *fs, const struct bak_catalog *cat, const char *name,
		       struct fuse_entry_param *out)
{
	size_t i = 0, n = sizeof root_names / sizeof *root_names;
	while (i < n && strcmp(name, root_names[i]) != 0)
		i++;
	switch (i) {
	case ROOT_BY_DATE:
		return found_node(fs, cat, BAK_V_BY_DATE, 0, out);
	case ROOT_BY_STORE:
		return found_node(fs, cat, BAK_V_BY_STORE, 0, out);
	case ROOT_LATEST:
		return found_node(fs, cat, BAK_V_LATEST, 0, out);
	case ROOT_STATUS:
		return found_text(fs, BAK_TEXT_STATUS, out);
	case ROOT_METRICS:
		return found_text(fs, BAK_TEXT_METRICS, out);
	case ROOT_RESTORE:
		if (!fs->control)
			return ENOENT;
		out->ino = bak_control_root(fs->control);
		out->attr_timeout = 0;
		return bak_control_getattr(fs->control, out->ino, &out->attr);
	default:
		return ENOENT;
	}
}

/* Which of name, name.json, name.sha256 it is: the length of name, and the suffix. */
enum suffix { SUFFIX_NONE, SUFFIX_JSON, SUFFIX_SUMS };

static enum suffix split_suffix(const char *name, size_t *out_len)
{
	size_t len = strlen(name);
	*out_len = len;
	if (len > 5 && strcmp(name + len - 5, ".json") == 0) {
		*out_len = len - 5;
		return SUFFIX_JSON;
	}
	if (len > 7 && strcmp(name + len - 7, ".sha256") == 0) {
		*out_len = len - 7;
		return SUFFIX_SUMS;
	}
	return SUFFIX_NONE;
}

static int lookup_latest(struct bak_fs *fs, const struct bak_catalog *cat, const char *name,
			 struct fuse_entry_param *out)
{
	size_t len;
	enum suffix suffix = split_suffix(name, &len);
	const struct bak_cat_store *store = bak_catalog_store(cat, name, len);
	if (!store || store->latest == BAK_CAT_NONE)
		return ENOENT;
	const struct bak_cat_snap *snap = &cat->snaps[store->latest];
	size_t index = (size_t)(store - cat->stores);
	if (suffix == SUFFIX_NONE)
		return found_snap(fs, BAK_VIEW_LATEST, snap, out);
	if (suffix == SUFFIX_JSON)
		return found_node(fs, cat, BAK_V_LATEST_MANIFEST, index, out);
	if (!snap->totals.files)
		return ENOENT;
	return found_node(fs, cat, BAK_V_LATEST_SUMS, index, out);
}

static int lookup_store(struct bak_fs *fs, const struct bak_catalog *cat, uint32_t index,
			const char *name, struct fuse_entry_param *out)
{
	const struct bak_cat_store *store = &cat->stores[index];
	if (strcmp(name, "latest") == 0)
		return store->latest == BAK_CAT_NONE
			       ? ENOENT
			       : found_node(fs, cat, BAK_V_STORE_LATEST, index, out);
	size_t len;
	enum suffix suffix = split_suffix(name, &len);
	const struct bak_cat_snap *snap = bak_catalog_stamp(cat, store, name, len);
	if (!snap)
		return ENOENT;
	size_t at = (size_t)(snap - cat->snaps);
	if (suffix == SUFFIX_NONE)
		return found_snap(fs, BAK_VIEW_BY_STORE, snap, out);
	if (suffix == SUFFIX_JSON)
		return found_node(fs, cat, BAK_V_SNAP_MANIFEST, at, out);
	return snap->totals.files ? found_node(fs, cat, BAK_V_SNAP_SUMS, at, out) : ENOENT;
}

static int lookup_run(struct bak_fs *fs, const struct bak_catalog *cat, uint32_t index,
		      const char *name, struct fuse_entry_param *out)
{
	const struct bak_cat_run *run = &cat->runs[index];
	if (strcmp(name, "manifest.json") == 0)
		return found_node(fs, cat, BAK_V_RUN_MANIFEST, index, out);
	if (strcmp(name, "SHA256SUMS") == 0)
		return run->files ? found_node(fs, cat, BAK_V_RUN_SUMS, index, out) : ENOENT;
	for (uint32_t i = 0; i < run->n_snaps; i++) {
		const struct bak_cat_snap *snap = &cat->snaps[run->snaps[i]];
		if (strcmp(cat->stores[snap->store].name, name) == 0)
			return found_snap(fs, BAK_VIEW_BY_DATE, snap, out);
	}
	return ENOENT;
}

static int lookup_dot(struct bak_fs *fs, const struct bak_catalog *cat, struct bak_vnode dir,
		      bool parent, struct fuse_entry_param *out)
{
	if (parent && !bak_catalog_node(cat, bak_view_parent(cat, dir), &dir))
		return ESTALE;
	return found_node(fs, cat, dir.kind, dir.index, out);
}

int bak_view_lookup(struct bak_fs *fs, const struct bak_catalog *cat, struct bak_vnode dir,
		    const char *name, struct fuse_entry_param *out)
{
	out->attr_timeout = out->entry_timeout = BAK_FOREVER;
	if (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2])))
		return lookup_dot(fs, cat, dir, name[1] == '.', out);
	switch (dir.kind) {
	case BAK_V_ROOT:
		return lookup_root(fs, cat, name, out);
	case BAK_V_BY_DATE: {
		const struct bak_cat_day *day = bak_catalog_day(cat, name);
		return day ? found_node(fs, cat, BAK_V_DAY, (size_t)(day - cat->days), out)
			   : ENOENT;
	}
	case BAK_V_DAY: {
		const struct bak_cat_run *run = bak_catalog_run(cat, &cat->days[dir.index], name);
		return run ? found_node(fs, cat, BAK_V_RUN, (size_t)(run - cat->runs), out)
			   : ENOENT;
	}
	case BAK_V_BY_STORE: {
		const struct bak_cat_store *store = bak_catalog_store(cat, name, strlen(name));
		return store ? found_node(fs, cat, BAK_V_STORE, (size_t)(store - cat->stores), out)
			     : ENOENT;
	}
	case BAK_V_LATEST:
		return lookup_latest(fs, cat, name, out);
	case BAK_V_RUN:
		return lookup_run(fs, cat, dir.index, name, out);
	case BAK_V_STORE:
		return lookup_store(fs, cat, dir.index, name, out);
	default:
		return ENOTDIR;
	}
}

/* --- listings --- */

struct listing {
	struct bak_fs *fs;
	const struct bak_catalog *cat;
	struct bak_dirbuf *buf;
	off_t from; /* only entries with a larger offset are wanted */
};

/* Each answers 1: go on, 0: the buffer is full, or a negative errno. */
static int list_node(const struct listing *l, const char *name, enum bak_vkind kind, size_t index,
		     off_t off)
{
	struct stat st;
	if (off <= l->from)
		return 1;
	int no = bak_view_attr(l->fs, l->cat, (struct bak_vnode){kind, (uint32_t)index}, &st);
	if (no)
		return -no;
	return bak_dirbuf_add(l->buf, name, &st, off);
}

static int list_snap(const struct listing *l, const char *name, enum bak_view view,
		     const struct bak_cat_snap *snap, bool with_attr, off_t off)
{
	struct stat st;
	if (off <= l->from)
		return 1;
	uint64_t ino = bak_ino_tree(view, snap->number, 0);
	if (with_attr && l->buf->plus && snap_root_attr(l->fs, view, snap->number, &st) == 0)
		return bak_dirbuf_add(l->buf, name, &st, off);
	return bak_dirbuf_add_name(l->buf, name, ino, S_IFDIR, off);
}

static int list_text(const struct listing *l, const char *name, enum bak_text_kind kind, off_t off)
{
	if (off <= l->from)
		return 1;
	return bak_dirbuf_add_name(
		l->buf, name, bak_ino_hash(BAK_RANGE_VIRTUAL, name, (uint64_t)kind), S_IFREG, off);
}

static int list_root(const struct listing *l)
{
	static const enum bak_vkind kinds[] = {BAK_V_BY_DATE, BAK_V_BY_STORE, BAK_V_LATEST};
	int go = 1;
	for (int i = 0; i < 3 && go > 0; i++)
		go = list_node(l, root_names[i], kinds[i], 0, FIRST_OFF + i);
	if (go > 0 && l->fs->control && l->from < FIRST_OFF + ROOT_RESTORE)
		go = bak_dirbuf_add_name(l->buf, "restore", bak_control_root(l->fs->control),
					 S_IFDIR, FIRST_OFF + ROOT_RESTORE);
	if (go > 0)
		go = list_text(l, "status", BAK_TEXT_STATUS, FIRST_OFF + ROOT_STATUS);
	if (go > 0)
		go = list_text(l, "metrics", BAK_TEXT_METRICS, FIRST_OFF + ROOT_METRICS);
	return go;
}

static int list_by_date(const struct listing *l)
{
	int go = 1;
	for (uint32_t i = 0; i < l->cat->n_days && go > 0; i++)
		go = list_node(l, l->cat->days[i].name, BAK_V_DAY, i,
			       FIRST_OFF + (off_t)l->cat->days[i].day);
	return go;
}

/* No two runs share a second. */
static int list_day(const struct listing *l, const struct bak_cat_day *day)
{
	int go = 1;
	for (uint32_t i = day->first_run; i < day->first_run + day->n_runs && go > 0; i++)
		go = list_node(l, l->cat->runs[i].name, BAK_V_RUN, i,
			       FIRST_OFF + (off_t)(l->cat->runs[i].stamp % 86400));
	return go;
}

static int list_run(const struct listing *l, uint32_t index)
{
	const struct bak_cat_run *run = &l->cat->runs[index];
	int go = list_node(l, "manifest.json", BAK_V_RUN_MANIFEST, index, FIRST_OFF);
	if (go > 0 && run->files)
		go = list_node(l, "SHA256SUMS", BAK_V_RUN_SUMS, index, FIRST_OFF + 1);
	for (uint32_t i = 0; i < run->n_snaps && go > 0; i++) {
		const struct bak_cat_snap *snap = &l->cat->snaps[run->snaps[i]];
		go = list_snap(l, l->cat->stores[snap->store].name, BAK_VIEW_BY_DATE, snap, true,
			       FIRST_OFF + 1 + (off_t)snap->number);
	}
	return go;
}

static int list_by_store(const struct listing *l)
{
	int go = 1;
	for (uint32_t i = 0; i < l->cat->n_stores && go > 0; i++)
		go = list_node(l, l->cat->stores[i].name, BAK_V_STORE, i,
			       FIRST_OFF + (off_t)l->cat->stores[i].order);
	return go;
}

/* A snapshot, its manifest and its sums take three of four offsets from base on. */
struct trio {
	const char *name;
	enum bak_view view;
	const struct bak_cat_snap *snap;
	enum bak_vkind manifest, sums;
	size_t index; /* of these two nodes */
	bool with_attr;
	off_t base;
};

static int list_trio(const struct listing *l, const struct trio *t)
{
	char file[BAK_STORE_NAME_MAX + 16];
	int go = list_snap(l, t->name, t->view, t->snap, t->with_attr, t->base);
	if (go > 0) {
		snprintf(file, sizeof file, "%s.json", t->name);
		go = list_node(l, file, t->manifest, t->index, t->base + 1);
	}
	if (go > 0 && t->snap->totals.files) {
		snprintf(file, sizeof file, "%s.sha256", t->name);
		go = list_node(l, file, t->sums, t->index, t->base + 2);
	}
	return go;
}

/* The first snapshot of a store whose entries may lie behind l->from. */
static uint32_t first_behind(const struct listing *l, const struct bak_cat_store *store)
{
	uint32_t low = 0, high = store->n_snaps;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		int64_t stamp = l->cat->snaps[store->snaps[mid]].stamp;
		if (FIRST_OFF + 4 + ((off_t)stamp << 2 | 3) <= l->from)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int list_store(const struct listing *l, uint32_t index)
{
	const struct bak_cat_store *store = &l->cat->stores[index];
	int go = 1;
	if (store->latest != BAK_CAT_NONE)
		go = list_node(l, "latest", BAK_V_STORE_LATEST, index, FIRST_OFF);
	for (uint32_t i = first_behind(l, store); i < store->n_snaps && go > 0; i++) {
		const struct bak_cat_snap *snap = &l->cat->snaps[store->snaps[i]];
		struct trio trio = {
			.name = snap->name,
			.view = BAK_VIEW_BY_STORE,
			.snap = snap,
			.manifest = BAK_V_SNAP_MANIFEST,
			.sums = BAK_V_SNAP_SUMS,
			.index = store->snaps[i],
			.with_attr = store->n_snaps <= OPEN_IN_LISTING,
			.base = FIRST_OFF + 4 + ((off_t)snap->stamp << 2),
		};
		go = list_trio(l, &trio);
	}
	return go;
}

static int list_latest(const struct listing *l)
{
	int go = 1;
	for (uint32_t i = 0; i < l->cat->n_stores && go > 0; i++) {
		const struct bak_cat_store *store = &l->cat->stores[i];
		if (store->latest == BAK_CAT_NONE)
			continue;
		struct trio trio = {
			.name = store->name,
			.view = BAK_VIEW_LATEST,
			.snap = &l->cat->snaps[store->latest],
			.manifest = BAK_V_LATEST_MANIFEST,
			.sums = BAK_V_LATEST_SUMS,
			.index = i,
			.with_attr = l->cat->n_stores <= OPEN_IN_LISTING,
			.base = FIRST_OFF + (off_t)(store->order << 2),
		};
		go = list_trio(l, &trio);
	}
	return go;
}

static int list_any(const struct listing *l, struct bak_vnode dir)
{
	switch (dir.kind) {
	case BAK_V_ROOT:
		return list_root(l);
	case BAK_V_BY_DATE:
		return list_by_date(l);
	case BAK_V_DAY:
		return list_day(l, &l->cat->days[dir.index]);
	case BAK_V_RUN:
		return list_run(l, dir.index);
	case BAK_V_BY_STORE:
		return list_by_store(l);
	case BAK_V_STORE:
		return list_store(l, dir.index);
	case BAK_V_LATEST:
		return list_latest(l);
	default:
		return -ENOTDIR;
	}
}

int bak_view_read(struct bak_fs *fs, const struct bak_catalog *cat, struct bak_vnode dir, off_t off,
		  struct bak_dirbuf *buf)
{
	struct listing l = {.fs = fs, .cat = cat, .buf = buf, .from = off};
	if (!bak_dirbuf_dots(buf, off, bak_catalog_ino(cat, dir), bak_view_parent(cat, dir)))
		return 0;
	int go = list_any(&l, dir);
	return go < 0 && !buf->len ? -go : 0;
}
