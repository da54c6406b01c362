/*
 * The operations that the kernel asks for: each finds out by the inode number whom it concerns (a
 * snapshot, the folders above them, /restore), and answers exactly once.
 *
 * A request about names holds the catalogue until it is answered: the notifier, which invalidates
 * after it has put a new one in, finds either an answer of the new one or one to throw away.
 */
#include "fs/control.h"
#include "fs/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

enum whose { WHOSE_TREE, WHOSE_VIRTUAL, WHOSE_CONTROL };

static enum whose whose(uint64_t ino)
{
	enum bak_range range = bak_ino_parse(ino).range;
	if (ino == BAK_INO_ROOT || range == BAK_RANGE_VIRTUAL)
		return WHOSE_VIRTUAL;
	return range == BAK_RANGE_CONTROL ? WHOSE_CONTROL : WHOSE_TREE;
}

static struct bak_fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* Nodes of /restore, when there is one. */
static bool is_control(const struct bak_fs *fs, uint64_t ino)
{
	return fs->control && whose(ino) == WHOSE_CONTROL;
}

/* --- the connection --- */

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct bak_fs *fs = userdata;
	const unsigned want = FUSE_CAP_ASYNC_READ | FUSE_CAP_READDIRPLUS |
			      FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_CACHE_SYMLINKS |
			      FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_ATOMIC_O_TRUNC |
			      FUSE_CAP_ASYNC_DIO | FUSE_CAP_HANDLE_KILLPRIV;
	const unsigned no = FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_AUTO_INVAL_DATA |
			    FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
			    FUSE_CAP_WRITEBACK_CACHE;
	conn->want = (conn->want | want) & conn->capable & ~no;
	if (fs->conf->owner)
		conn->want |= conn->capable & FUSE_CAP_POSIX_ACL;
	conn->max_background = 64;
	conn->congestion_threshold = 48;
	const unsigned no_open = FUSE_CAP_NO_OPEN_SUPPORT | FUSE_CAP_NO_OPENDIR_SUPPORT;
	fs->no_open = fs->conf->read_only && (conn->capable & no_open) == no_open;
}

/* --- names --- */

static int lookup_any(struct bak_fs *fs, fuse_req_t req, const struct bak_catalog *cat,
		      uint64_t parent, const char *name, struct fuse_entry_param *out)
{
	struct bak_vnode node;
	switch (whose(parent)) {
	case WHOSE_TREE:
		return bak_dir_lookup(fs, parent, name, out);
	case WHOSE_VIRTUAL:
		if (!bak_catalog_node(cat, parent, &node))
			return ESTALE;
		return bak_view_lookup(fs, cat, node, name, out);
	default:
		if (!fs->control)
			return ESTALE;
		return bak_control_lookup(fs->control, req, parent, name, out);
	}
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct bak_fs *fs = fs_of(req);
	struct fuse_entry_param e = {.ino = 0};
	struct bak_catalog *cat = bak_catalog_box_get(fs->catalog);
	int no = lookup_any(fs, req, cat, parent, name, &e);
	if (!no) {
		fuse_reply_entry(req, &e);
	} else if (no == ENOENT && whose(parent) != WHOSE_CONTROL) {
		e = (struct fuse_entry_param){.ino = 0, .entry_timeout = BAK_FOREVER};
		fuse_reply_entry(req, &e);
	} else {
		fuse_reply_err(req, no);
	}
	bak_catalog_unref(cat);
}

/* --- attributes --- */

static int virtual_attr(struct bak_fs *fs, const struct bak_catalog *cat, uint64_t ino,
			struct stat *out)
{
	struct bak_vnode node;
	uint64_t size;
	int64_t made;
	if (bak_catalog_node(cat, ino, &node))
		return bak_view_attr(fs, cat, node, out);
	int no = bak_text_get(fs, ino, 0, 0, NULL, &size, &made);
	if (no)
		return no;
	bak_attr_own(fs, ino, S_IFREG | 0444, 1, size, made, out);
	return 0;
}

