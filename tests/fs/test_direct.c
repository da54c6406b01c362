/*
 * Random operations on an upload, asked as the kernel asks them, held against a model: a plain tree
 * in memory with the rules of POSIX, and those of /restore where they differ. Every answer's errno,
 * every byte, listing, size and link count must be the model's.
 *
 * test_direct [OPERATIONS [SEED]]
 */
#include "tests/fs/kernel.h"

#include "fs/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define NODES 64
#define HANDLES 12
#define FILE_MAX (900u << 10)
#define BIG 600000u /* bytes of the snapshot's file */

enum kind { FREE, FILE_NODE, FOLDER, LINK };

struct node {
	enum kind kind;
	uint64_t ino;
	int links, opens; /* links of a folder: 1 while it has its name */
	uint8_t *data;
	size_t size;
	char text[40];  /* a symlink's target */
	char xattr[24]; /* of user.x, "" for none */
	mode_t mode;
};

struct entry {
	int parent, node; /* places in nodes */
	char name[8];
};

struct handle {
	int node;
	uint64_t fh;
};

struct model {
	struct kernel k;
	uint64_t random;
	struct node nodes[NODES]; /* 0: the store's folder; 1: the upload's own */
	struct entry entries[NODES * 2];
	size_t n_entries;
	struct handle handles[HANDLES];
	size_t n_handles;
	uint8_t *big;
	uint64_t big_ino;
	unsigned long done[24], failed[24];
};

static uint64_t draw(struct model *m, uint64_t below)
{
	m->random = m->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (m->random >> 33) % below;
}

static const struct piece nothing = {NULL, 0};

/* --- the model --- */

static int find(const struct model *m, int parent, const char *name)
{
	for (size_t i = 0; i < m->n_entries; i++)
		if (m->entries[i].parent == parent && strcmp(m->entries[i].name, name) == 0)
			return (int)i;
	return -1;
}

static int children(const struct model *m, int folder)
{
	int n = 0;
	for (size_t i = 0; i < m->n_entries; i++)
		n += m->entries[i].parent == folder;
	return n;
}

static int free_node(const struct model *m)
{
	for (int i = 2; i < NODES; i++)
		if (m->nodes[i].kind == FREE)
			return i;
	return -1;
}

static void maybe_gone(struct model *m, int i)
{
	struct node *node = &m->nodes[i];
	if (node->links || node->opens)
		return;
	free(node->data);
	*node = (struct node){.kind = FREE};
}

static void add_entry(struct model *m, int parent, const char *name, int node)
{
	struct entry *entry = &m->entries[m->n_entries++];
	*entry = (struct entry){.parent = parent, .node = node};
	snprintf(entry->name, sizeof entry->name, "%s", name);
	m->nodes[node].links++;
}

static void remove_entry(struct model *m, int at)
{
	int node = m->entries[at].node;
	m->entries[at] = m->entries[--m->n_entries];
	m->nodes[node].links--;
	maybe_gone(m, node);
}

static bool is_below(const struct model *m, int node, int folder)
{
	while (node > 1 && node != folder)
		for (size_t i = 0; i < m->n_entries; i++)
			if (m->entries[i].node == node) {
				node = m->entries[i].parent;
				break;
			}
	return node == folder;
}

/* Which upload: those in the store's folder are one each. */
static int item_of(const struct model *m, int node)
{
	for (size_t i = 0; i < m->n_entries; i++)
		if (m->entries[i].node == node)
			return m->entries[i].parent == 0 ? node : 1;
	return 1;
}

static int any(struct model *m, enum kind kind)
{
	int from = (int)draw(m, NODES);
	for (int i = 0; i < NODES; i++) {
		int at = (from + i) % NODES;
		if (m->nodes[at].kind == kind && m->nodes[at].links)
			return at;
	}
	return -1;
}

/* The store's folder seldom, else one of the upload. */
static int any_folder(struct model *m)
{
	int at = any(m, FOLDER);
	return at == 0 && draw(m, 4) ? 1 : at;
}

static const char *any_name(struct model *m, int folder)
{
	static const char *const names[] = {"a", "b", "c", "d", "e", ".f", "g~"};
	static const char *const tops[] = {"x", "y", "z.part", ".w"};
	return folder ? names[draw(m, 7)] : tops[draw(m, 4)];
}

