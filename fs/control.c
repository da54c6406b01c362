/*
 * /restore: rooms, uploads and triggers. Finds out what is meant, asks restore.h, does what it
 * decides. The lock is taken by the functions of control.h and held below them.
 */
#include "engine/base/hash.h"
#include "fs/control_private.h"
#include "fs/errno.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <syslog.h>
#include <unistd.h>

#define FIRST_OFF (BAK_DIR_FIRST + 1)
/* PF_SIGNALED of the kernel's include/linux/sched.h, as /proc/<pid>/stat shows it (proc(5)). */
#define PF_SIGNALED 0x400u

static void lock(struct bak_control *c)
{
	pthread_mutex_lock(&c->lock);
}

static void unlock(struct bak_control *c)
{
	pthread_mutex_unlock(&c->lock);
}

/* Only who mounted, and the superuser, may come here, whatever the kernel checks. */
static bool allowed(const struct bak_control *c, fuse_req_t req)
{
	uid_t uid = fuse_req_ctx(req)->uid;
	return uid == 0 || uid == c->fs->uid;
}

static const char *const control_names[] = {"status", "wait", "log"};

static uint64_t control_ino(const struct bak_room *room, size_t i)
{
	const uint64_t inos[] = {room->status_ino, room->wait_ino, room->log_ino};
	return inos[i];
}

struct bak_spot bak_control_spot(struct bak_control *c, uint64_t ino)
{
	if (ino == c->root_ino)
		return (struct bak_spot){.kind = BAK_SPOT_ROOT};
	if (bak_ino_parse(ino).counted) {
		struct bak_unode *node = bak_unode_find(&c->nodes, ino);
		if (!node)
			return (struct bak_spot){.kind = BAK_SPOT_NONE};
		return (struct bak_spot){BAK_SPOT_NODE, node->item->room, node};
	}
	for (size_t i = 0; i < c->n_rooms; i++) {
		struct bak_room *room = &c->rooms[i];
		if (ino == room->ino)
			return (struct bak_spot){.kind = BAK_SPOT_ROOM, .room = room};
		for (size_t k = 0; k < 3; k++)
			if (ino == control_ino(room, k))
				return (struct bak_spot){.kind = BAK_SPOT_STATUS + k, .room = room};
	}
	return (struct bak_spot){.kind = BAK_SPOT_NONE};
}

void bak_control_refused(struct bak_item *item, const char *why)
{
	char quoted[200];
	bak_error_quote(item->path, quoted, sizeof quoted);
	snprintf(item->room->refused, sizeof item->room->refused, "%s: %.300s", quoted, why);
}

/* --- folders: the store's own, or a node --- */

/* A folder in which names are made and removed. */
struct folder {
	struct bak_room *room;
	struct bak_unode *node; /* NULL: the store's own folder */
	struct bak_dirmap *map;
};

static int folder_of(struct bak_control *c, fuse_req_t req, uint64_t ino, struct folder *out)
{
	struct bak_spot spot = bak_control_spot(c, ino);
	if (!allowed(c, req))
		return EACCES;
	if (spot.kind == BAK_SPOT_ROOT)
		return EPERM; /* stores come from the configuration */
	if (spot.kind == BAK_SPOT_NONE)
		return ESTALE;
	if (spot.kind == BAK_SPOT_ROOM)
		*out = (struct folder){spot.room, NULL, &spot.room->entries};
	else if (spot.kind == BAK_SPOT_NODE && S_ISDIR(spot.node->mode))
		*out = (struct folder){spot.room, spot.node, &spot.node->entries};
	else
		return ENOTDIR;
	return 0;
}

static struct bak_unode *child_of(const struct folder *dir, const char *name)
{
	struct bak_dirmap_entry *entry = bak_dirmap_find(dir->map, name);
	return entry ? entry->value : NULL;
}

static bool in_trigger(const struct folder *dir)
{
	return dir->node && dir->node->item->rules.kind == BAK_ITEM_TRIGGER_FOLDER;
}

static void entry_of(struct bak_unode *node, struct fuse_entry_param *out)
{
	bak_unode_stat(node, &out->attr);
	out->ino = node->ino;
}

/* --- names of snapshots --- */

/* "<stamp>" or "<stamp>/path": 0 there, ENOENT not; folder: it must be one. Reads the repository,
 * so the lock is not held. */
static int known_in_snapshot(struct bak_control *c, const struct bak_room *room, const char *path,
			     bool folder)
{
	const char *slash = strchr(path, '/');
	size_t stamp_len = slash ? (size_t)(slash - path) : strlen(path);
	const char *name = room->store->name;
	struct bak_catalog *cat = bak_catalog_box_get(c->fs->catalog);
	const struct bak_cat_store *store = bak_catalog_store(cat, name, strlen(name));
	const struct bak_cat_snap *snap = NULL;
	if (store && stamp_len == 6 && memcmp(path, "latest", 6) == 0)
		snap = store->latest == BAK_CAT_NONE ? NULL : &cat->snaps[store->latest];
	else if (store)
		snap = bak_catalog_stamp(cat, store, path, stamp_len);
	uint64_t number = snap ? snap->number : 0;
	bak_catalog_unref(cat);
	if (!number || !slash)
		return number ? 0 : ENOENT;
	struct bak_snap *opened;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_ino at = {.range = BAK_RANGE_TREE, .number = number};
	int rc = bak_snap_get(c->fs->snaps, number, &opened, &err);
	if (rc <= 0)
		return rc ? bak_damage(c->fs, NULL, at, &err) : ENOENT;
	BAK_AUTO(bak_found_release) struct bak_found found = BAK_FOUND_INIT;
	rc = bak_tree_path(&opened->tree, slash + 1, &found, &err);
	int no = rc < 0 ? bak_damage(c->fs, &opened->tree, at, &err) : rc == 0 ? ENOENT : 0;
	if (!no && folder && found.entry.inode.type != BAK_TYPE_DIR)
		no = ENOTDIR;
	bak_snap_put(opened);
	return no;
}