static int tree_attr(struct bak_fs *fs, uint64_t ino, struct stat *out)
{
	struct bak_place place;
	int no = bak_place_open(fs, ino, &place);
	if (no)
		return no;
	bak_attr_found(fs, &place.snap->tree, ino, &place.found, out);
	bak_place_close(&place);
	return 0;
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct bak_fs *fs = fs_of(req);
	struct stat st = {.st_ino = 0};
	int no = ESTALE;
	struct bak_catalog *cat = NULL;
	(void)fi;
	if (whose(ino) == WHOSE_TREE) {
		no = tree_attr(fs, ino, &st);
	} else if (whose(ino) == WHOSE_VIRTUAL) {
		cat = bak_catalog_box_get(fs->catalog);
		no = virtual_attr(fs, cat, ino, &st);
	} else if (fs->control) {
		no = bak_control_getattr(fs->control, ino, &st);
	}
	if (no)
		fuse_reply_err(req, no);
	else
		fuse_reply_attr(req, &st, whose(ino) == WHOSE_CONTROL ? 0 : BAK_FOREVER);
	bak_catalog_unref(cat);
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	struct bak_fs *fs = fs_of(req);
	struct stat st;
	int no = EROFS;
	if (is_control(fs, ino))
		no = bak_control_setattr(fs->control, req, ino, attr, to_set, fi, &st);
	if (no)
		fuse_reply_err(req, no);
	else
		fuse_reply_attr(req, &st, 0);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct bak_fs *fs = fs_of(req);
	if (is_control(fs, ino)) {
		bak_control_readlink_reply(fs->control, req, ino);
		return;
	}
	if (whose(ino) == WHOSE_TREE) {
		bak_readlink_reply(fs, req, ino);
		return;
	}
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	struct bak_catalog *cat = bak_catalog_box_get(fs->catalog);
	struct bak_vnode node;
	int no = ESTALE;
	if (bak_catalog_node(cat, ino, &node))
		no = node.kind == BAK_V_STORE_LATEST
			     ? bak_view_text(fs, cat, node, 0, BAK_STAMP_LEN, &text)
			     : EINVAL;
	if (!no && bak_buf_append(&text, "", 1) < 0)
		no = ENOMEM;
	if (no)
		fuse_reply_err(req, no);
	else
		fuse_reply_readlink(req, (const char *)text.p);
	bak_catalog_unref(cat);
}

/* --- folders --- */

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct bak_fs *fs = fs_of(req);
	if (fs->no_open) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	if (whose(ino) != WHOSE_CONTROL) {
		fi->keep_cache = 1;
		fi->cache_readdir = 1;
	}
	fuse_reply_open(req, fi);
}

static int readdir_any(struct bak_fs *fs, fuse_req_t req, const struct bak_catalog *cat,
		       uint64_t ino, off_t off, struct bak_dirbuf *buf)
{
	struct bak_vnode node;
	switch (whose(ino)) {
	case WHOSE_TREE:
		return bak_dir_read(fs, ino, off, buf);
	case WHOSE_VIRTUAL:
		if (!bak_catalog_node(cat, ino, &node))
			return ESTALE;
		return bak_view_read(fs, cat, node, off, buf);
	default:
		if (!fs->control)
			return ESTALE;
		return bak_control_readdir(fs->control, req, ino, off, buf);
	}
}

static void readdir_reply(fuse_req_t req, uint64_t ino, size_t size, off_t off, bool plus)
{
	struct bak_fs *fs = fs_of(req);
	struct bak_dirbuf buf;
	double timeout = whose(ino) == WHOSE_CONTROL ? 0 : BAK_FOREVER;
	int no = bak_dirbuf_init(&buf, req, size, plus, timeout);
	if (no) {
		fuse_reply_err(req, no);
		return;
	}
	struct bak_catalog *cat = bak_catalog_box_get(fs->catalog);
	no = readdir_any(fs, req, cat, ino, off, &buf);
	if (no)
		fuse_reply_err(req, no);
	else
		fuse_reply_buf(req, buf.p, buf.len);
	if (!no && plus)
		bak_push_listed(fs->push, ino, off == 0);
	bak_catalog_unref(cat);
	bak_dirbuf_release(&buf);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	(void)fi;
	readdir_reply(req, ino, size, off, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			   struct fuse_file_info *fi)
{
	(void)fi;
	readdir_reply(req, ino, size, off, true);
}

/* --- reading --- */

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct bak_fs *fs = fs_of(req);
	if (fs->no_open) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	int no = 0;
	if (is_control(fs, ino)) {
		no = bak_control_open(fs->control, req, ino, fi);
	} else if ((fi->flags & O_ACCMODE) != O_RDONLY) {
		no = EROFS;
	} else {
		fi->keep_cache = 1;
		fi->noflush = 1;
	}
	if (no)
		fuse_reply_err(req, no);
	else if (fuse_reply_open(req, fi) == -ENOENT && is_control(fs, ino))
		bak_control_release(fs->control, ino, fi); /* interrupted: no RELEASE will come */
}

