/*
 * The walk over a directory tree, as backup or only to count. Folders are opened one below another
 * without following symlinks, entries go in the order of their names; an entry that the writer
 * knows as unchanged costs one statx and nothing else.
 */
#include "stores/files/files.h"

#include "engine/base/dirs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define DIRENTS_LEN (64u << 10)

struct name {
	const char *p;
	size_t len;
};

/* A folder under way. Its buffers stay for the next one at this depth. */
struct level {
	struct bak_buf text;  /* the names, terminated */
	struct bak_buf names; /* struct name, sorted */
	size_t n, at;
	size_t path_len; /* of w->path up to and with this folder */
};

struct walk {
	struct bak_files *files;
	const struct bak_store_env *env;
	struct bak_writer *writer; /* NULL: only count */
	struct bak_files_counts *counts;
	struct bak_dirs dirs;
	struct level *levels;
	size_t n, cap;       /* cap of them have been used so far */
	struct bak_buf path; /* of the entry at hand, relative, terminated */
	struct bak_files_xattrs xattrs;
	uint8_t *buffer;
	uint64_t root_dev;
	bool has_repo;
	dev_t repo_dev;
	ino_t repo_ino;
	char quoted[300];
};

static const char *quote(struct walk *w)
{
	return bak_error_quote((const char *)w->path.p, w->quoted, sizeof w->quoted);
}

/* --- names of a folder --- */

static int by_name(const void *a, const void *b)
{
	const struct name *x = a, *y = b;

	return bak_name_cmp(x->p, x->len, y->p, y->len);
}

static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

static int add_dirents(struct level *level, const uint8_t *p, size_t len)
{
	for (size_t at = 0; at < len;) {
		const struct dirent64 *d = (const void *)(p + at);

		at += d->d_reclen;
		if (is_dots(d->d_name))
			continue;
		if (bak_buf_append(&level->text, d->d_name, strlen(d->d_name) + 1) < 0)
			return -1;
		level->n++;
	}
	return 0;
}

static int sort_names(struct level *level)
{
	const char *p = (const char *)level->text.p;

	level->names.len = 0;
	for (size_t i = 0; i < level->n; i++) {
		struct name name = {.p = p, .len = strlen(p)};

		if (bak_buf_append(&level->names, &name, sizeof name) < 0)
			return -1;
		p += name.len + 1;
	}
	if (level->n > 1)
		qsort(level->names.p, level->n, sizeof(struct name), by_name);
	return 0;
}

static const struct name *name_at(const struct level *level, size_t i)
{
	return (const struct name *)(const void *)level->names.p + i;
}

/* A folder that cannot be listed to its end is told of, and what was listed goes on. */
static int read_names(struct walk *w, struct level *level, int fd, struct bak_error *err)
{
	ssize_t len;

	level->text.len = 0;
	level->n = 0;
	level->at = 0;
	while ((len = getdents64(fd, w->buffer, DIRENTS_LEN)) > 0) {
		if (add_dirents(level, w->buffer, (size_t)len) < 0)
			return bak_error_nomem(err);
	}
	if (len < 0)
		bak_store_warn(w->env, "%s: entries are left out: %s", quote(w),
			       strerrordesc_np(errno));
	return sort_names(level) < 0 ? bak_error_nomem(err) : 0;
}

/* --- databases that should not be copied file by file --- */

static bool has_name(const struct level *level, const char *name)
{
	struct name key = {.p = name, .len = strlen(name)};

	return level->n && bsearch(&key, level->names.p, level->n, sizeof key, by_name) != NULL;
}

/* "app.db-wal" beside "app.db": its base name, or NULL. */
static const struct name *sqlite_wal(const struct level *level, size_t i, char base[NAME_MAX + 1])
{
	const struct name *name = name_at(level, i);

	if (name->len <= 4 || memcmp(name->p + name->len - 4, "-wal", 4) != 0)
		return NULL;
	memcpy(base, name->p, name->len - 4);
	base[name->len - 4] = '\0';
	return has_name(level, base) ? name : NULL;
}

