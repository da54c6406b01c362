/* Out of a snapshot into a directory: see extract.h. */
#include "engine/ops/extract.h"

#include "engine/base/dirs.h"
#include "engine/ops/extract_inode.h"
#include "engine/ops/extract_links.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

/* A folder that is being filled. inode is borrowed from the cursor of the one above it, which
 * stands still meanwhile. */
struct frame {
	struct bak_cursor *cursor;
	const struct bak_inode *inode;
	size_t path_len; /* of x->path up to and with this folder */
	bool inside;     /* all of it is wanted */
};

struct extraction {
	struct bak_repo *repo;
	struct bak_tree tree;
	const struct bak_extract_conf *conf;
	struct bak_extract_result *result;
	char **only; /* tidy: no "./", no slashes around */
	int root_fd;
	struct bak_dirs dirs;
	struct frame *frames;
	size_t n_frames, cap_frames;
	struct bak_buf path; /* of the entry at hand, terminated */
	struct bak_extract_links links;
	uint64_t link; /* number of the entry at hand */
	struct bak_attributes attributes;
	struct bak_sha256 sha;
	struct bak_pour pour;
	const struct bak_inode *inode; /* of the file at hand */
};

static void tell(struct extraction *x, uint64_t bytes, const char *why)
{
	if (x->conf->progress)
		x->conf->progress(x->conf->progress_ctx, (const char *)x->path.p, bytes, why);
}

static int wrap_path(struct extraction *x, struct bak_error *err)
{
	char quoted[300];

	return bak_error_wrap(err, "%s",
			      bak_error_quote((const char *)x->path.p, quoted, sizeof quoted));
}

/* --- which entries --- */

enum want { WANT_NOT, WANT_WAY, WANT_ALL };

/* Whether path is one of those asked for or below one (all), or leads to one (way). */
static enum want wanted(const struct extraction *x, const char *path)
{
	enum want want = WANT_NOT;
	size_t len = strlen(path);

	if (x->conf->n_only == 0)
		return WANT_ALL;
	for (size_t i = 0; i < x->conf->n_only; i++) {
		const char *only = x->only[i];
		size_t only_len = strlen(only);

		if (only_len == 0 || (only_len <= len && memcmp(path, only, only_len) == 0 &&
				      (path[only_len] == '/' || !path[only_len])))
			return WANT_ALL;
		if (len == 0 ||
		    (len < only_len && memcmp(path, only, len) == 0 && only[len] == '/'))
			want = WANT_WAY;
	}
	return want;
}

/* "./a//b/" is "a/b"; the caller's to free. */
static char *tidy_path(const char *path)
{
	char *out = malloc(strlen(path) + 1);
	size_t n = 0;

	while (out && *path) {
		size_t len = strcspn(path, "/");

		if (len && !(len == 1 && path[0] == '.')) {
			if (n)
				out[n++] = '/';
			memcpy(out + n, path, len);
			n += len;
		}
		path += len + (path[len] == '/');
	}
	if (out)
		out[n] = '\0';
	return out;
}

static int check_only(struct extraction *x, struct bak_error *err)
{
	x->only = calloc(x->conf->n_only + 1, sizeof *x->only);
	if (!x->only)
		return bak_error_nomem(err);
	for (size_t i = 0; i < x->conf->n_only; i++) {
		BAK_AUTO(bak_found_release) struct bak_found found = BAK_FOUND_INIT;
		char quoted[300];

		x->only[i] = tidy_path(x->conf->only[i]);
		if (!x->only[i])
			return bak_error_nomem(err);
		int rc = bak_tree_path(&x->tree, x->only[i], &found, err);
		if (rc < 0)
			return -1;
		if (rc == 0)
			return bak_error_set(err, BAK_NOT_FOUND, "%s is not in the snapshot",
					     bak_error_quote(x->only[i], quoted, sizeof quoted));
	}
	return 0;
}

/* --- names in the file system --- */

#define TEMP_NAME_LEN 32

static int temp_name(char out[TEMP_NAME_LEN], struct bak_error *err)
{
	uint8_t random[8];
	char hex[17];

	if (bak_random(random, sizeof random, err) < 0)
		return -1;
	bak_hex(hex, random, sizeof random);
	snprintf(out, TEMP_NAME_LEN, ".bakfs-%s", hex);
	return 0;
}

/* Makes something under name by make(); what is there is replaced as a whole under overwrite. */
typedef int make_fn(struct extraction *x, int dir_fd, const char *name, struct bak_error *err);