static void virtual_read_reply(struct bak_fs *fs, fuse_req_t req, uint64_t ino, size_t size,
			       off_t off)
{
	BAK_AUTO(bak_buf_release) struct bak_buf out = BAK_BUF_INIT;
	struct bak_catalog *cat = bak_catalog_box_get(fs->catalog);
	struct bak_vnode node;
	uint64_t text_size;
	int no = 0;
	if (bak_catalog_node(cat, ino, &node))
		no = bak_view_text(fs, cat, node, (uint64_t)off, size, &out);
	else
		no = bak_text_get(fs, ino, (uint64_t)off, size, &out, &text_size, NULL);
	bak_catalog_unref(cat);
	if (no)
		fuse_reply_err(req, no);
	else
		fuse_reply_buf(req, (const char *)out.p, out.len);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct bak_fs *fs = fs_of(req);
	if (off < 0)
		fuse_reply_err(req, EINVAL);
	else if (whose(ino) == WHOSE_TREE)
		bak_read_reply(fs, req, ino, size, off);
	else if (whose(ino) == WHOSE_VIRTUAL)
		virtual_read_reply(fs, req, ino, size, off);
	else if (fs->control)
		bak_control_read_reply(fs->control, req, ino, size, off, fi);
	else
		fuse_reply_err(req, ESTALE);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	struct bak_fs *fs = fs_of(req);
	off_t out = 0;
	int no;
	(void)fi;
	if (whose(ino) == WHOSE_TREE)
		no = bak_read_lseek(fs, ino, off, whence, &out);
	else if (is_control(fs, ino))
		no = bak_control_lseek(fs->control, ino, off, whence, &out);
	else
		no = EINVAL; /* computed files: the kernel knows their size */
	if (no)
		fuse_reply_err(req, no);
	else
		fuse_reply_lseek(req, out);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct bak_fs *fs = fs_of(req);
	/* Never ENOSYS: it would end FLUSH for the whole connection. */
	fuse_reply_err(req, is_control(fs, ino) ? bak_control_flush(fs->control, req, ino, fi) : 0);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct bak_fs *fs = fs_of(req);
	if (is_control(fs, ino))
		bak_control_release(fs->control, ino, fi);
	fuse_reply_err(req, 0);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct bak_fs *fs = fs_of(req);
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_backend *be = bak_repo_backend(fs->repo);
	struct bak_index_counts counts = {0};
	uint64_t room = 0, total = 0;
	(void)ino;
	/* The size is what the repository takes and could take: `df` shows its use. */
	if (be->ops->space(be, &room, &total, &err) < 0 || room == UINT64_MAX)
		room = 0;
	if (bak_index_counts(bak_repo_index(fs->repo), &counts, &err) < 0)
		counts.pack_bytes = 0;
	struct statvfs st = {
		.f_bsize = 4096,
		.f_frsize = 4096,
		.f_blocks = (counts.pack_bytes + room) / 4096,
		.f_bfree = room / 4096,
		.f_bavail = room / 4096,
		.f_namemax = 255,
	};
	fuse_reply_statfs(req, &st);
}

/* --- extended attributes --- */

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct bak_fs *fs = fs_of(req);
	if (whose(ino) == WHOSE_TREE)
		bak_getxattr_reply(fs, req, ino, name, size);
	else if (is_control(fs, ino))
		bak_control_getxattr_reply(fs->control, req, ino, name, size);
	else /* `ls -l` stops asking for each file's ACL; a kernel that minds them must be told */
		fuse_reply_err(req, fs->conf->owner ? ENODATA : EOPNOTSUPP);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct bak_fs *fs = fs_of(req);
	if (whose(ino) == WHOSE_TREE)
		bak_listxattr_reply(fs, req, ino, size);
	else if (is_control(fs, ino))
		bak_control_listxattr_reply(fs->control, req, ino, size);
	else if (size)
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_xattr(req, 0);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
			size_t size, int flags)
{
	struct bak_fs *fs = fs_of(req);
	int no = EROFS;
	if (is_control(fs, ino))
		no = bak_control_setxattr(fs->control, req, ino, name, value, size, flags);
	fuse_reply_err(req, no);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct bak_fs *fs = fs_of(req);
	int no = EROFS;
	if (is_control(fs, ino))
		no = bak_control_removexattr(fs->control, req, ino, name);
	fuse_reply_err(req, no);
}

