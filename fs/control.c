/*
 * /restore: its rooms, what is found and listed in them, and its beginning and end. The functions
 * of control.h take the lock, here and in control_names.c and control_open.c; those below them have
 * it held.
 */
#include "fs/control_private.h"
#include "fs/errno.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <syslog.h>
#include <unistd.h>

#define FIRST_OFF (BAK_DIR_FIRST + 1)

#define GROUPS_MAX 256

static bool in_group(fuse_req_t req, gid_t group)
{
	gid_t groups[GROUPS_MAX];
	if (fuse_req_ctx(req)->gid == group)
		return true;
	int n = fuse_req_getgroups(req, GROUPS_MAX, groups);
	for (int i = 0; i < n && i < GROUPS_MAX; i++)
		if (groups[i] == group)
			return true;
	return false;
}

bool bak_control_allowed(const struct bak_control *c, fuse_req_t req)
{
	uid_t uid = fuse_req_ctx(req)->uid;
	long long group = c->fs->conf->restore_gid;
	return uid == 0 || uid == c->fs->uid || (group >= 0 && in_group(req, (gid_t)group));
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

/* --- folders: the store's own, or a node --- */

int bak_control_dir_of(struct bak_control *c, fuse_req_t req, uint64_t ino,
		       struct bak_control_dir *out)
{
	struct bak_spot spot = bak_control_spot(c, ino);
	if (!bak_control_allowed(c, req))
		return EACCES;
	if (spot.kind == BAK_SPOT_ROOT)
		return EPERM; /* stores come from the configuration */
	if (spot.kind == BAK_SPOT_NONE)
		return ESTALE;
	if (spot.kind == BAK_SPOT_ROOM)
		*out = (struct bak_control_dir){spot.room, NULL, &spot.room->entries};
	else if (spot.kind == BAK_SPOT_NODE && S_ISDIR(spot.node->mode))
		*out = (struct bak_control_dir){spot.room, spot.node, &spot.node->entries};
	else
		return ENOTDIR;
	return 0;
}

struct bak_unode *bak_control_child(const struct bak_control_dir *dir, const char *name)
{
	struct bak_dirmap_entry *entry = bak_dirmap_find(dir->map, name);
	return entry ? entry->value : NULL;
}

bool bak_control_in_trigger(const struct bak_control_dir *dir)
{
	return dir->node && dir->node->item->rules.kind == BAK_ITEM_TRIGGER_FOLDER;
}

void bak_control_entry(struct bak_unode *node, struct fuse_entry_param *out)
{
	bak_unode_stat(node, &out->attr);
	out->ino = node->ino;
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
	bool shared = fs->conf->restore_gid >= 0;
	mode_t mode = S_ISDIR(out->st_mode) ? 0700 : 0400;
	out->st_uid = fs->uid;
	out->st_gid = shared ? (gid_t)fs->conf->restore_gid : fs->gid;
	out->st_mode = (out->st_mode & S_IFMT) | mode | (shared ? mode >> 3 : 0);
	return 0;
}

uint64_t bak_control_root(const struct bak_control *c)
{
	return c->root_ino;
}

int bak_control_getattr(struct bak_control *c, uint64_t ino, struct stat *out)
{
	pthread_mutex_lock(&c->lock);
	int no = control_attr(c, bak_control_spot(c, ino), out);
	pthread_mutex_unlock(&c->lock);
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

int bak_control_find(struct bak_control_dir *dir, const char *name, struct bak_spot *out)
{
	struct bak_unode *node = bak_control_child(dir, name);
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
	struct bak_control_dir dir;
	pthread_mutex_lock(&c->lock);
	int no = EACCES;
	if (bak_control_allowed(c, req) && parent == c->root_ino)
		no = lookup_in_root(c, name, &spot);
	else if (bak_control_allowed(c, req) && !(no = bak_control_dir_of(c, req, parent, &dir)))
		no = bak_control_find(&dir, name, &spot);
	if (!no)
		no = control_attr(c, spot, &out->attr);
	out->ino = out->attr.st_ino;
	pthread_mutex_unlock(&c->lock);
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
	pthread_mutex_lock(&c->lock);
	struct bak_spot spot = bak_control_spot(c, ino);
	uint64_t parent = c->root_ino;
	int no = 0;
	if (spot.kind == BAK_SPOT_ROOT)
		parent = BAK_INO_ROOT;
	else if (spot.kind == BAK_SPOT_NODE)
		parent = spot.node->parent ? spot.node->parent->ino : spot.room->ino;
	if (!bak_control_allowed(c, req))
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
	pthread_mutex_unlock(&c->lock);
	return no;
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
	pthread_mutex_lock(&c->lock);
	struct bak_spot spot = bak_control_spot(c, ino);
	int no;
	if (!bak_control_allowed(c, req))
		no = EACCES;
	else if (!spot.node || spot.node->item->rules.kind > BAK_ITEM_TREE)
		no = EOPNOTSUPP;
	else
		no = bak_unode_setxattr(spot.node, name, value, size, flags);
	pthread_mutex_unlock(&c->lock);
	return no;
}

int bak_control_removexattr(struct bak_control *c, fuse_req_t req, uint64_t ino, const char *name)
{
	pthread_mutex_lock(&c->lock);
	struct bak_spot spot = bak_control_spot(c, ino);
	int no = ENODATA;
	if (!bak_control_allowed(c, req))
		no = EACCES;
	else if (spot.node)
		no = bak_unode_removexattr(spot.node, name);
	pthread_mutex_unlock(&c->lock);
	return no;
}

void bak_control_getxattr_reply(struct bak_control *c, fuse_req_t req, uint64_t ino,
				const char *name, size_t size)
{
	pthread_mutex_lock(&c->lock);
	struct bak_spot spot = bak_control_spot(c, ino);
	const struct bak_xattr *xattr = spot.node ? bak_unode_xattr(spot.node, name) : NULL;
	if (xattr)
		value_reply(req, xattr->value, xattr->len, size);
	else
		fuse_reply_err(req, ENODATA);
	pthread_mutex_unlock(&c->lock);
}

void bak_control_listxattr_reply(struct bak_control *c, fuse_req_t req, uint64_t ino, size_t size)
{
	BAK_AUTO(bak_buf_release) struct bak_buf list = BAK_BUF_INIT;
	int no = 0;
	pthread_mutex_lock(&c->lock);
	struct bak_spot spot = bak_control_spot(c, ino);
	const struct bak_xattr *xattr = spot.node ? spot.node->xattrs : NULL;
	for (; xattr && !no; xattr = xattr->next)
		if (bak_buf_append(&list, xattr->name, strlen(xattr->name) + 1) < 0)
			no = ENOMEM;
	pthread_mutex_unlock(&c->lock);
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
		bak_control_open_free(c, c->opens);
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
	pthread_mutex_lock(&c->lock);
	c->closing = true;
	bak_control_answer(c, true);
	pthread_mutex_unlock(&c->lock);
}

void bak_control_stop(struct bak_control *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	bak_control_wake(c);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	control_free(c);
}