static void look_for_databases(struct walk *w, const struct level *level)
{
	static const struct {
		const char *name, *other, *what, *driver;
	} marks[] = {
		{"PG_VERSION", "postmaster.pid", "a running PostgreSQL", "postgresql"},
		{"chroma.sqlite3", NULL, "a ChromaDB", "chroma"},
		{"appendonlydir", NULL, "a Redis or Valkey", "redis"},
		{"store_lock", NULL, "a Neo4j", "neo4j"},
		{"node.lock", NULL, "an OpenSearch", "opensearch"},
	};
	char base[NAME_MAX + 1];

	if (!w->files->database_warning || !w->writer)
		return;
	for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
		if (has_name(level, marks[i].name) &&
		    (!marks[i].other || has_name(level, marks[i].other)))
			bak_store_warn(w->env,
				       "%s: data of %s; copied file by file while it runs it may "
				       "not be usable: give it a store of type %s",
				       w->path.len ? quote(w) : w->files->path, marks[i].what,
				       marks[i].driver);
	}
	for (size_t i = 0; i < level->n; i++) {
		if (sqlite_wal(level, i, base) && !has_name(level, "chroma.sqlite3"))
			bak_store_warn(w->env,
				       "%s%s%s: a SQLite database in use; give it a store of type "
				       "sqlite",
				       w->path.len ? quote(w) : "", w->path.len ? "/" : "", base);
	}
}

/* --- files --- */