static int path_join(const struct folder *dir, const char *name, char **out)
{
	int n = dir->node ? asprintf(out, "%s/%s", dir->node->item->path, name)
			  : asprintf(out, "%s", name);
	return n < 0 ? ENOMEM : 0;
}

/* Whether a trigger of that name makes sense there. Called with the lock held; lets it go while it
 * looks, so the folder is found anew afterwards. */
static int look_up_known(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
			 bool folder, struct folder *dir, int *out_known)
{
	int no = folder_of(c, req, parent, dir);
	if (no)
		return no;
	enum bak_name_class class = bak_name_class(name);
	*out_known = 0;
	bool top = !dir->node && (class == BAK_NAME_STAMP || class == BAK_NAME_LATEST);
	if (!top && !in_trigger(dir))
		return 0;
	BAK_AUTO(bak_free_ptr) char *path = NULL;
	if (path_join(dir, name, &path))
		return ENOMEM;
	const struct bak_room *room = dir->room;
	unlock(c);
	*out_known = known_in_snapshot(c, room, path, folder);
	lock(c);
	return folder_of(c, req, parent, dir);
}

/* --- forgetting --- */

void bak_control_forget(struct bak_control *c, struct bak_item *item)
{
	struct bak_dirmap *map = item->dir ? &item->dir->entries : &item->room->entries;
	const char *slash = strrchr(item->path, '/');
	const char *name = slash ? slash + 1 : item->path;
	const struct bak_dirmap_entry *entry = bak_dirmap_find(map, name);
	item->rules.state = BAK_ITEM_IDLE;
	if (item->job)
		item->job->item = NULL;
	item->job = NULL;
	if (!entry || entry->value != item->top)
		return;
	/* A trigger folder goes with its last entry; until then it is one that was not touched. */
	if (item->rules.kind == BAK_ITEM_TRIGGER_FOLDER && item->top->entries.live)
		return;
	if (!item->dir && S_ISDIR(item->top->mode))
		item->room->folders--;
	BAK_AUTO(bak_free_ptr) char *copy = strdup(name); /* the item may go before its name */
	if (copy)
		bak_unode_unlink_all(&c->nodes, map, copy);
}

/* --- what content says --- */

static bool killed(pid_t pid)
{
	char path[64], text[1024];
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (n <= 0)
		return false;
	text[n] = '\0';
	char *p = strrchr(text, ')');
	for (int field = 2; p && field < 9; field++)
		p = strchr(p + 1, ' ');
	return p && (strtoul(p, NULL, 10) & PF_SIGNALED);
}

static int read_blob(void *ctx, uint64_t off, void *p, size_t len)
{
	struct bak_error err = BAK_ERROR_INIT;
	size_t n;
	return bak_blob_read(ctx, off, p, len, &n, &err) == 0 && n == len ? 0 : -1;
}

/* The verdict, and for a bad one its reason in the room's `refused`. */
static int content_facts(struct bak_unode *node, struct bak_content_facts *out)
{
	char why[BAK_PROOF_WHY_LEN];
	out->verdict = BAK_VERDICT_UNPROVABLE;
	if (!node->blob)
		return 0;
	if (bak_proof_verdict(&node->proof, bak_blob_size(node->blob), read_blob, node->blob,
			      &out->verdict, why) < 0)
		return EIO;
	if (*why)
		bak_control_refused(node->item, why);
	return 0;
}

/* Does what was decided about an item. */
static int carry_out(struct bak_control *c, struct bak_item *item, struct bak_decision d)
{
	int no = d.no;
	switch (no ? BAK_ACT_NONE : d.action) {
	case BAK_ACT_FIRE:
		no = bak_control_fire(c, item);
		break;
	case BAK_ACT_CANCEL:
		no = bak_control_cancel(c, item);
		break;
	case BAK_ACT_FORGET:
		bak_control_forget(c, item);
		break;
	case BAK_ACT_NONE:
		break;
	}
	if (no == EBADMSG || no == ENOENT)
		bak_control_say_changed(c, item->room);
	return no;
}

/* --- look-ups and attributes --- */

static int control_attr(struct bak_control *c, struct bak_spot spot, struct stat *out)
{
	struct bak_fs *fs = c->fs;
	uint64_t size = 0;
	switch (spot.kind) {
	case BAK_SPOT_ROOT:
		bak_attr_own(fs, c->root_ino, S_IFDIR | 0700, 2 + c->n_rooms, 4096, fs->mounted,
			     out);
		break;
	case BAK_SPOT_ROOM:
		bak_attr_own(fs, spot.room->ino, S_IFDIR | 0700, 2 + spot.room->folders, 4096,
			     fs->mounted, out);
		break;
	case BAK_SPOT_STATUS:
	case BAK_SPOT_WAIT:
	case BAK_SPOT_LOG:
		if (spot.kind == BAK_SPOT_LOG)
			size = bak_control_log_size(c, spot.room);
		bak_attr_own(fs, control_ino(spot.room, spot.kind - BAK_SPOT_STATUS),
			     S_IFREG | 0400, 1, size, fs->mounted, out);
		break;
	case BAK_SPOT_NODE:
		bak_unode_stat(spot.node, out);
		return 0;
	case BAK_SPOT_NONE:
		return ESTALE;
	}
	/* Mode and owner of /restore are a promise; uid=, gid= and umask= are for snapshots. */
	out->st_uid = fs->uid;
	out->st_gid = fs->gid;
	out->st_mode = (out->st_mode & S_IFMT) | (S_ISDIR(out->st_mode) ? 0700 : 0400);
	return 0;
}

uint64_t bak_control_root(const struct bak_control *c)
{
	return c->root_ino;
}

int bak_control_getattr(struct bak_control *c, uint64_t ino, struct stat *out)
{
	lock(c);
	int no = control_attr(c, bak_control_spot(c, ino), out);
	unlock(c);
	return no;
}

static int lookup_in_root(struct bak_control *c, const char *name, struct bak_spot *out)
{
	for (size_t i = 0; i < c->n_rooms; i++)
		if (strcmp(c->rooms[i].store->name, name) == 0) {
			*out = (struct bak_spot){.kind = BAK_SPOT_ROOM, .room = &c->rooms[i]};
			return 0;
		}
	return ENOENT;
}

