/*
 * Names in /restore: making, removing and renaming uploads and triggers. Finds out what is meant,
 * asks restore.h, does what it decides.
 */
#include "fs/control_private.h"
#include "fs/errno.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static int path_join(const struct bak_control_dir *dir, const char *name, char **out)
{
	int n = dir->node ? asprintf(out, "%s/%s", dir->node->item->path, name)
			  : asprintf(out, "%s", name);
	return n < 0 ? ENOMEM : 0;
}

/* Whether a trigger of that name makes sense there. Called with the lock held; lets it go while it
 * looks, so the folder is found anew afterwards. */
static int look_up_known(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
			 bool folder, struct bak_control_dir *dir, int *out_known)
{
	int no = bak_control_dir_of(c, req, parent, dir);
	if (no)
		return no;
	enum bak_name_class class = bak_name_class(name);
	*out_known = 0;
	bool top = !dir->node && (class == BAK_NAME_STAMP || class == BAK_NAME_LATEST);
	if (!top && !bak_control_in_trigger(dir))
		return 0;
	BAK_AUTO(bak_free_ptr) char *path = NULL;
	if (path_join(dir, name, &path))
		return ENOMEM;
	const struct bak_room *room = dir->room;
	pthread_mutex_unlock(&c->lock);
	*out_known = known_in_snapshot(c, room, path, folder);
	pthread_mutex_lock(&c->lock);
	return bak_control_dir_of(c, req, parent, dir);
}

/* --- making names --- */

/* A new node with its name; item NULL: a new item of this kind. */
static int make_node(struct bak_control *c, fuse_req_t req, struct bak_control_dir *dir,
		     const char *name, mode_t mode, struct bak_item *item, enum bak_item_kind kind,
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
		bak_proof_init(&node->proof, made ? dir->room->store->proof : NULL);
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
static struct bak_item *owner(const struct bak_control_dir *dir, const char *name, bool folder,
			      enum bak_item_kind *kind)
{
	bool trigger = bak_control_in_trigger(dir) ||
		       (!dir->node && bak_name_is_trigger(bak_name_class(name)));
	if (trigger)
		*kind = folder ? BAK_ITEM_TRIGGER_FOLDER : BAK_ITEM_TRIGGER;
	else
		*kind = folder ? BAK_ITEM_TREE : BAK_ITEM_FILE;
	return trigger || !dir->node ? NULL : dir->node->item;
}

int bak_control_make_file(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
			  mode_t mode, int open_flags, struct bak_unode **out)
{
	struct bak_control_dir dir;
	int known = 0;
	int no = look_up_known(c, req, parent, name, false, &dir, &known);
	if (no)
		return no;
	if (bak_control_child(&dir, name))
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
	struct bak_control_dir dir;
	struct bak_unode *node;
	enum bak_item_kind kind;
	int known = 0;
	pthread_mutex_lock(&c->lock);
	int no = look_up_known(c, req, parent, name, true, &dir, &known);
	if (!no && bak_control_child(&dir, name))
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
		bak_control_entry(node, out);
	pthread_mutex_unlock(&c->lock);
	return no;
}

/* Symlinks, FIFOs, devices: only within an uploaded folder. */
static int make_other(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
		      mode_t mode, struct bak_control_dir *dir, struct bak_unode **out)
{
	int no = bak_control_dir_of(c, req, parent, dir);
	if (!no && bak_control_child(dir, name))
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
	struct bak_control_dir dir;
	struct bak_unode *node;
	char *copy = strdup(target);
	if (!copy)
		return ENOMEM;
	pthread_mutex_lock(&c->lock);
	int no = make_other(c, req, parent, name, S_IFLNK | 0777, &dir, &node);
	if (no) {
		free(copy);
	} else {
		node->target = copy;
		bak_control_entry(node, out);
	}
	pthread_mutex_unlock(&c->lock);
	return no;
}

int bak_control_mknod(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
		      mode_t mode, dev_t rdev, struct fuse_entry_param *out)
{
	struct bak_control_dir dir;
	struct bak_unode *node;
	pthread_mutex_lock(&c->lock);
	int no;
	if (S_ISREG(mode)) {
		/* Nothing that somebody has open: as if it were made to be filled, never a touch.
		 */
		no = bak_control_make_file(c, req, parent, name, mode, O_EXCL, &node);
	} else {
		no = make_other(c, req, parent, name, mode, &dir, &node);
		if (!no)
			node->rdev = rdev;
	}
	if (!no)
		bak_control_entry(node, out);
	pthread_mutex_unlock(&c->lock);
	return no;
}

int bak_control_link(struct bak_control *c, fuse_req_t req, uint64_t ino, uint64_t parent,
		     const char *name, struct fuse_entry_param *out)
{
	struct bak_control_dir dir;
	pthread_mutex_lock(&c->lock);
	struct bak_spot spot = bak_control_spot(c, ino);
	int no = bak_control_dir_of(c, req, parent, &dir);
	if (!no && (spot.kind != BAK_SPOT_NODE || S_ISDIR(spot.node->mode)))
		no = EPERM;
	if (!no && bak_control_child(&dir, name))
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
		bak_control_entry(spot.node, out);
	}
	pthread_mutex_unlock(&c->lock);
	return no;
}