static bool same_time(const struct statx_timestamp *a, const struct statx_timestamp *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool unchanged(const struct statx *a, const struct statx *b)
{
	return a->stx_size == b->stx_size && same_time(&a->stx_mtime, &b->stx_mtime) &&
	       same_time(&a->stx_ctime, &b->stx_ctime);
}

static int stat_fd(int fd, struct statx *out)
{
	return statx(fd, "", AT_EMPTY_PATH, BAK_FILES_STATX, out);
}

/* Inode and extended attributes as they are now. */
static int describe_fd(struct walk *w, int fd, const struct statx *st, struct bak_source_inode *out,
		       struct bak_error *err)
{
	if (bak_files_xattrs_read(w->files, &w->xattrs, fd, -1, NULL, (const char *)w->path.p,
				  err) < 0)
		return -1;
	bak_files_inode(st, out);
	out->inode.xattrs = w->xattrs.block.p;
	out->inode.xattrs_len = w->xattrs.block.len;
	return 0;
}

static int leave_out(struct walk *w, int e)
{
	/* Gone between listing and opening: as if it had been deleted a moment earlier. */
	if (e == ENOENT)
		bak_store_log(w->env, "%s: gone before it could be read", quote(w));
	else
		bak_store_warn(w->env, "%s: left out: %s", quote(w), strerrordesc_np(e));
	return 0;
}

/* 1 read to its end while it stood still, or as often as allowed; 0 left out; -1. */
static int read_until_still(struct walk *w, int fd, struct statx *st, struct bak_source_inode *in,
			    struct bak_error *err)
{
	for (uint64_t tries = 0;; tries++) {
		struct statx before = *st;
		uint64_t n;
		const struct bak_files_reader reader = {w->env, w->writer, w->buffer};
		int rc = bak_files_read(&reader, fd, st, &n, err);

		if (rc == 0 || (rc > 0 && stat_fd(fd, st) < 0)) {
			leave_out(w, errno);
			return bak_writer_file_drop(w->writer, err);
		}
		if (rc < 0)
			return -1;
		in->inode.size = n;
		if (n == before.stx_size && unchanged(&before, st))
			return 1;
		if (describe_fd(w, fd, st, in, err) < 0)
			return -1;
		in->inode.size = n;
		if (tries >= w->files->reread) {
			in->inode.flags |= BAK_INODE_CHANGED;
			bak_store_warn(w->env, "%s: changed while it was read", quote(w));
			return 1;
		}
		if (bak_writer_file_restart(w->writer, err) < 0)
			return -1;
		if (lseek(fd, 0, SEEK_SET) < 0)
			return leave_out(w, errno), bak_writer_file_drop(w->writer, err);
	}
}

static int open_file(int dir_fd, const char *name)
{
	/* NONBLOCK: it may have become a FIFO since it was looked at. */
	int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	int fd = openat(dir_fd, name, flags | O_NOATIME);

	return fd < 0 && errno == EPERM ? openat(dir_fd, name, flags) : fd;
}

static void count_file(struct walk *w, uint64_t size)
{
	w->counts->files++;
	w->counts->bytes += size;
}

static int store_file(struct walk *w, int dir_fd, const char *name, const struct statx *listed,
		      struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = open_file(dir_fd, name);
	struct bak_source_inode in;
	struct statx st;

	if (fd < 0 || stat_fd(fd, &st) < 0)
		return leave_out(w, errno);
	if (!S_ISREG(st.stx_mode)) {
		bak_store_warn(w->env, "%s: left out: it became something else", quote(w));
		return 0;
	}
	if (describe_fd(w, fd, &st, &in, err) < 0)
		return -1;
	/* Replaced since it was listed, by another name of something already there? */
	int rc = st.stx_ino != listed->stx_ino ? bak_writer_reuse(w->writer, name, &in, err) : 0;
	if (rc) {
		count_file(w, in.inode.size);
		return rc < 0 ? -1 : 0;
	}
	if (bak_writer_file(w->writer, name, &in, BAK_HINT_NONE, err) < 0)
		return -1;
	rc = read_until_still(w, fd, &st, &in, err);
	if (rc <= 0)
		return rc;
	count_file(w, in.inode.size);
	return bak_writer_file_end(w->writer, &in, err);
}

/* --- symlinks, devices, FIFOs --- */

static int store_other(struct walk *w, int dir_fd, const char *name, struct bak_source_inode *in,
		       struct bak_error *err)
{
	char target[PATH_MAX];

	if (in->inode.type == BAK_TYPE_SYMLINK) {
		ssize_t len = readlinkat(dir_fd, name, target, sizeof target);

		if (len < 0)
			return leave_out(w, errno);
		in->inode.target = target;
		in->inode.target_len = (size_t)len;
	}
	if (bak_files_xattrs_read(w->files, &w->xattrs, -1, dir_fd, name, (const char *)w->path.p,
				  err) < 0)
		return -1;
	in->inode.xattrs = w->xattrs.block.p;
	in->inode.xattrs_len = w->xattrs.block.len;
	return bak_writer_other(w->writer, name, in, err);
}

/* --- folders --- */

/* The next level's place, with its buffers of an earlier folder. */
static struct level *next_level(struct walk *w, struct bak_error *err)
{
	if (w->n == w->cap) {
		struct level *levels = realloc(w->levels, (w->cap + 1) * sizeof *levels);

		if (!levels) {
			bak_error_nomem(err);
			return NULL;
		}
		w->levels = levels;
		w->levels[w->cap++] = (struct level){.n = 0};
	}
	return &w->levels[w->n];
}

static int enter_level(struct walk *w, int fd, struct bak_error *err)
{
	struct level *level = next_level(w, err);

	if (!level || read_names(w, level, fd, err) < 0)
		return -1;
	level->path_len = w->path.len;
	w->n++;
	look_for_databases(w, level);
	return 0;
}

/* A folder of which only itself is kept. */
static int store_closed_folder(struct walk *w, int dir_fd, const char *name, const struct statx *st,
			       struct bak_error *err)
{
	struct bak_source_inode in;

	w->counts->folders++;
	if (!w->writer)
		return 0;
	if (bak_files_xattrs_read(w->files, &w->xattrs, -1, dir_fd, name, (const char *)w->path.p,
				  err) < 0)
		return -1;
	bak_files_inode(st, &in);
	in.inode.xattrs = w->xattrs.block.p;
	in.inode.xattrs_len = w->xattrs.block.len;
	if (bak_writer_enter(w->writer, name, &in, err) < 0)
		return -1;
	return bak_writer_leave(w->writer, err);
}

static bool is_repository(const struct walk *w, const struct statx *st)
{
	return w->has_repo && st->stx_ino == w->repo_ino &&
	       makedev(st->stx_dev_major, st->stx_dev_minor) == w->repo_dev;
}

static int enter_folder(struct walk *w, const char *name, const struct statx *listed,
			struct bak_error *err)
{
	int above = bak_dirs_fd(&w->dirs);
	struct bak_source_inode in;
	struct statx st;

	if (is_repository(w, listed)) {
		bak_store_warn(w->env, "%s: left out: it is the repository itself", quote(w));
		return 0;
	}
	if (w->files->one_file_system &&
	    makedev(listed->stx_dev_major, listed->stx_dev_minor) != w->root_dev) {
		bak_store_log(w->env, "%s: another file system, not entered", quote(w));
		return store_closed_folder(w, above, name, listed, err);
	}
	if (bak_dirs_push(&w->dirs, name, O_NOATIME) < 0) {
		if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)
			return leave_out(w, errno);
		if (errno == ENOMEM)
			return bak_error_nomem(err);
		bak_store_warn(w->env, "%s: what is in it is left out: %s", quote(w),
			       strerrordesc_np(errno));
		return store_closed_folder(w, above, name, listed, err);
	}
	int fd = bak_dirs_fd(&w->dirs);
	if (stat_fd(fd, &st) < 0)
		return bak_error_sys(err, errno, "%s", quote(w));
	w->counts->folders++;
	if (w->writer && (describe_fd(w, fd, &st, &in, err) < 0 ||
			  bak_writer_enter(w->writer, name, &in, err) < 0))
		return -1;
	return enter_level(w, fd, err);
}