static int lookup_in(struct folder *dir, const char *name, struct bak_spot *out)
{
	struct bak_unode *node = child_of(dir, name);
	if (node) {
		*out = (struct bak_spot){BAK_SPOT_NODE, dir->room, node};
		return 0;
	}
	for (size_t k = 0; k < 3 && !dir->node; k++)
		if (strcmp(name, control_names[k]) == 0) {
			*out = (struct bak_spot){.kind = BAK_SPOT_STATUS + k, .room = dir->room};
			return 0;
		}
	return ENOENT;
}

int bak_control_lookup(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
		       struct fuse_entry_param *out)
{
	struct bak_spot spot;
	struct folder dir;
	lock(c);
	int no = EACCES;
	if (allowed(c, req) && parent == c->root_ino)
		no = lookup_in_root(c, name, &spot);
	else if (allowed(c, req) && !(no = folder_of(c, req, parent, &dir)))
		no = lookup_in(&dir, name, &spot);
	if (!no)
		no = control_attr(c, spot, &out->attr);
	out->ino = out->attr.st_ino;
	unlock(c);
	return no;
}

/* --- listings --- */

static int list_rooms(struct bak_control *c, off_t off, struct bak_dirbuf *buf)
{
	for (size_t i = 0; i < c->n_rooms; i++) {
		struct stat st;
		if (FIRST_OFF + (off_t)i <= off)
			continue;
		control_attr(c, (struct bak_spot){.kind = BAK_SPOT_ROOM, .room = &c->rooms[i]},
			     &st);
		if (!bak_dirbuf_add(buf, c->rooms[i].store->name, &st, FIRST_OFF + (off_t)i))
			break;
	}
	return 0;
}

static bool list_control_files(struct bak_control *c, struct bak_room *room, off_t off,
			       struct bak_dirbuf *buf)
{
	for (size_t k = 0; k < 3; k++) {
		struct stat st;
		if (FIRST_OFF + (off_t)k <= off)
			continue;
		control_attr(c, (struct bak_spot){.kind = BAK_SPOT_STATUS + k, .room = room}, &st);
		if (!bak_dirbuf_add(buf, control_names[k], &st, FIRST_OFF + (off_t)k))
			return false;
	}
	return true;
}

static void list_entries(struct bak_dirmap *map, off_t off, struct bak_dirbuf *buf)
{
	const off_t base = FIRST_OFF + 3;
	uint64_t after = off > base ? (uint64_t)(off - base) : 0;
	const struct bak_dirmap_entry *entry;
	while ((entry = bak_dirmap_next(map, after))) {
		struct bak_unode *node = entry->value;
		struct stat st;
		after = entry->serial;
		/* In a folder of triggers all are named: it was made by the one who lists it. */
		if (!node->item->dir && !bak_item_listed(&node->item->rules))
			continue;
		bak_unode_stat(node, &st);
		if (!bak_dirbuf_add(buf, entry->name, &st, base + (off_t)after))
			return;
	}
}

int bak_control_readdir(struct bak_control *c, fuse_req_t req, uint64_t ino, off_t off,
			struct bak_dirbuf *buf)
{
	lock(c);
	struct bak_spot spot = bak_control_spot(c, ino);
	uint64_t parent = c->root_ino;
	int no = 0;
	if (spot.kind == BAK_SPOT_ROOT)
		parent = BAK_INO_ROOT;
	else if (spot.kind == BAK_SPOT_NODE)
		parent = spot.node->parent ? spot.node->parent->ino : spot.room->ino;
	if (!allowed(c, req))
		no = EACCES;
	else if (spot.kind == BAK_SPOT_NONE)
		no = ESTALE;
	else if (!bak_dirbuf_dots(buf, off, ino, parent))
		no = 0;
	else if (spot.kind == BAK_SPOT_ROOT)
		no = list_rooms(c, off, buf);
	else if (spot.kind == BAK_SPOT_NODE)
		list_entries(&spot.node->entries, off, buf);
	else if (list_control_files(c, spot.room, off, buf))
		list_entries(&spot.room->entries, off, buf);
	unlock(c);
	return no;
}

/* --- making names --- */

/* A new node with its name; item NULL: a new item of this kind. */
static int make_node(struct bak_control *c, fuse_req_t req, struct folder *dir, const char *name,
		     mode_t mode, struct bak_item *item, enum bak_item_kind kind,
		     struct bak_unode **out)
{
	const struct fuse_ctx *who = fuse_req_ctx(req);
	BAK_AUTO(bak_free_ptr) char *path = NULL;
	struct bak_item *made = NULL;
	if (!item) {
		if (path_join(dir, name, &path))
			return ENOMEM;
		item = made = bak_item_new(&c->nodes, dir->room, path, kind, bak_name_class(name));
		if (!item)
			return ENOMEM;
		item->dir = dir->node;
	}
	struct bak_unode *node = bak_unode_new(&c->nodes, item, mode, who->uid, who->gid);
	if (!node) {
		bak_item_drop(&c->nodes, item);
		return ENOMEM;
	}
	struct bak_error err = BAK_ERROR_INIT;
	int no = 0;
	if (made)
		item->top = node;
	if (S_ISREG(mode) && item->rules.kind != BAK_ITEM_TRIGGER) {
		bak_proof_init(&node->proof, made ? dir->room->store->driver : "");
		if (bak_blob_new(c->spool, &node->blob, &err) < 0)
			no = bak_errno_of(&err);
	}
	if (!no)
		no = bak_unode_link(dir->map, dir->node, name, node);
	if (!no && S_ISDIR(mode) && !dir->node)
		dir->room->folders++;
	if (!no && dir->node)
		bak_unode_touched(dir->node, true);
	*out = node;
	bak_unode_unref(&c->nodes, node); /* its name keeps it */
	return no;
}