static int create(struct extraction *x, const char *name, make_fn *make, struct bak_error *err)
{
	int dir_fd = bak_dirs_fd(&x->dirs);
	char temp[TEMP_NAME_LEN];
	struct stat st;

	if (make(x, dir_fd, name, err) == 0)
		return 0;
	if (err->code != BAK_EXISTS || !x->conf->overwrite)
		return -1;
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
		return bak_error_set(err, BAK_EXISTS, "a folder is in the way");
	if (temp_name(temp, err) < 0 || make(x, dir_fd, temp, err) < 0)
		return -1;
	if (renameat(dir_fd, temp, dir_fd, name) == 0)
		return 0;
	bak_error_sys(err, errno, "replacing");
	unlinkat(dir_fd, temp, 0);
	return -1;
}

/* --- files --- */

static int fill_file(struct extraction *x, int fd, struct bak_error *err)
{
	bool sums = x->conf->verify && x->inode->size && !(x->inode->flags & BAK_INODE_NOSUM);
	uint8_t sum[BAK_SHA256_LEN];

	if (sums)
		bak_sha256_begin(&x->sha);
	x->pour.sha = sums ? &x->sha : NULL;
	x->pour.fd = fd;
	if (bak_pour_file(&x->pour, x->inode, err) < 0)
		return -1;
	if (sums) {
		bak_sha256_final(&x->sha, sum);
		if (memcmp(sum, x->inode->sha256, sizeof sum) != 0)
			return bak_error_set(err, BAK_CORRUPT, "its SHA-256 is another");
	}
	return bak_attributes_set_fd(&x->attributes, fd, x->inode, err);
}

static int make_file(struct extraction *x, int dir_fd, const char *name, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd)
	int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct bak_error scratch = BAK_ERROR_INIT;

	if (fd < 0)
		return bak_error_sys(err, errno, "create");
	if (fill_file(x, fd, err) == 0) {
		/* Some file systems tell of a full disk only now. */
		int rc = close(fd);

		fd = -1;
		if (rc == 0)
			return 0;
		bak_error_sys(err, errno, "close");
	}
	if (unlinkat(dir_fd, name, 0) < 0)
		bak_error_sys(&scratch, errno, "unlink");
	return -1;
}

/* Damage costs the file, not the rest; or what is left of a folder. */
static int pass_damage(struct extraction *x, struct bak_error *err)
{
	if (err->code != BAK_CORRUPT)
		return -1;
	x->result->damaged++;
	tell(x, 0, err->msg);
	*err = (struct bak_error)BAK_ERROR_INIT;
	return 0;
}

static int extract_regular(struct extraction *x, const char *name, struct bak_error *err)
{
	if (create(x, name, make_file, err) < 0) {
		/* Else who reads ahead would wait for these bytes. */
		bak_ahead_took(x->pour.ahead, x->inode->size);
		return pass_damage(x, err) < 0 ? -1 : 1;
	}
	x->result->files++;
	x->result->bytes += x->inode->size;
	tell(x, x->inode->size, NULL);
	return 0;
}

/* --- what is neither file nor folder --- */

static int make_symlink(struct extraction *x, int dir_fd, const char *name, struct bak_error *err)
{
	char target[PATH_MAX];

	if (x->inode->target_len == 0 || x->inode->target_len >= sizeof target ||
	    memchr(x->inode->target, 0, x->inode->target_len))
		return bak_error_set(err, BAK_CORRUPT, "not a symlink's target");
	memcpy(target, x->inode->target, x->inode->target_len);
	target[x->inode->target_len] = '\0';
	if (symlinkat(target, dir_fd, name) < 0)
		return bak_error_sys(err, errno, "symlink");
	return bak_attributes_set_at(&x->attributes, dir_fd, name, x->inode, err);
}

static int make_node(struct extraction *x, int dir_fd, const char *name, struct bak_error *err)
{
	mode_t type = x->inode->type == BAK_TYPE_FIFO   ? S_IFIFO
		      : x->inode->type == BAK_TYPE_CHAR ? S_IFCHR
							: S_IFBLK;

	if (mknodat(dir_fd, name, type | 0600, makedev(x->inode->major, x->inode->minor)) < 0)
		return bak_error_sys(err, errno, "mknod");
	return bak_attributes_set_at(&x->attributes, dir_fd, name, x->inode, err);
}

static int extract_other(struct extraction *x, const char *name, struct bak_error *err)
{
	if (create(x, name, x->inode->type == BAK_TYPE_SYMLINK ? make_symlink : make_node, err) ==
	    0)
		return 0;
	if (err->sys == EPERM && x->inode->type != BAK_TYPE_SYMLINK) {
		x->attributes.lost++;
		tell(x, 0, "left out: only root makes devices");
		*err = (struct bak_error)BAK_ERROR_INIT;
		return 1;
	}
	return pass_damage(x, err) < 0 ? -1 : 1;
}