/* --- what is asked --- */

static void expect_errno(struct model *m, unsigned what, int want, int got)
{
	if (want != got)
		fail_msg("operation %u: errno %d instead of %d (request %llu)", what, got, want,
			 (unsigned long long)m->k.n_requests);
	m->done[what]++;
	m->failed[what] += got != 0;
}

static struct node *new_node(struct model *m, enum kind kind, uint64_t ino, int *out)
{
	*out = free_node(m);
	struct node *node = &m->nodes[*out];
	*node = (struct node){.kind = kind, .ino = ino, .mode = 0600};
	if (kind == FILE_NODE)
		node->data = calloc(1, FILE_MAX);
	return node;
}

static void create(struct model *m)
{
	int folder = any_folder(m), at;
	const char *name = any_name(m, folder);
	if (free_node(m) < 0 || m->n_handles == HANDLES)
		return;
	struct fuse_create_in in = {.flags = O_RDWR | O_CREAT, .mode = S_IFREG | 0600};
	uint64_t ino = 0;
	int want = find(m, folder, name) >= 0 ? EEXIST : 0;
	int got = kernel_name(&m->k, FUSE_CREATE, m->nodes[folder].ino, &in, sizeof in, name, &ino);
	expect_errno(m, 0, want, got);
	if (got)
		return;
	struct fuse_open_out open;
	memcpy(&open, m->k.answer.p + sizeof(struct fuse_entry_out), sizeof open);
	new_node(m, FILE_NODE, ino, &at);
	add_entry(m, folder, name, at);
	m->nodes[at].opens++;
	m->handles[m->n_handles++] = (struct handle){at, open.fh};
}

static void make_folder(struct model *m)
{
	int folder = any_folder(m), at;
	const char *name = any_name(m, folder);
	if (free_node(m) < 0 || !folder) /* one tree is enough */
		return;
	struct fuse_mkdir_in in = {.mode = 0700};
	uint64_t ino = 0;
	int want = find(m, folder, name) >= 0 ? EEXIST : 0;
	int got = kernel_name(&m->k, FUSE_MKDIR, m->nodes[folder].ino, &in, sizeof in, name, &ino);
	expect_errno(m, 1, want, got);
	if (!got) {
		new_node(m, FOLDER, ino, &at);
		add_entry(m, folder, name, at);
	}
}

static void make_symlink(struct model *m)
{
	int folder = any_folder(m), at;
	const char *name = any_name(m, folder);
	char text[40];
	if (free_node(m) < 0)
		return;
	snprintf(text, sizeof text, "../to/%llu", (unsigned long long)draw(m, 1000));
	int want = find(m, folder, name) >= 0 ? EEXIST : folder ? 0 : EPERM;
	uint64_t ino = 0;
	int got = kernel_ask(&m->k, FUSE_SYMLINK, m->nodes[folder].ino,
			     (struct piece){name, strlen(name) + 1},
			     (struct piece){text, strlen(text) + 1}, nothing);
	expect_errno(m, 2, want, got);
	if (got)
		return;
	memcpy(&ino, m->k.answer.p, sizeof ino); /* nodeid is the first of an entry */
	struct node *node = new_node(m, LINK, ino, &at);
	snprintf(node->text, sizeof node->text, "%s", text);
	add_entry(m, folder, name, at);
}

static void make_link(struct model *m)
{
	int folder = any_folder(m), file = any(m, FILE_NODE);
	const char *name = any_name(m, folder);
	if (file < 0 || m->n_entries >= NODES)
		return;
	struct fuse_link_in in = {.oldnodeid = m->nodes[file].ino};
	int want = find(m, folder, name) >= 0 ? EEXIST
		   : !folder                  ? EPERM
		   : item_of(m, file) != 1    ? EXDEV
					      : 0;
	uint64_t ino;
	int got = kernel_name(&m->k, FUSE_LINK, m->nodes[folder].ino, &in, sizeof in, name, &ino);
	expect_errno(m, 3, want, got);
	if (!got) {
		assert_int_equal(ino, m->nodes[file].ino);
		add_entry(m, folder, name, file);
	}
}