/* What a new name in dir belongs to: an item that is there, or NULL and the kind of a new one. */
static struct bak_item *owner(const struct folder *dir, const char *name, bool folder,
			      enum bak_item_kind *kind)
{
	bool trigger = in_trigger(dir) || (!dir->node && bak_name_is_trigger(bak_name_class(name)));
	if (trigger)
		*kind = folder ? BAK_ITEM_TRIGGER_FOLDER : BAK_ITEM_TRIGGER;
	else
		*kind = folder ? BAK_ITEM_TREE : BAK_ITEM_FILE;
	return trigger || !dir->node ? NULL : dir->node->item;
}

static int make_file(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
		     mode_t mode, int open_flags, struct bak_unode **out)
{
	struct folder dir;
	int known = 0;
	int no = look_up_known(c, req, parent, name, false, &dir, &known);
	if (no)
		return no;
	if (child_of(&dir, name))
		return EEXIST;
	if (known && known != ENOENT)
		return known;
	struct bak_decision d = dir.node
					? bak_rule_create_in(&dir.node->item->rules, open_flags,
							     !known)
					: bak_rule_create(bak_name_class(name), open_flags, !known);
	if (d.no)
		return d.no;
	if (dir.node)
		bak_item_change_in(&dir.node->item->rules);
	enum bak_item_kind kind;
	struct bak_item *item = owner(&dir, name, false, &kind);
	return make_node(c, req, &dir, name, S_IFREG | (mode & 07777), item, kind, out);
}

int bak_control_mkdir(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
		      mode_t mode, struct fuse_entry_param *out)
{
	struct folder dir;
	struct bak_unode *node;
	enum bak_item_kind kind;
	int known = 0;
	lock(c);
	int no = look_up_known(c, req, parent, name, true, &dir, &known);
	if (!no && child_of(&dir, name))
		no = EEXIST;
	if (!no && known && known != ENOENT)
		no = known;
	if (!no)
		no = (dir.node ? bak_rule_mkdir_in(&dir.node->item->rules, !known)
			       : bak_rule_mkdir(bak_name_class(name), !known))
			     .no;
	if (!no) {
		if (dir.node)
			bak_item_change_in(&dir.node->item->rules);
		struct bak_item *item = owner(&dir, name, true, &kind);
		no = make_node(c, req, &dir, name, S_IFDIR | (mode & 07777), item, kind, &node);
	}
	if (!no)
		entry_of(node, out);
	unlock(c);
	return no;
}

/* Symlinks, FIFOs, devices: only within an uploaded folder. */
static int make_other(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
		      mode_t mode, struct folder *dir, struct bak_unode **out)
{
	int no = folder_of(c, req, parent, dir);
	if (!no && child_of(dir, name))
		no = EEXIST;
	if (!no)
		no = (dir->node ? bak_rule_make_other_in(&dir->node->item->rules)
				: bak_rule_make_other(bak_name_class(name)))
			     .no;
	if (no)
		return no;
	bak_item_change_in(&dir->node->item->rules);
	return make_node(c, req, dir, name, mode, dir->node->item, BAK_ITEM_TREE, out);
}

int bak_control_symlink(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
			const char *target, struct fuse_entry_param *out)
{
	struct folder dir;
	struct bak_unode *node;
	char *copy = strdup(target);
	if (!copy)
		return ENOMEM;
	lock(c);
	int no = make_other(c, req, parent, name, S_IFLNK | 0777, &dir, &node);
	if (no) {
		free(copy);
	} else {
		node->target = copy;
		entry_of(node, out);
	}
	unlock(c);
	return no;
}

int bak_control_mknod(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
		      mode_t mode, dev_t rdev, struct fuse_entry_param *out)
{
	struct folder dir;
	struct bak_unode *node;
	lock(c);
	int no;
	if (S_ISREG(mode)) {
		/* Nothing that somebody has open: as if it were made to be filled, never a touch.
		 */
		no = make_file(c, req, parent, name, mode, O_EXCL, &node);
	} else {
		no = make_other(c, req, parent, name, mode, &dir, &node);
		if (!no)
			node->rdev = rdev;
	}
	if (!no)
		entry_of(node, out);
	unlock(c);
	return no;
}

int bak_control_link(struct bak_control *c, fuse_req_t req, uint64_t ino, uint64_t parent,
		     const char *name, struct fuse_entry_param *out)
{
	struct folder dir;
	lock(c);
	struct bak_spot spot = bak_control_spot(c, ino);
	int no = folder_of(c, req, parent, &dir);
	if (!no && spot.kind != BAK_SPOT_NODE)
		no = EPERM;
	if (!no && child_of(&dir, name))
		no = EEXIST;
	if (!no)
		no = (dir.node ? bak_rule_make_other_in(&dir.node->item->rules)
			       : bak_rule_make_other(bak_name_class(name)))
			     .no;
	/* All names of a file lie in one upload: its job reads it there. */
	if (!no && spot.node->item != dir.node->item)
		no = EXDEV;
	if (!no) {
		bak_item_change_in(&dir.node->item->rules);
		no = bak_unode_link(dir.map, dir.node, name, spot.node);
	}
	if (!no) {
		bak_unode_touched(spot.node, false);
		entry_of(spot.node, out);
	}
	unlock(c);
	return no;
}

/* --- removing and renaming --- */

int bak_control_unlink(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
		       bool folder)
{
	struct folder dir;
	struct bak_spot spot;
	lock(c);
	int no = folder_of(c, req, parent, &dir);
	if (!no)
		no = lookup_in(&dir, name, &spot);
	if (!no && spot.kind != BAK_SPOT_NODE)
		no = EPERM;
	if (!no && folder != S_ISDIR(spot.node->mode))
		no = folder ? ENOTDIR : EISDIR;
	if (!no && folder && spot.node->entries.live)
		no = ENOTEMPTY;
	if (!no) {
		struct bak_item *item = spot.node->item;
		struct bak_decision d = bak_item_remove(&item->rules);
		if (d.action == BAK_ACT_CANCEL)
			no = carry_out(c, item, d);
		if (!no) {
			bak_item_change_in(&item->rules);
			if (item->top == spot.node && item->job) {
				item->job->item = NULL;
				item->job = NULL;
			}
			if (folder && !dir.node)
				dir.room->folders--;
			bak_unode_unlink(&c->nodes, dir.map, dir.node, name);
			if (dir.node)
				bak_unode_touched(dir.node, true);
		}
	}
	unlock(c);
	return no;
}