/* --- hard links --- */

static int make_link(struct extraction *x, int dir_fd, const char *name, struct bak_error *err)
{
	const char *first = bak_extract_links_get(&x->links, x->link), *last;
	BAK_AUTO(bak_close_fd) int fd = bak_open_parent(x->root_fd, first, O_PATH, &last);

	if (fd < 0)
		return bak_error_sys(err, errno, "the folder of its first name");
	if (linkat(fd, last, dir_fd, name, 0) < 0)
		return bak_error_sys(err, errno, "link");
	return 0;
}

/* 1: it has a name here already, and now this one too. */
static int link_again(struct extraction *x, const struct bak_entry *entry, const char *name,
		      struct bak_error *err)
{
	if (!entry->linked || !bak_extract_links_get(&x->links, entry->link))
		return 0;
	x->link = entry->link;
	if (create(x, name, make_link, err) < 0)
		return -1;
	if (entry->inode.type == BAK_TYPE_FILE) {
		x->result->files++;
		tell(x, 0, NULL);
	}
	return 1;
}

/* --- folders --- */

static int push_frame(struct extraction *x, const struct bak_inode *inode, bool inside,
		      struct bak_error *err)
{
	if (x->n_frames == x->cap_frames) {
		size_t cap = x->cap_frames ? 2 * x->cap_frames : 32;
		struct frame *frames = realloc(x->frames, cap * sizeof *frames);

		if (!frames)
			return bak_error_nomem(err);
		x->frames = frames;
		x->cap_frames = cap;
	}
	struct frame *frame = &x->frames[x->n_frames];
	*frame = (struct frame){.inode = inode, .path_len = x->path.len, .inside = inside};
	if (inode->totals.entries > 0 &&
	    bak_cursor_open(&x->tree, &inode->dir, 1, &frame->cursor, err) < 0) {
		if (pass_damage(x, err) < 0)
			return -1;
		frame->cursor = NULL;
	}
	x->n_frames++;
	return 0;
}

static int enter_folder(struct extraction *x, const char *name, const struct bak_inode *inode,
			bool inside, struct bak_error *err)
{
	if (mkdirat(bak_dirs_fd(&x->dirs), name, 0700) < 0 &&
	    (errno != EEXIST || !x->conf->overwrite))
		return bak_error_sys(err, errno, "mkdir");
	if (bak_dirs_push(&x->dirs, name, 0) < 0)
		return bak_error_sys(err, errno, "open");
	return push_frame(x, inode, inside, err);
}

static int leave_folder(struct extraction *x, struct bak_error *err)
{
	struct frame *frame = &x->frames[x->n_frames - 1];

	if (bak_attributes_set_fd(&x->attributes, bak_dirs_fd(&x->dirs), frame->inode, err) < 0)
		return -1;
	bak_cursor_close(frame->cursor);
	x->n_frames--;
	return x->n_frames ? bak_dirs_pop(&x->dirs, err) : 0;
}

/* --- the walk --- */

static int set_path(struct extraction *x, const struct bak_entry *entry, struct bak_error *err)
{
	x->path.len = x->frames[x->n_frames - 1].path_len;
	if ((x->path.len && bak_buf_append(&x->path, "/", 1) < 0) ||
	    bak_buf_append(&x->path, entry->name, entry->name_len) < 0 ||
	    bak_buf_append(&x->path, "", 1) < 0)
		return bak_error_nomem(err);
	x->path.len--;
	return 0;
}

static int extract_leaf(struct extraction *x, const struct bak_entry *entry, const char *name,
			struct bak_error *err)
{
	int rc = link_again(x, entry, name, err);

	if (rc)
		return rc < 0 ? -1 : 0;
	x->inode = &entry->inode;
	rc = entry->inode.type == BAK_TYPE_FILE ? extract_regular(x, name, err)
						: extract_other(x, name, err);
	if (rc == 0 && entry->linked)
		rc = bak_extract_links_put(&x->links, entry->link, (const char *)x->path.p, err);
	return rc < 0 ? -1 : 0;
}

static int extract_entry(struct extraction *x, const struct bak_entry *entry, struct bak_error *err)
{
	bool inside = x->frames[x->n_frames - 1].inside;
	char name[NAME_MAX + 1];

	if (set_path(x, entry, err) < 0)
		return -1;
	enum want want = inside ? WANT_ALL : wanted(x, (const char *)x->path.p);
	if (want == WANT_NOT)
		return 0;
	if (entry->name_len > NAME_MAX) {
		bak_error_set(err, BAK_CORRUPT, "a name of %zu bytes", entry->name_len);
		return pass_damage(x, err);
	}
	memcpy(name, entry->name, entry->name_len);
	name[entry->name_len] = '\0';

	int rc = entry->inode.type == BAK_TYPE_DIR
			 ? enter_folder(x, name, &entry->inode, want == WANT_ALL, err)
			 : extract_leaf(x, entry, name, err);
	return rc < 0 ? wrap_path(x, err) : 0;
}