static int leave_folder(struct walk *w, struct bak_error *err)
{
	if (--w->n == 0)
		return 0;
	if (w->writer && bak_writer_leave(w->writer, err) < 0)
		return -1;
	if (bak_dirs_pop(&w->dirs, err) < 0)
		return bak_error_wrap(err, "%s", quote(w));
	return 0;
}

/* --- the walk --- */

static int set_path(struct walk *w, const struct name *name, struct bak_error *err)
{
	w->path.len = w->levels[w->n - 1].path_len;
	if ((w->path.len && bak_buf_append(&w->path, "/", 1) < 0) ||
	    bak_buf_append(&w->path, name->p, name->len + 1) < 0)
		return bak_error_nomem(err);
	w->path.len--;
	return 0;
}

static int visit_leaf(struct walk *w, int dir_fd, const char *name, const struct statx *st,
		      struct bak_error *err)
{
	struct bak_source_inode in;
	int rc;

	bak_files_inode(st, &in);
	if (in.inode.type == BAK_TYPE_SOCKET) {
		if (w->writer)
			bak_store_warn(w->env, "%s: left out: a socket", quote(w));
		return 0;
	}
	rc = w->writer ? bak_writer_reuse(w->writer, name, &in, err) : 1;
	if (rc && in.inode.type == BAK_TYPE_FILE)
		count_file(w, in.inode.size);
	if (rc)
		return rc < 0 ? -1 : 0;
	return in.inode.type == BAK_TYPE_FILE ? store_file(w, dir_fd, name, st, err)
					      : store_other(w, dir_fd, name, &in, err);
}

static int visit(struct walk *w, const struct name *name, struct bak_error *err)
{
	int dir_fd = bak_dirs_fd(&w->dirs);
	struct statx st;

	if (set_path(w, name, err) < 0)
		return -1;
	if (statx(dir_fd, name->p, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, BAK_FILES_STATX, &st) < 0)
		return leave_out(w, errno);
	if (bak_exclude_match(&w->files->exclude, (const char *)w->path.p, S_ISDIR(st.stx_mode)))
		return 0;
	return S_ISDIR(st.stx_mode) ? enter_folder(w, name->p, &st, err)
				    : visit_leaf(w, dir_fd, name->p, &st, err);
}

static int walk_all(struct walk *w, struct bak_error *err)
{
	while (w->n > 0) {
		struct level *level = &w->levels[w->n - 1];

		if (bak_store_check_cancelled(w->env, err) < 0)
			return -1;
		if (level->at < level->n) {
			if (visit(w, name_at(level, level->at++), err) < 0)
				return -1;
			continue;
		}
		w->path.len = level->path_len;
		w->path.p[w->path.len] = '\0';
		if (leave_folder(w, err) < 0)
			return -1;
	}
	return 0;
}

/* --- where it begins --- */

static int walk_folder(struct walk *w, int fd, const struct statx *st, struct bak_error *err)
{
	struct bak_source_inode in;

	w->root_dev = makedev(st->stx_dev_major, st->stx_dev_minor);
	if (is_repository(w, st))
		return bak_error_set(err, BAK_REFUSED, "%s is the repository itself",
				     w->files->path);
	if (w->writer &&
	    (describe_fd(w, fd, st, &in, err) < 0 || bak_writer_root(w->writer, &in, err) < 0))
		return -1;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return bak_error_sys(err, errno, "dup");
	if (bak_dirs_start(&w->dirs, fd, err) < 0 || enter_level(w, fd, err) < 0)
		return -1;
	return walk_all(w, err);
}