static void remove_name(struct model *m, bool folder)
{
	int dir = any_folder(m);
	const char *name = any_name(m, dir);
	int at = find(m, dir, name), want = 0;
	const struct node *node = at < 0 ? NULL : &m->nodes[m->entries[at].node];
	if (!node)
		want = ENOENT;
	else if (folder != (node->kind == FOLDER))
		want = folder ? ENOTDIR : EISDIR;
	else if (folder && children(m, m->entries[at].node))
		want = ENOTEMPTY;
	int got = kernel_name(&m->k, folder ? FUSE_RMDIR : FUSE_UNLINK, m->nodes[dir].ino, NULL, 0,
			      name, NULL);
	expect_errno(m, folder ? 5 : 4, want, got);
	if (!got)
		remove_entry(m, at);
}

static int rename_want(struct model *m, int from, int to, const struct node *over, bool noreplace,
		       int node, int over_at)
{
	const struct node *what = &m->nodes[node];
	if (over && noreplace)
		return EEXIST;
	if (over && over->kind == FOLDER && what->kind != FOLDER)
		return EISDIR;
	if (over && over->kind != FOLDER && what->kind == FOLDER)
		return ENOTDIR;
	if (over && over->kind == FOLDER && children(m, over_at))
		return ENOTEMPTY;
	if (over == what)
		return 0;
	return (from == 0) == (to == 0) ? 0 : EXDEV;
}

static void rename_name(struct model *m)
{
	int from = any_folder(m), to = any_folder(m);
	const char *name = any_name(m, from), *new_name = any_name(m, to);
	int at = find(m, from, name), over_at = find(m, to, new_name);
	if (at < 0)
		return;
	int node = m->entries[at].node;
	int over = over_at < 0 ? -1 : m->entries[over_at].node;
	/* The kernel lets none of these through. */
	if (node <= 1 || (m->nodes[node].kind == FOLDER && is_below(m, to, node)) ||
	    (over >= 0 && (over == 1 || is_below(m, from, over))))
		return;
	bool noreplace = draw(m, 5) == 0;
	struct fuse_rename2_in in = {.newdir = m->nodes[to].ino,
				     .flags = noreplace ? RENAME_NOREPLACE : 0};
	int want = rename_want(m, from, to, over < 0 ? NULL : &m->nodes[over], noreplace, node,
			       over);
	int got = kernel_ask(&m->k, FUSE_RENAME2, m->nodes[from].ino,
			     (struct piece){&in, sizeof in}, (struct piece){name, strlen(name) + 1},
			     (struct piece){new_name, strlen(new_name) + 1});
	expect_errno(m, 6, want, got);
	if (got || over == node)
		return;
	if (over >= 0)
		remove_entry(m, over_at);
	at = find(m, from, name);
	m->nodes[node].links++;
	remove_entry(m, at);
	m->nodes[node].links--;
	add_entry(m, to, new_name, node);
}

static struct handle *any_handle(struct model *m)
{
	return m->n_handles ? &m->handles[draw(m, m->n_handles)] : NULL;
}

static void grow(struct node *node, size_t end)
{
	if (end > node->size)
		node->size = end;
}

static void write_some(struct model *m)
{
	struct handle *h = any_handle(m);
	if (!h)
		return;
	size_t off = draw(m, FILE_MAX - 70000), len = draw(m, draw(m, 4) ? 3000 : 70000) + 1;
	uint8_t *p = malloc(len);
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(off + i * 31 + m->random);
	struct fuse_write_in in = {.fh = h->fh, .offset = off, .size = (uint32_t)len};
	struct node *node = &m->nodes[h->node];
	int got = kernel_ask(&m->k, FUSE_WRITE, node->ino, (struct piece){&in, sizeof in},
			     (struct piece){p, len}, nothing);
	expect_errno(m, 7, 0, got);
	memcpy(node->data + off, p, len);
	grow(node, off + len);
	free(p);
}