static int walk(struct extraction *x, struct bak_error *err)
{
	while (x->n_frames > 0) {
		struct frame *frame = &x->frames[x->n_frames - 1];
		const struct bak_found *found;
		int rc = frame->cursor ? bak_cursor_next(frame->cursor, &found, err) : 0;

		x->path.len = frame->path_len;
		if (x->path.p)
			x->path.p[x->path.len] = '\0';
		if (rc < 0)
			rc = pass_damage(x, err); /* the rest of the folder */
		if (rc < 0 || (rc == 0 && leave_folder(x, err) < 0))
			return wrap_path(x, err);
		if (rc > 0 && extract_entry(x, &found->entry, err) < 0)
			return -1;
	}
	return 0;
}

static int start(struct extraction *x, int dir_fd, struct bak_error *err)
{
	int fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return bak_error_sys(err, errno, "dup");
	if (bak_dirs_start(&x->dirs, fd, err) < 0)
		return -1;
	/* What is made below would inherit it; the snapshot's own is set when the folder is left.
	 */
	if (fremovexattr(fd, "system.posix_acl_default") < 0 && errno != ENODATA &&
	    errno != ENOTSUP && errno != EPERM)
		return bak_error_sys(err, errno, "removing the default ACL");
	x->root_fd = dir_fd;
	if (check_only(x, err) < 0)
		return -1;
	return push_frame(x, &x->tree.snapshot->root, wanted(x, "") == WANT_ALL, err);
}

static void finish(struct extraction *x)
{
	for (size_t i = 0; i < x->n_frames; i++)
		bak_cursor_close(x->frames[i].cursor);
	free(x->frames);
	for (size_t i = 0; x->only && i < x->conf->n_only; i++)
		free(x->only[i]);
	free(x->only);
	bak_dirs_release(&x->dirs);
	bak_buf_release(&x->path);
	bak_extract_links_release(&x->links);
	bak_sha256_release(&x->sha);
}

int bak_extract(struct bak_repo *repo, const struct bak_snapshot *snapshot, int dir_fd,
		const struct bak_extract_conf *conf, struct bak_extract_result *out,
		struct bak_error *err)
{
	struct extraction x = {
		.repo = repo,
		.tree = {.source = bak_repo_source(repo), .snapshot = snapshot},
		.conf = conf,
		.result = out,
		.attributes = {.owners = conf->owners},
		.pour = {.source = bak_repo_source(repo),
			 .sparse = true,
			 .tick = conf->tick,
			 .tick_ctx = conf->progress_ctx},
	};
	int rc;

	*out = (struct bak_extract_result){0};
	if (bak_buf_append(&x.path, "", 1) < 0)
		return bak_error_nomem(err);
	x.path.len = 0;
	rc = bak_sha256_init(&x.sha, err);
	if (conf->n_only == 0)
		x.pour.ahead = bak_ahead_start(&x.tree);
	if (rc == 0)
		rc = start(&x, dir_fd, err);
	if (rc == 0)
		rc = walk(&x, err);
	if (rc == 0 && conf->sync && syncfs(dir_fd) < 0)
		rc = bak_error_sys(err, errno, "sync");
	bak_ahead_stop(x.pour.ahead);
	out->attributes_lost = x.attributes.lost;
	finish(&x);
	return rc;
}

int bak_extract_file(struct bak_repo *repo, const struct bak_inode *inode, int fd,
		     struct bak_error *err)
{
	struct bak_pour pour = {.source = bak_repo_source(repo), .fd = fd};
	int flags = fcntl(fd, F_GETFL);
	struct stat st;

	/* Only from the end of a regular file on can bytes be stepped over: behind whatever a shell
	 * has written there, and not in append mode, where offsets are ignored. */
	if (flags >= 0 && !(flags & O_APPEND) && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		off_t at = lseek(fd, 0, SEEK_CUR);

		pour.sparse = at >= 0 && at == st.st_size;
		pour.base = (uint64_t)at;
	}
	if (bak_pour_file(&pour, inode, err) < 0)
		return -1;
	if (pour.sparse && lseek(fd, 0, SEEK_END) < 0)
		return bak_error_sys(err, errno, "seek");
	return 0;
}