/* --- writing: /restore alone --- */

static void reply_made(fuse_req_t req, int no, const struct fuse_entry_param *e)
{
	if (no)
		fuse_reply_err(req, no);
	else
		fuse_reply_entry(req, e);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	struct bak_fs *fs = fs_of(req);
	struct fuse_entry_param e = {.ino = 0};
	int no = EROFS;
	if (is_control(fs, parent))
		no = bak_control_create(fs->control, req, parent, name, mode, fi, &e);
	if (no)
		fuse_reply_err(req, no);
	else if (fuse_reply_create(req, &e, fi) == -ENOENT)
		bak_control_release(fs->control, e.ino, fi);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct bak_fs *fs = fs_of(req);
	struct fuse_entry_param e = {.ino = 0};
	int no = EROFS;
	if (is_control(fs, parent))
		no = bak_control_mknod(fs->control, req, parent, name, mode, rdev, &e);
	reply_made(req, no, &e);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct bak_fs *fs = fs_of(req);
	struct fuse_entry_param e = {.ino = 0};
	int no = EROFS;
	if (is_control(fs, parent))
		no = bak_control_mkdir(fs->control, req, parent, name, mode, &e);
	reply_made(req, no, &e);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct bak_fs *fs = fs_of(req);
	struct fuse_entry_param e = {.ino = 0};
	int no = EROFS;
	if (is_control(fs, parent))
		no = bak_control_symlink(fs->control, req, parent, name, target, &e);
	reply_made(req, no, &e);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	struct bak_fs *fs = fs_of(req);
	struct fuse_entry_param e = {.ino = 0};
	int no = is_control(fs, parent) ? EXDEV : EROFS;
	if (is_control(fs, parent) && is_control(fs, ino))
		no = bak_control_link(fs->control, req, ino, parent, name, &e);
	reply_made(req, no, &e);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct bak_fs *fs = fs_of(req);
	int no = EROFS;
	if (is_control(fs, parent))
		no = bak_control_unlink(fs->control, req, parent, name, false);
	fuse_reply_err(req, no);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct bak_fs *fs = fs_of(req);
	int no = EROFS;
	if (is_control(fs, parent))
		no = bak_control_unlink(fs->control, req, parent, name, true);
	fuse_reply_err(req, no);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		      const char *new_name, unsigned flags)
{
	struct bak_fs *fs = fs_of(req);
	int no = EROFS;
	if (is_control(fs, parent) && is_control(fs, new_parent))
		no = bak_control_rename(fs->control, req, parent, name, new_parent, new_name,
					flags);
	fuse_reply_err(req, no);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	struct bak_fs *fs = fs_of(req);
	int no = EROFS;
	if (is_control(fs, ino))
		no = off < 0 ? EINVAL
			     : bak_control_write(fs->control, req, ino, buf, size, off, fi);
	if (no)
		fuse_reply_err(req, no);
	else
		fuse_reply_write(req, size);
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			       struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
			       struct fuse_file_info *fi_out, size_t len, int flags)
{
	struct bak_fs *fs = fs_of(req);
	size_t n = 0;
	int no = EROFS;
	(void)fi_in;
	if (is_control(fs, ino_out) && whose(ino_in) != WHOSE_TREE)
		no = EXDEV; /* the kernel reads and writes instead */
	else if (is_control(fs, ino_out))
		no = off_in < 0 || off_out < 0 || flags
			     ? EINVAL
			     : bak_control_copy(fs->control, ino_in, (uint64_t)off_in,
						(uint64_t)off_out, len, fi_out, &n);
	if (no)
		fuse_reply_err(req, no);
	else
		fuse_reply_write(req, n);
}

static void op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
		    struct fuse_pollhandle *ph)
{
	struct bak_fs *fs = fs_of(req);
	unsigned revents = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
	int no = 0;
	if (is_control(fs, ino))
		no = bak_control_poll(fs->control, ino, ph, fi, &revents);
	else if (ph)
		fuse_pollhandle_destroy(ph);
	if (no)
		fuse_reply_err(req, no);
	else
		fuse_reply_poll(req, revents);
}

const struct fuse_lowlevel_ops bak_fs_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.release = op_release,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.statfs = op_statfs,
	.setxattr = op_setxattr,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
	.create = op_create,
	.poll = op_poll,
	.lseek = op_lseek,
	.copy_file_range = op_copy_file_range,
};