static void copy_some(struct model *m)
{
	struct handle *h = any_handle(m);
	if (!h)
		return;
	size_t off = draw(m, 100000), from = draw(m, BIG + 10), len = draw(m, 300000);
	size_t have = from < BIG ? BIG - from : 0, n = len < have ? len : have;
	struct node *node = &m->nodes[h->node];
	struct fuse_copy_file_range_in in = {.off_in = from,
					     .nodeid_out = node->ino,
					     .fh_out = h->fh,
					     .off_out = off,
					     .len = len};
	struct fuse_write_out out;
	int got = kernel_ask(&m->k, FUSE_COPY_FILE_RANGE, m->big_ino,
			     (struct piece){&in, sizeof in}, nothing, nothing);
	expect_errno(m, 8, 0, got);
	memcpy(&out, m->k.answer.p, sizeof out);
	assert_int_equal(out.size, n);
	memcpy(node->data + off, m->big + from, n);
	grow(node, n ? off + n : 0);
}

static void read_some(struct model *m, const struct handle *h, size_t off, size_t len)
{
	struct fuse_read_in in = {.fh = h->fh, .offset = off, .size = (uint32_t)len};
	const struct node *node = &m->nodes[h->node];
	int got = kernel_ask(&m->k, FUSE_READ, node->ino, (struct piece){&in, sizeof in}, nothing,
			     nothing);
	expect_errno(m, 9, 0, got);
	size_t have = off < node->size ? node->size - off : 0, n = len < have ? len : have;
	assert_int_equal(m->k.answer.len, n);
	if (n)
		assert_memory_equal(m->k.answer.p, node->data + off, n);
}

static void cut(struct model *m)
{
	struct handle *h = any_handle(m);
	if (!h)
		return;
	struct node *node = &m->nodes[h->node];
	size_t size = draw(m, draw(m, 3) ? FILE_MAX / 2 : 2);
	struct fuse_setattr_in in = {.valid = FATTR_SIZE | FATTR_FH, .fh = h->fh, .size = size};
	int got = kernel_ask(&m->k, FUSE_SETATTR, node->ino, (struct piece){&in, sizeof in},
			     nothing, nothing);
	expect_errno(m, 10, 0, got);
	if (size < node->size)
		memset(node->data + size, 0, node->size - size);
	node->size = size;
}

static void change_mode(struct model *m)
{
	int at = any(m, draw(m, 2) ? FILE_NODE : FOLDER);
	if (at <= 0)
		return;
	struct node *node = &m->nodes[at];
	struct fuse_setattr_in in = {.valid = FATTR_MODE, .mode = (uint32_t)draw(m, 0777)};
	expect_errno(m, 11, 0,
		     kernel_ask(&m->k, FUSE_SETATTR, node->ino, (struct piece){&in, sizeof in},
				nothing, nothing));
	node->mode = in.mode;
}

static void open_one(struct model *m)
{
	int at = any(m, FILE_NODE);
	if (at < 0 || m->n_handles == HANDLES)
		return;
	struct fuse_open_in in = {.flags = O_RDWR};
	struct fuse_open_out out;
	expect_errno(m, 12, 0,
		     kernel_ask(&m->k, FUSE_OPEN, m->nodes[at].ino, (struct piece){&in, sizeof in},
				nothing, nothing));
	memcpy(&out, m->k.answer.p, sizeof out);
	m->nodes[at].opens++;
	m->handles[m->n_handles++] = (struct handle){at, out.fh};
}

static void close_one(struct model *m)
{
	struct handle *h = any_handle(m);
	if (!h)
		return;
	int at = h->node;
	struct fuse_flush_in flush = {.fh = h->fh};
	struct fuse_release_in in = {.fh = h->fh};
	expect_errno(m, 13, 0,
		     kernel_ask(&m->k, FUSE_FLUSH, m->nodes[at].ino,
				(struct piece){&flush, sizeof flush}, nothing, nothing));
	expect_errno(m, 14, 0,
		     kernel_ask(&m->k, FUSE_RELEASE, m->nodes[at].ino,
				(struct piece){&in, sizeof in}, nothing, nothing));
	*h = m->handles[--m->n_handles];
	m->nodes[at].opens--;
	maybe_gone(m, at);
}

static void look(struct model *m)
{
	int folder = any_folder(m);
	const char *name = any_name(m, folder);
	int at = find(m, folder, name);
	uint64_t ino = 0;
	expect_errno(m, 15, at < 0 ? ENOENT : 0,
		     kernel_lookup(&m->k, m->nodes[folder].ino, name, &ino));
	if (at >= 0)
		assert_int_equal(ino, m->nodes[m->entries[at].node].ino);
}