static int may_replace(const struct bak_unode *from, const struct bak_unode *to, unsigned flags)
{
	if (!to)
		return 0;
	if (flags & RENAME_NOREPLACE)
		return EEXIST;
	if (S_ISDIR(to->mode) && !S_ISDIR(from->mode))
		return EISDIR;
	if (!S_ISDIR(to->mode) && S_ISDIR(from->mode))
		return ENOTDIR;
	return to->entries.live ? ENOTEMPTY : 0;
}

/* Moves the name; what has the new one goes. */
static int move_name(struct bak_control *c, struct folder *from, const char *name,
		     struct folder *to, const char *new_name)
{
	struct bak_unode *node = child_of(from, name);
	struct bak_unode *gone = child_of(to, new_name);
	bak_unode_ref(node);
	if (gone) {
		if (S_ISDIR(gone->mode) && !to->node)
			to->room->folders--;
		bak_unode_unlink(&c->nodes, to->map, to->node, new_name);
	}
	int no = bak_unode_link(to->map, to->node, new_name, node);
	if (!no) {
		struct bak_unode *parent = node->parent;
		bak_unode_unlink(&c->nodes, from->map, from->node, name);
		node->parent = parent;
		bak_unode_touched(node, false);
	}
	bak_unode_unref(&c->nodes, node);
	return no;
}

/* From one name of an upload to another. */
static int rename_item(struct bak_control *c, struct folder *dir, const char *name,
		       const char *new_name, struct bak_unode *node, struct bak_unode *over)
{
	struct bak_item *item = node->item;
	struct bak_content_facts facts = {.verdict = BAK_VERDICT_UNPROVABLE};
	struct bak_item_rules before = item->rules;
	char *path = strdup(new_name), *was = item->path;
	if (!path)
		return ENOMEM;
	int no = content_facts(node, &facts);
	struct bak_decision d = {.no = no};
	if (!no)
		d = bak_item_rename(&item->rules, bak_name_class(new_name),
				    over ? &over->item->rules : NULL, &facts);
	item->path = path;
	no = carry_out(c, item, d);
	if (!no)
		no = move_name(c, dir, name, dir, new_name);
	else
		item->rules = before;
	if (no) {
		item->path = was;
		free(path);
	} else {
		free(was);
	}
	return no;
}

int bak_control_rename(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
		       uint64_t new_parent, const char *new_name, unsigned flags)
{
	struct folder from, to;
	lock(c);
	int no = flags & ~(unsigned)RENAME_NOREPLACE ? EINVAL : folder_of(c, req, parent, &from);
	if (!no)
		no = folder_of(c, req, new_parent, &to);
	struct bak_unode *node = no ? NULL : child_of(&from, name);
	struct bak_unode *over = no ? NULL : child_of(&to, new_name);
	bool new_is_trigger = !no && !to.node && bak_name_is_trigger(bak_name_class(new_name));
	if (!no && !node)
		no = bak_name_class(name) == BAK_NAME_CONTROL && !from.node ? EPERM : ENOENT;
	if (!no && (new_is_trigger || in_trigger(&to) || in_trigger(&from)))
		no = EINVAL;
	if (!no)
		no = may_replace(node, over, flags);
	if (!no && node != over) {
		if (!from.node && !to.node && from.room == to.room)
			no = rename_item(c, &from, name, new_name, node, over);
		else if (from.node && to.node && from.node->item == to.node->item)
			no = bak_item_change_in(&from.node->item->rules).no;
		else
			no = EXDEV;
		if (!no && from.node)
			no = move_name(c, &from, name, &to, new_name);
	}
	unlock(c);
	return no;
}

/* --- attributes --- */

static void set_times(struct bak_unode *node, const struct stat *st, int to_set)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (to_set & FUSE_SET_ATTR_ATIME)
		node->atime = to_set & FUSE_SET_ATTR_ATIME_NOW ? now : st->st_atim;
	if (to_set & FUSE_SET_ATTR_MTIME)
		node->mtime = to_set & FUSE_SET_ATTR_MTIME_NOW ? now : st->st_mtim;
	node->ctime = now;
}

static int set_size(struct bak_unode *node, struct bak_open *open, uint64_t size)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_decision d = bak_item_truncate(&node->item->rules, open ? &open->rules : NULL,
						  size);
	if (d.no)
		return d.no;
	if (!node->blob)
		return EINVAL;
	bak_proof_truncate(&node->proof, size);
	if (bak_blob_truncate(node->blob, size, &err) < 0)
		return bak_errno_of(&err);
	bak_unode_touched(node, true);
	return 0;
}

/* Times: "now" is a touch, which may start a job; others are only remembered. */
static int touch_or_date(struct bak_control *c, struct bak_unode *node, int to_set)
{
	struct bak_item *item = node->item;
	struct bak_content_facts facts = {.verdict = BAK_VERDICT_UNPROVABLE};
	bool top = item->top == node;
	if (!(to_set & FUSE_SET_ATTR_MTIME_NOW))
		return carry_out(c, item, bak_item_date(&item->rules));
	int no = top ? content_facts(node, &facts) : 0;
	if (no)
		return no;
	return carry_out(c, item, bak_item_touch(&item->rules, top, node->entries.live, &facts));
}

static int setattr_node(struct bak_control *c, struct bak_unode *node, const struct stat *st,
			int to_set, struct bak_open *open)
{
	int no = 0;
	if (to_set & FUSE_SET_ATTR_SIZE)
		no = set_size(node, open, (uint64_t)st->st_size);
	if (no)
		return no;
	if (to_set & FUSE_SET_ATTR_MODE)
		bak_unode_chmod(node, st->st_mode);
	if (to_set & FUSE_SET_ATTR_UID)
		node->uid = st->st_uid;
	if (to_set & FUSE_SET_ATTR_GID)
		node->gid = st->st_gid;
	/* A truncation brings its times with it: that is no touch. */
	if (!(to_set & FUSE_SET_ATTR_SIZE) && (to_set & FUSE_SET_ATTR_MTIME))
		no = touch_or_date(c, node, to_set);
	/* The touch that starts a job leaves an upload as it was copied in. */
	bool starts = node->item->top == node && node->item->rules.state == BAK_ITEM_ACTIVE &&
		      (to_set & FUSE_SET_ATTR_MTIME_NOW);
	if (!no && !starts)
		set_times(node, st, to_set);
	return no;
}