/* One file: the payload is a folder with nothing else in it. */
static int walk_single(struct walk *w, int fd, const char *path, const char *name,
		       const struct statx *st, struct bak_error *err)
{
	struct bak_source_inode root, in;
	const char *last = bak_files_base(path);

	if (!w->writer) {
		count_file(w, st->stx_size);
		return 0;
	}
	bak_files_inode(st, &root);
	root.inode.type = BAK_TYPE_DIR;
	root.inode.mode = 0755;
	root.inode.size = 0;
	name = name ? name : last;
	if (bak_buf_append(&w->path, name, strlen(name) + 1) < 0)
		return bak_error_nomem(err);
	w->path.len--;
	if (bak_writer_root(w->writer, &root, err) < 0 || describe_fd(w, fd, st, &in, err) < 0)
		return -1;
	in.nlink = 1;
	int rc = bak_writer_reuse(w->writer, name, &in, err);
	if (rc > 0)
		count_file(w, in.inode.size);
	if (rc)
		return rc < 0 ? -1 : 0;
	if (bak_writer_file(w->writer, name, &in, BAK_HINT_NONE, err) < 0)
		return -1;
	struct statx now = *st;
	rc = read_until_still(w, fd, &now, &in, err);
	if (rc == 0)
		return bak_error_set(err, BAK_IO, "%s: cannot be read", path);
	if (rc < 0)
		return -1;
	in.nlink = 1;
	count_file(w, in.inode.size);
	return bak_writer_file_end(w->writer, &in, err);
}

static void find_repository(struct walk *w)
{
	struct stat st;

	if (!w->env->repo_path || w->env->repo_path[0] != '/' || stat(w->env->repo_path, &st) < 0)
		return;
	w->has_repo = true;
	w->repo_dev = st.st_dev;
	w->repo_ino = st.st_ino;
}

static void release(struct walk *w)
{
	for (size_t i = 0; i < w->cap; i++) {
		bak_buf_release(&w->levels[i].text);
		bak_buf_release(&w->levels[i].names);
	}
	free(w->levels);
	free(w->buffer);
	bak_dirs_release(&w->dirs);
	bak_buf_release(&w->path);
	bak_files_xattrs_release(&w->xattrs);
}

const char *bak_files_base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

int bak_files_walk(struct bak_files *files, const char *path, const char *name,
		   struct bak_writer *writer, struct bak_files_counts *out, bool *out_single,
		   struct bak_error *err)
{
	BAK_AUTO(bak_close_fd)
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct walk w = {.files = files, .env = files->env, .writer = writer, .counts = out};
	struct statx st;
	int rc;

	*out = (struct bak_files_counts){.files = 0};
	if (fd < 0 || stat_fd(fd, &st) < 0)
		return bak_error_sys(err, errno, "%s", path);
	*out_single = S_ISREG(st.stx_mode);
	if (!*out_single && !S_ISDIR(st.stx_mode))
		return bak_error_set(err, BAK_REFUSED, "%s is neither a folder nor a regular file",
				     path);
	find_repository(&w);
	w.buffer = malloc(BAK_FILES_READ_LEN);
	if (!w.buffer || bak_buf_append(&w.path, "", 1) < 0) {
		rc = bak_error_nomem(err);
	} else {
		w.path.len = 0;
		rc = *out_single ? walk_single(&w, fd, path, name, &st, err)
				 : walk_folder(&w, fd, &st, err);
	}
	release(&w);
	return rc;
}

int bak_files_counts_json(const struct bak_files_counts *counts, json_t *out, struct bak_error *err)
{
	if (json_object_set_new(out, "files", json_integer((json_int_t)counts->files)) < 0 ||
	    json_object_set_new(out, "folders", json_integer((json_int_t)counts->folders)) < 0 ||
	    json_object_set_new(out, "bytes", json_integer((json_int_t)counts->bytes)) < 0)
		return bak_error_nomem(err);
	return 0;
}