static void check_attr(struct model *m, int at)
{
	const struct node *node = &m->nodes[at];
	struct fuse_getattr_in in = {.getattr_flags = 0};
	struct fuse_attr_out out;
	expect_errno(m, 16, 0,
		     kernel_ask(&m->k, FUSE_GETATTR, node->ino, (struct piece){&in, sizeof in},
				nothing, nothing));
	memcpy(&out, m->k.answer.p, sizeof out);
	int folders = 0;
	for (size_t i = 0; i < m->n_entries; i++)
		folders += m->entries[i].parent == at &&
			   m->nodes[m->entries[i].node].kind == FOLDER;
	if (node->kind == FOLDER)
		assert_int_equal(out.attr.nlink, 2 + folders);
	else
		assert_int_equal(out.attr.nlink, node->links);
	if (node->kind == FILE_NODE)
		assert_int_equal(out.attr.size, node->size);
	if (node->kind == FILE_NODE || at > 1)
		assert_int_equal(out.attr.mode & S_IFMT, node->kind == FOLDER      ? S_IFDIR
							 : node->kind == FILE_NODE ? S_IFREG
										   : S_IFLNK);
	if (node->kind == FILE_NODE)
		assert_int_equal(out.attr.mode & 0777, node->mode);
}

/* All names, each once, in small pieces. */
static void check_listing(struct model *m, int folder)
{
	uint64_t off = 0;
	int seen = 0, others = 0;
	for (;;) {
		struct fuse_read_in in = {.offset = off, .size = (uint32_t)(300 + draw(m, 4000))};
		expect_errno(m, 17, 0,
			     kernel_ask(&m->k, FUSE_READDIR, m->nodes[folder].ino,
					(struct piece){&in, sizeof in}, nothing, nothing));
		if (!m->k.answer.len)
			break;
		for (size_t at = 0; at < m->k.answer.len;) {
			struct fuse_dirent head;
			char name[300];
			memcpy(&head, m->k.answer.p + at, sizeof head);
			snprintf(name, sizeof name, "%.*s", (int)head.namelen,
				 (const char *)m->k.answer.p + at + FUSE_NAME_OFFSET);
			int entry = find(m, folder, name);
			if (entry >= 0)
				assert_int_equal(head.ino, m->nodes[m->entries[entry].node].ino);
			seen += entry >= 0;
			others += entry < 0;
			off = head.off;
			at += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + head.namelen);
		}
	}
	assert_int_equal(seen, children(m, folder));
	assert_int_equal(others, folder ? 2 : 5); /* . .. and status, wait, log */
}

static void read_target(struct model *m)
{
	int at = any(m, LINK);
	if (at < 0)
		return;
	expect_errno(m, 18, 0,
		     kernel_ask(&m->k, FUSE_READLINK, m->nodes[at].ino, nothing, nothing, nothing));
	assert_int_equal(m->k.answer.len, strlen(m->nodes[at].text));
	assert_memory_equal(m->k.answer.p, m->nodes[at].text, m->k.answer.len);
}

static void set_xattr(struct model *m)
{
	int at = any(m, FILE_NODE);
	if (at < 0)
		return;
	struct node *node = &m->nodes[at];
	bool drop = draw(m, 3) == 0;
	char value[24];
	snprintf(value, sizeof value, "v%llu", (unsigned long long)draw(m, 100000));
	/* As the kernel sends it without FUSE_SETXATTR_EXT: size and flags. */
	uint32_t in[2] = {(uint32_t)strlen(value), 0};
	int got = drop ? kernel_name(&m->k, FUSE_REMOVEXATTR, node->ino, NULL, 0, "user.x", NULL)
		       : kernel_ask(&m->k, FUSE_SETXATTR, node->ino, (struct piece){in, sizeof in},
				    (struct piece){"user.x", 7},
				    (struct piece){value, strlen(value)});
	expect_errno(m, 19, drop && !node->xattr[0] ? ENODATA : 0, got);
	snprintf(node->xattr, sizeof node->xattr, "%s", drop ? "" : value);
	struct fuse_getxattr_in get = {.size = 100};
	got = kernel_ask(&m->k, FUSE_GETXATTR, node->ino, (struct piece){&get, sizeof get},
			 (struct piece){"user.x", 7}, nothing);
	expect_errno(m, 20, node->xattr[0] ? 0 : ENODATA, got);
	if (!got)
		assert_memory_equal(m->k.answer.p, node->xattr, strlen(node->xattr));
}