static struct bak_open *open_of(const struct fuse_file_info *fi)
{
	return fi ? (struct bak_open *)(uintptr_t)fi->fh : NULL;
}

int bak_control_setattr(struct bak_control *c, fuse_req_t req, uint64_t ino, const struct stat *st,
			int to_set, struct fuse_file_info *fi, struct stat *out)
{
	lock(c);
	struct bak_spot spot = bak_control_spot(c, ino);
	int no = 0;
	if (!allowed(c, req))
		no = EACCES;
	else if (spot.kind == BAK_SPOT_NONE)
		no = ESTALE;
	else if (spot.kind != BAK_SPOT_NODE)
		no = EPERM;
	if (!no) {
		bak_unode_ref(spot.node); /* a decision may take its name away */
		no = setattr_node(c, spot.node, st, to_set, open_of(fi));
		bak_unode_stat(spot.node, out);
		bak_unode_unref(&c->nodes, spot.node);
	}
	unlock(c);
	return no;
}

/* --- open files --- */

static int open_new(struct bak_control *c, struct bak_spot spot, struct fuse_file_info *fi,
		    bool creator)
{
	struct bak_open *open = calloc(1, sizeof *open);
	if (!open)
		return ENOMEM;
	open->spot = spot;
	open->rules.writer = (fi->flags & O_ACCMODE) != O_RDONLY;
	open->rules.creator = creator;
	if (spot.node) {
		bak_unode_ref(spot.node);
		spot.node->item->n_open++;
	}
	open->next = c->opens;
	if (open->next)
		open->next->previous = open;
	c->opens = open;
	fi->fh = (uint64_t)(uintptr_t)open;
	fi->direct_io = 1;
	return 0;
}

static void open_free(struct bak_control *c, struct bak_open *open)
{
	if (open->next)
		open->next->previous = open->previous;
	if (open->previous)
		open->previous->next = open->next;
	else
		c->opens = open->next;
	if (open->spot.node)
		bak_unode_unref(&c->nodes, open->spot.node);
	bak_buf_release(&open->text);
	free(open);
}

int bak_control_open(struct bak_control *c, fuse_req_t req, uint64_t ino, struct fuse_file_info *fi)
{
	lock(c);
	struct bak_spot spot = bak_control_spot(c, ino);
	bool writer = (fi->flags & O_ACCMODE) != O_RDONLY;
	int no = 0;
	if (!allowed(c, req) || (writer && spot.kind != BAK_SPOT_NODE))
		no = EACCES;
	else if (spot.kind == BAK_SPOT_NONE)
		no = ESTALE;
	if (!no && spot.node && (fi->flags & O_TRUNC)) {
		no = bak_item_open(&spot.node->item->rules, fi->flags).no;
		if (!no)
			no = set_size(spot.node, NULL, 0);
	}
	if (!no)
		no = open_new(c, spot, fi, false);
	unlock(c);
	return no;
}

int bak_control_create(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
		       mode_t mode, struct fuse_file_info *fi, struct fuse_entry_param *out)
{
	struct bak_unode *node;
	lock(c);
	int no = make_file(c, req, parent, name, mode, fi->flags, &node);
	if (!no) {
		struct bak_spot spot = {BAK_SPOT_NODE, node->item->room, node};
		no = open_new(c, spot, fi, true);
		entry_of(node, out);
	}
	unlock(c);
	return no;
}

void bak_control_release(struct bak_control *c, uint64_t ino, struct fuse_file_info *fi)
{
	struct bak_open *open = open_of(fi);
	(void)ino;
	if (!open)
		return;
	lock(c);
	struct bak_unode *node = open->spot.node;
	if (node) {
		struct bak_item *item = node->item;
		struct bak_error ignored = BAK_ERROR_INIT;
		if (node->blob && open->rules.wrote)
			bak_blob_settle(node->blob, &ignored); /* FLUSH told of a failure */
		item->n_open--;
		carry_out(c, item, bak_item_release(&item->rules, &open->rules));
	}
	open_free(c, open);
	bak_control_wake(c); /* what is over may be forgotten now */
	unlock(c);
}

int bak_control_flush(struct bak_control *c, fuse_req_t req, uint64_t ino,
		      struct fuse_file_info *fi)
{
	struct bak_open *open = open_of(fi);
	(void)ino;
	if (!open || !open->spot.node)
		return 0;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_content_facts facts = {.killed = killed(fuse_req_ctx(req)->pid)};
	struct bak_unode *node = open->spot.node;
	lock(c);
	int no = 0;
	if (node->blob && open->rules.wrote && bak_blob_settle(node->blob, &err) < 0)
		no = bak_errno_of(&err);
	if (!no && open->rules.wrote && node->item->top == node)
		no = content_facts(node, &facts);
	if (!no)
		no = carry_out(c, node->item,
			       bak_item_flush(&node->item->rules, &open->rules, &facts));
	unlock(c);
	return no;
}

/* --- bytes --- */

/* The spool is full: nobody could use half an upload, and its room is needed. */
static void drop_upload(struct bak_control *c, struct bak_unode *node, const char *why)
{
	struct bak_item *item = node->item;
	lock(c);
	bak_control_refused(item, why);
	bak_fs_log(c->fs, LOG_ERR, "upload to %s: %s", item->room->store->name, why);
	struct bak_error ignored = BAK_ERROR_INIT;
	bak_blob_truncate(node->blob, 0, &ignored);
	bak_proof_truncate(&node->proof, 0);
	item->rules.accepted = item->rules.written = false;
	bak_control_forget(c, item);
	bak_control_say_changed(c, item->room);
	unlock(c);
}