/* --- removing and renaming --- */

int bak_control_unlink(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
		       bool folder)
{
	struct bak_control_dir dir;
	struct bak_spot spot;
	pthread_mutex_lock(&c->lock);
	int no = bak_control_dir_of(c, req, parent, &dir);
	if (!no)
		no = bak_control_find(&dir, name, &spot);
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
			no = bak_control_do(c, item, d);
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
	pthread_mutex_unlock(&c->lock);
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
static int move_name(struct bak_control *c, struct bak_control_dir *from, const char *name,
		     struct bak_control_dir *to, const char *new_name)
{
	struct bak_unode *node = bak_control_child(from, name);
	struct bak_unode *gone = bak_control_child(to, new_name);
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

static bool is_open(const struct bak_control *c, const struct bak_unode *node)
{
	const struct bak_open *open = c->opens;
	while (open && open->spot.node != node)
		open = open->next;
	return open;
}

/* A file in a folder whose name never starts becomes an upload of its own, which no name has
 * accepted yet: so the folder is one to collect files in until all are there. */
static int split_off(struct bak_control *c, struct bak_control_dir *dir, const char *name)
{
	struct bak_unode *node = bak_control_child(dir, name);
	struct bak_item *was = node ? node->item : NULL;
	if (!was || !dir->node || was != dir->node->item || was->rules.kind != BAK_ITEM_TREE ||
	    !was->rules.partial || !S_ISREG(node->mode) || node->nlink > 1 || is_open(c, node))
		return 0;
	BAK_AUTO(bak_free_ptr) char *path = NULL;
	if (path_join(dir, name, &path))
		return ENOMEM;
	struct bak_item *item = bak_item_new(&c->nodes, dir->room, path, BAK_ITEM_FILE,
					     BAK_NAME_PARTIAL);
	if (!item)
		return ENOMEM;
	item->rules.written = bak_blob_size(node->blob) > 0;
	item->top = node;
	item->dir = dir->node;
	item->n_nodes = 1;
	was->n_nodes--;
	node->item = item;
	bak_proof_init(&node->proof, dir->room->store->proof);
	return 0;
}

/* It got no other name: the folder's again. */
static void join_again(struct bak_control *c, struct bak_control_dir *dir, const char *name)
{
	struct bak_unode *node = dir->node ? bak_control_child(dir, name) : NULL;
	struct bak_item *item = node ? node->item : NULL;
	if (!item || item->dir != dir->node || item->rules.kind != BAK_ITEM_FILE ||
	    is_open(c, node))
		return;
	node->item = dir->node->item;
	node->item->n_nodes++;
	item->n_nodes--;
	bak_proof_init(&node->proof, NULL);
	bak_item_drop(&c->nodes, item);
}

/* From one name of an upload to another. */
static int rename_item(struct bak_control *c, struct bak_control_dir *from, const char *name,
		       struct bak_control_dir *to, const char *new_name, struct bak_unode *node,
		       struct bak_unode *over)
{
	struct bak_item *item = node->item;
	struct bak_content_facts facts = {.verdict = BAK_VERDICT_UNPROVABLE};
	struct bak_item_rules before = item->rules;
	struct bak_unode *was_in = item->dir;
	char *path = strdup(new_name), *was = item->path;
	if (!path)
		return ENOMEM;
	int no = bak_control_facts(node, &facts);
	struct bak_decision d = {.no = no};
	if (!no)
		d = bak_item_rename(&item->rules, bak_name_class(new_name),
				    over ? &over->item->rules : NULL, &facts);
	item->path = path;
	item->dir = NULL;
	no = bak_control_do(c, item, d);
	if (!no)
		no = move_name(c, from, name, to, new_name);
	else
		item->rules = before;
	if (no) {
		item->path = was;
		item->dir = was_in;
		free(path);
	} else {
		free(was);
	}
	return no;
}

/* Within one upload. No kernel of ours moves a folder into itself, but then it would have no end. */
static int move_in(struct bak_control *c, struct bak_control_dir *from, const char *name,
		   struct bak_control_dir *to, const char *new_name)
{
	const struct bak_unode *node = bak_control_child(from, name);
	for (const struct bak_unode *dir = to->node; dir; dir = dir->parent)
		if (dir == node)
			return EINVAL;
	int no = bak_item_change_in(&from->node->item->rules).no;
	return no ? no : move_name(c, from, name, to, new_name);
}

/* Before anything is looked up for good: this lets the lock go. top: it gets a name in the store's
 * own folder. */
static int catch_up_by_name(struct bak_control *c, fuse_req_t req, uint64_t parent,
			    const char *name, bool top)
{
	struct bak_control_dir dir;
	int no = bak_control_dir_of(c, req, parent, &dir);
	if (!no && top && (no = split_off(c, &dir, name)))
		return no;
	struct bak_unode *node = no ? NULL : bak_control_child(&dir, name);
	if (!node || node->item->top != node)
		return 0;
	bak_unode_ref(node);
	no = bak_control_catch_up(c, node);
	bak_unode_unref(&c->nodes, node);
	return no;
}

int bak_control_rename(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
		       uint64_t new_parent, const char *new_name, unsigned flags)
{
	struct bak_control_dir from = {.node = NULL}, to;
	pthread_mutex_lock(&c->lock);
	bool to_top = bak_control_spot(c, new_parent).kind == BAK_SPOT_ROOM;
	int no = flags & ~(unsigned)RENAME_NOREPLACE
			 ? EINVAL
			 : catch_up_by_name(c, req, parent, name, to_top);
	if (!no)
		no = bak_control_dir_of(c, req, parent, &from);
	if (!no)
		no = bak_control_dir_of(c, req, new_parent, &to);
	struct bak_unode *node = no ? NULL : bak_control_child(&from, name);
	struct bak_unode *over = no ? NULL : bak_control_child(&to, new_name);
	bool new_is_trigger = !no && !to.node && bak_name_is_trigger(bak_name_class(new_name));
	if (!no && !node)
		no = bak_name_class(name) == BAK_NAME_CONTROL && !from.node ? EPERM : ENOENT;
	if (!no && (new_is_trigger || bak_control_in_trigger(&to) || bak_control_in_trigger(&from)))
		no = EINVAL;
	if (!no)
		no = may_replace(node, over, flags);
	if (!no && node != over) {
		if (!to.node && from.room == to.room && node->item->top == node)
			no = rename_item(c, &from, name, &to, new_name, node, over);
		else if (from.node && to.node && from.node->item == to.node->item)
			no = move_in(c, &from, name, &to, new_name);
		else
			no = EXDEV;
	}
	if (no)
		join_again(c, &from, name);
	pthread_mutex_unlock(&c->lock);
	return no;
}