static void step(struct model *m)
{
	struct handle *h;
	switch (draw(m, 20)) {
	case 0:
	case 1:
		create(m);
		break;
	case 2:
		make_folder(m);
		break;
	case 3:
		make_symlink(m);
		break;
	case 4:
		make_link(m);
		break;
	case 5:
		remove_name(m, false);
		break;
	case 6:
		remove_name(m, true);
		break;
	case 7:
	case 8:
		rename_name(m);
		break;
	case 9:
	case 10:
		write_some(m);
		break;
	case 11:
		copy_some(m);
		break;
	case 12:
		h = any_handle(m);
		if (h)
			read_some(m, h, draw(m, FILE_MAX), draw(m, 200000));
		break;
	case 13:
		cut(m);
		break;
	case 14:
		change_mode(m);
		break;
	case 15:
		open_one(m);
		break;
	case 16:
	case 17:
		close_one(m);
		break;
	case 18:
		look(m);
		read_target(m);
		break;
	default:
		set_xattr(m);
		break;
	}
}

static void check_all(struct model *m)
{
	for (int i = 0; i < NODES; i++) {
		if (m->nodes[i].kind == FREE || !m->nodes[i].links)
			continue;
		check_attr(m, i);
		if (m->nodes[i].kind == FOLDER)
			check_listing(m, i);
	}
	for (size_t i = 0; i < m->n_handles; i++)
		read_some(m, &m->handles[i], 0, FILE_MAX);
}

static void prepare(struct model *m, uint64_t seed)
{
	struct fuse_mkdir_in in = {.mode = 0700};
	uint64_t ino;
	m->random = seed;
	kernel_start(&m->k, 0);
	m->big = malloc(BIG);
	bak_fill_text(m->big, BIG, 7);
	m->big_ino = kernel_path(&m->k, "latest/app/big");
	m->nodes[0] = (struct node){
		.kind = FOLDER, .links = 1, .ino = kernel_path(&m->k, "restore/app")};
	assert_int_equal(
		kernel_name(&m->k, FUSE_MKDIR, m->nodes[0].ino, &in, sizeof in, "tree", &ino), 0);
	m->nodes[1] = (struct node){.kind = FOLDER, .ino = ino};
	add_entry(m, 0, "tree", 1);
}

static unsigned long operations = 20000;
static uint64_t seed = 1;

static unsigned open_files(void)
{
	unsigned n = 0;
	DIR *dir = opendir("/proc/self/fd");
	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void test_model(void **state)
{
	struct model *m = calloc(1, sizeof *m);
	(void)state;
	prepare(m, seed);
	unsigned files = 0;
	size_t bytes = 0;
	for (unsigned long i = 0; i < operations; i++) {
		if (i == operations / 4) {
			files = open_files();
			bytes = mallinfo2().uordblks;
		}
		step(m);
		if (i % 500 == 0)
			check_all(m);
	}
	check_all(m);
	/* What is kept does not grow with the operations: it is bounded by the model's size. */
	assert_int_equal(open_files(), files);
	assert_true(mallinfo2().uordblks < bytes + NODES * (FILE_MAX + BAK_SPOOL_BLOCK));
	while (m->n_handles)
		close_one(m);
	unsigned long done = 0, failed = 0;
	for (size_t i = 0; i < 24; i++) {
		done += m->done[i];
		failed += m->failed[i];
	}
	print_message("%lu operations, %lu of them refused as they should be\n", done, failed);
	for (int i = 2; i < NODES; i++)
		free(m->nodes[i].data);
	free(m->big);
	kernel_stop(&m->k);
	free(m);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),
	};
	if (argc > 1)
		operations = strtoul(argv[1], NULL, 10);
	if (argc > 2)
		seed = strtoull(argv[2], NULL, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