int bak_control_write(struct bak_control *c, fuse_req_t req, uint64_t ino, const void *p,
		      size_t size, off_t off, struct fuse_file_info *fi)
{
	struct bak_open *open = open_of(fi);
	(void)ino;
	(void)req;
	if (!open || !open->spot.node)
		return EBADF;
	struct bak_unode *node = open->spot.node;
	struct bak_error err = BAK_ERROR_INIT;
	lock(c);
	int no = bak_item_write(&node->item->rules, &open->rules).no;
	if (!no && !node->blob)
		no = EINVAL;
	if (!no) {
		bak_proof_write(&node->proof, (uint64_t)off, p, size);
		node->mode &= ~(mode_t)(S_ISUID | (node->mode & S_IXGRP ? S_ISGID : 0));
		bak_unode_touched(node, true);
	}
	unlock(c);
	if (no)
		return no;
	/* The open description keeps the node; the blob has a lock of its own. */
	if (bak_blob_write(node->blob, (uint64_t)off, p, size, &err) < 0) {
		no = bak_errno_of(&err);
		drop_upload(c, node, err.msg);
	}
	return no;
}

static void node_read_reply(fuse_req_t req, struct bak_unode *node, size_t size, off_t off)
{
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf buf = BAK_BUF_INIT;
	size_t n = 0;
	if (!node->blob)
		fuse_reply_buf(req, NULL, 0);
	else if (bak_buf_reserve(&buf, size) < 0)
		fuse_reply_err(req, ENOMEM);
	else if (bak_blob_read(node->blob, (uint64_t)off, buf.p, size, &n, &err) < 0)
		fuse_reply_err(req, bak_errno_of(&err));
	else
		fuse_reply_buf(req, (const char *)buf.p, n);
}

/* As a whole when read from its beginning, then the rest of the same text. */
static void status_reply(struct bak_control *c, fuse_req_t req, struct bak_open *open, size_t size,
			 off_t off)
{
	int no = 0;
	if (off == 0) {
		open->text.len = 0;
		open->changes = open->spot.room->changes;
		no = bak_control_status_text(c, open->spot.room, &open->text);
	}
	size_t len = open->text.len;
	if (no)
		fuse_reply_err(req, no);
	else if ((uint64_t)off >= len)
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_buf(req, (const char *)open->text.p + off,
			       size < len - (size_t)off ? size : len - (size_t)off);
}

static void log_reply(struct bak_control *c, fuse_req_t req, const struct bak_open *open,
		      size_t size, off_t off)
{
	BAK_AUTO(bak_buf_release) struct bak_buf buf = BAK_BUF_INIT;
	int no = bak_control_log_read(c, open->spot.room, (uint64_t)off, size, &buf);
	if (no)
		fuse_reply_err(req, no);
	else
		fuse_reply_buf(req, (const char *)buf.p, buf.len);
}

void bak_control_read_reply(struct bak_control *c, fuse_req_t req, uint64_t ino, size_t size,
			    off_t off, struct fuse_file_info *fi)
{
	struct bak_open *open = open_of(fi);
	(void)ino;
	if (!open) {
		fuse_reply_err(req, EBADF);
		return;
	}
	if (open->spot.kind == BAK_SPOT_NODE) {
		node_read_reply(req, open->spot.node, size, off);
		return;
	}
	lock(c);
	switch (open->spot.kind) {
	case BAK_SPOT_STATUS:
		status_reply(c, req, open, size, off);
		break;
	case BAK_SPOT_WAIT:
		bak_control_wait_reply(c, req, open, size, off);
		break;
	case BAK_SPOT_LOG:
		log_reply(c, req, open, size, off);
		break;
	default:
		fuse_reply_err(req, EISDIR);
		break;
	}
	unlock(c);
}

int bak_control_lseek(struct bak_control *c, uint64_t ino, off_t off, int whence, off_t *out)
{
	lock(c);
	struct bak_spot spot = bak_control_spot(c, ino);
	struct bak_unode *node = spot.node;
	uint64_t found;
	int no = 0;
	if (!node || !node->blob || (whence != SEEK_DATA && whence != SEEK_HOLE))
		no = EINVAL;
	else if (off < 0 || !bak_blob_seek(node->blob, (uint64_t)off, whence == SEEK_HOLE, &found))
		no = ENXIO;
	else
		*out = (off_t)found;
	unlock(c);
	return no;
}

void bak_control_readlink_reply(struct bak_control *c, fuse_req_t req, uint64_t ino)
{
	lock(c);
	struct bak_spot spot = bak_control_spot(c, ino);
	if (spot.node && spot.node->target)
		fuse_reply_readlink(req, spot.node->target);
	else
		fuse_reply_err(req, EINVAL);
	unlock(c);
}

int bak_control_poll(struct bak_control *c, uint64_t ino, struct fuse_pollhandle *ph,
		     struct fuse_file_info *fi, unsigned *out_revents)
{
	const struct bak_open *open = open_of(fi);
	lock(c);
	struct bak_spot spot = bak_control_spot(c, ino);
	if (spot.kind == BAK_SPOT_STATUS) {
		/* Readable when it says something that this reader has not seen. */
		bool seen = open && open->text.len && open->changes == spot.room->changes;
		*out_revents = seen ? 0 : POLLIN | POLLRDNORM | POLLPRI;
		if (ph && spot.room->poll)
			fuse_pollhandle_destroy(spot.room->poll);
		if (ph)
			spot.room->poll = ph;
		ph = NULL;
	}
	unlock(c);
	if (ph)
		fuse_pollhandle_destroy(ph);
	return 0;
}

/* --- extended attributes --- */

static void value_reply(fuse_req_t req, const void *value, size_t len, size_t size)
{
	if (!size)
		fuse_reply_xattr(req, len);
	else if (len > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, value, len);
}

int bak_control_setxattr(struct bak_control *c, fuse_req_t req, uint64_t ino, const char *name,
			 const void *value, size_t size, int flags)
{
	lock(c);
	struct bak_spot spot = bak_control_spot(c, ino);
	int no;
	if (!allowed(c, req))
		no = EACCES;
	else if (!spot.node || spot.node->item->rules.kind > BAK_ITEM_TREE)
		no = EOPNOTSUPP;
	else
		no = bak_unode_setxattr(spot.node, name, value, size, flags);
	unlock(c);
	return no;
}

int bak_control_removexattr(struct bak_control *c, fuse_req_t req, uint64_t ino, const char *name)
{
	lock(c);
	struct bak_spot spot = bak_control_spot(c, ino);
	int no = ENODATA;
	if (!allowed(c, req))
		no = EACCES;
	else if (spot.node)
		no = bak_unode_removexattr(spot.node, name);
	unlock(c);
	return no;
}

void bak_control_getxattr_reply(struct bak_control *c, fuse_req_t req, uint64_t ino,
				const char *name, size_t size)
{
	lock(c);
	struct bak_spot spot = bak_control_spot(c, ino);
	const struct bak_xattr *xattr = spot.node ? bak_unode_xattr(spot.node, name) : NULL;
	if (xattr)
		value_reply(req, xattr->value, xattr->len, size);
	else
		fuse_reply_err(req, ENODATA);
	unlock(c);
}

void bak_control_listxattr_reply(struct bak_control *c, fuse_req_t req, uint64_t ino, size_t size)
{
	BAK_AUTO(bak_buf_release) struct bak_buf list = BAK_BUF_INIT;
	int no = 0;
	lock(c);
	struct bak_spot spot = bak_control_spot(c, ino);
	const struct bak_xattr *xattr = spot.node ? spot.node->xattrs : NULL;
	for (; xattr && !no; xattr = xattr->next)
		if (bak_buf_append(&list, xattr->name, strlen(xattr->name) + 1) < 0)
			no = ENOMEM;
	unlock(c);
	if (no)
		fuse_reply_err(req, no);
	else
		value_reply(req, list.p, list.len, size);
}

/* --- life --- */

static int rooms_init(struct bak_control *c, struct bak_error *err)
{
	const struct bak_mount_conf *conf = c->fs->conf;
	c->rooms = calloc(conf->n_stores + 1, sizeof *c->rooms);
	if (!c->rooms)
		return bak_error_nomem(err);
	for (size_t i = 0; i < conf->n_stores; i++) {
		const struct bak_mount_store *store = &conf->stores[i];
		char path[256];
		if (!store->restore ||
		    (conf->only_store && strcmp(conf->only_store, store->name) != 0))
			continue;
		struct bak_room *room = &c->rooms[c->n_rooms++];
		uint64_t *const inos[] = {&room->status_ino, &room->wait_ino, &room->log_ino};
		room->store = store;
		snprintf(path, sizeof path, "/restore/%s", store->name);
		room->ino = bak_ino_hash(BAK_RANGE_CONTROL, path, 0);
		for (size_t k = 0; k < 3; k++) {
			snprintf(path, sizeof path, "/restore/%s/%s", store->name,
				 control_names[k]);
			*inos[k] = bak_ino_hash(BAK_RANGE_CONTROL, path, 0);
		}
	}
	return 0;
}

static int spool_init(struct bak_control *c, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *tmp = NULL;
	const char *dir = c->fs->conf->spool_dir;
	if (!dir) {
		if (asprintf(&tmp, "%s/tmp", bak_repo_path(c->fs->repo)) < 0)
			return bak_error_nomem(err);
		dir = tmp;
	}
	return bak_spool_new(dir, &c->spool, err);
}

/* A job's state is a file that is replaced at each change. */
static void watch_jobs(struct bak_control *c)
{
	c->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (c->inotify >= 0 &&
	    inotify_add_watch(c->inotify, c->jobs_dir, IN_MOVED_TO | IN_CLOSE_WRITE) >= 0)
		return;
	if (c->inotify >= 0)
		close(c->inotify);
	c->inotify = -1;
}

static void control_free(struct bak_control *c)
{
	while (c->opens)
		open_free(c, c->opens);
	for (size_t i = 0; i < c->n_rooms; i++) {
		struct bak_dirmap_entry *entry;
		struct bak_room *room = &c->rooms[i];
		while ((entry = bak_dirmap_next(&room->entries, 0)))
			bak_unode_unlink_all(&c->nodes, &room->entries, entry->name);
		bak_dirmap_release(&room->entries);
		if (room->poll)
			fuse_pollhandle_destroy(room->poll);
	}
	bak_control_jobs_free(c);
	bak_unodes_release(&c->nodes);
	bak_spool_free(c->spool);
	if (c->inotify >= 0)
		close(c->inotify);
	if (c->wake >= 0)
		close(c->wake);
	pthread_mutex_destroy(&c->lock);
	free(c->jobs_dir);
	free(c->rooms);
	free(c);
}

int bak_control_start(struct bak_fs *fs, struct bak_control **out, struct bak_error *err)
{
	struct bak_control *c = calloc(1, sizeof *c);
	if (!c)
		return bak_error_nomem(err);
	c->fs = fs;
	c->inotify = -1;
	c->root_ino = bak_ino_hash(BAK_RANGE_CONTROL, "/restore", 0);
	pthread_mutex_init(&c->lock, NULL);
	c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->wake < 0 || bak_unodes_init(&c->nodes) < 0) {
		control_free(c);
		return bak_error_nomem(err);
	}
	if (rooms_init(c, err) < 0 || spool_init(c, err) < 0 ||
	    bak_jobs_dir(bak_repo_state_dir(fs->repo), &c->jobs_dir, err) < 0 ||
	    bak_control_adopt(c, err) < 0) {
		control_free(c);
		return -1;
	}
	watch_jobs(c);
	int no = pthread_create(&c->thread, NULL, bak_control_main, c);
	if (no) {
		control_free(c);
		return bak_error_sys(err, no, "watch restore jobs");
	}
	*out = c;
	return 0;
}

void bak_control_answer_all(struct bak_control *c)
{
	lock(c);
	c->closing = true;
	bak_control_answer(c, true);
	unlock(c);
}

void bak_control_stop(struct bak_control *c)
{
	if (!c)
		return;
	lock(c);
	c->stop = true;
	bak_control_wake(c);
	unlock(c);
	pthread_join(c->thread, NULL);
	control_free(c);
}
