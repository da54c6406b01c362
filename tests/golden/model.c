/* A tree of files in memory: see model.h. */
#include "tests/golden/model.h"

#include "engine/base/bytes.h"
#include "engine/base/hash.h"
#include "engine/content/file_writer.h"

#include <stdio.h>
#include <stdlib.h>

void must(int rc, const struct bak_error *err)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "make_golden: %s\n", err->msg);
	exit(1);
}

static void *need(void *p)
{
	struct bak_error err = BAK_ERROR_INIT;
	must(p ? 0 : bak_error_nomem(&err), &err);
	return p;
}

/* --- building --- */

static struct node *add(struct node *folder, struct node *node)
{
	node->parent = folder;
	if (!folder)
		return node;
	folder->kids = need(realloc(folder->kids, (folder->n_kids + 1) * sizeof(struct node *)));
	folder->kids[folder->n_kids++] = node;
	return node;
}

static uint64_t next_ino(const struct node *folder)
{
	static uint64_t last = 1000;
	return folder ? ++last : 2;
}

struct node *node_new(struct node *folder, enum bak_type type, const char *name)
{
	struct node *node = need(calloc(1, sizeof *node));
	uint64_t ino = next_ino(folder);
	node->name = need(strdup(name));
	node->xattrs = need(json_object());
	node->in = (struct bak_source_inode){
		.inode = {.type = type,
			  .mode = type == BAK_TYPE_FILE      ? 0644
				  : type == BAK_TYPE_SYMLINK ? 0777
							     : 0755,
			  .uid = 1000,
			  .gid = 100,
			  .mtime_s = 1700000000 + (int64_t)ino,
			  .mtime_ns = (uint32_t)ino * 1009,
			  .ctime_s = 1710000000 + (int64_t)ino,
			  .ctime_ns = (uint32_t)ino * 2003,
			  .ino = ino},
		.dev = 7,
	};
	node->names = need(malloc(sizeof *node->names));
	*node->names = 1;
	return add(folder, node);
}

struct node *node_link(struct node *folder, struct node *first, const char *name)
{
	struct node *node = need(calloc(1, sizeof *node));
	*node = *first;
	node->name = need(strdup(name));
	++*node->names;
	return add(folder, node);
}

static void add_part(struct node *node, const void *p, uint64_t len)
{
	if (node->n_parts == sizeof node->parts / sizeof *node->parts)
		abort();
	node->parts[node->n_parts++] = (struct part){p, len};
	node->in.inode.size += len;
}

void node_bytes(struct node *node, const void *p, uint64_t len)
{
	add_part(node, p, len);
}

void node_hole(struct node *node, uint64_t len)
{
	add_part(node, NULL, len);
}

void node_xattr(struct node *node, const char *name, const void *value, size_t len)
{
	char *hex = need(malloc(2 * len + 1));
	bak_hex(hex, value, len);
	if (bak_xattrs_add(&node->xattr_block, name, value, len) < 0 ||
	    json_object_set_new(node->xattrs, name, json_string(hex)) < 0)
		abort();
	free(hex);
	node->in.inode.xattrs = node->xattr_block.p;
	node->in.inode.xattrs_len = node->xattr_block.len;
}

struct node *node_find(struct node *folder, const char *name)
{
	for (size_t i = 0; i < folder->n_kids; i++)
		if (strcmp(folder->kids[i]->name, name) == 0)
			return folder->kids[i];
	fprintf(stderr, "make_golden: no %s\n", name);
	exit(1);
}

void node_remove(struct node *folder, const char *name)
{
	const struct node *gone = node_find(folder, name);
	size_t n = 0;
	for (size_t i = 0; i < folder->n_kids; i++)
		if (folder->kids[i] != gone)
			folder->kids[n++] = folder->kids[i];
	folder->n_kids = n;
	--*gone->names;
}

/* --- pushing --- */

static int kid_cmp(const void *a, const void *b)
{
	const struct node *const *x = a, *const *y = b;
	return bak_name_cmp((*x)->name, strlen((*x)->name), (*y)->name, strlen((*y)->name));
}

static void push_file(struct bak_writer *w, const struct node *node)
{
	struct bak_error err = BAK_ERROR_INIT;
	must(bak_writer_file(w, node->name, &node->in, node->hint, &err), &err);
	for (size_t i = 0; i < node->n_parts; i++) {
		const struct part *part = &node->parts[i];
		must(part->p ? bak_writer_data(w, part->p, part->len, &err)
			     : bak_writer_hole(w, part->len, &err),
		     &err);
	}
	must(bak_writer_file_end(w, NULL, &err), &err);
}

static void push_kids(struct bak_writer *w, struct node *folder)
{
	struct bak_error err = BAK_ERROR_INIT;
	qsort(folder->kids, folder->n_kids, sizeof *folder->kids, kid_cmp);
	for (size_t i = 0; i < folder->n_kids; i++) {
		struct node *node = folder->kids[i];
		node->in.nlink = *node->names;
		if (node->in.inode.type == BAK_TYPE_DIR) {
			must(bak_writer_enter(w, node->name, &node->in, &err), &err);
			push_kids(w, node);
			must(bak_writer_leave(w, &err), &err);
			continue;
		}
		int rc = bak_writer_reuse(w, node->name, &node->in, &err);
		must(rc, &err);
		if (rc == 0 && node->in.inode.size)
			push_file(w, node);
		else if (rc == 0)
			must(bak_writer_other(w, node->name, &node->in, &err), &err);
	}
}

void node_push(struct bak_writer *w, struct node *root)
{
	struct bak_error err = BAK_ERROR_INIT;
	must(bak_writer_root(w, &root->in, &err), &err);
	push_kids(w, root);
}

/* --- describing --- */

/* Bytes as characters: what JSON can hold of a name that is not UTF-8. */
static void latin1(struct bak_buf *out, const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)name[i],
			two[2] = {(uint8_t)(0xc0 | c >> 6), (uint8_t)(0x80 | (c & 0x3f))};
		if (bak_buf_append(out, c < 0x80 ? &c : two, c < 0x80 ? 1 : 2) < 0)
			abort();
	}
}

static json_t *latin1_string(const char *text, size_t len)
{
	BAK_AUTO(bak_buf_release) struct bak_buf out = BAK_BUF_INIT;
	latin1(&out, text, len);
	return json_stringn(out.p ? (char *)out.p : "", out.len);
}

static void sum_part(struct bak_sha256 *sha, const struct part *part)
{
	static const uint8_t zeros[1u << 16];
	if (part->p) {
		bak_sha256_update(sha, part->p, part->len);
		return;
	}
	for (uint64_t left = part->len; left;) {
		size_t n = left < sizeof zeros ? left : sizeof zeros;
		bak_sha256_update(sha, zeros, n);
		left -= n;
	}
}

static json_t *describe_sum(const struct node *node)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_sha256 sha;
	uint8_t sum[BAK_SHA256_LEN];
	char hex[2 * BAK_SHA256_LEN + 1];
	must(bak_sha256_init(&sha, &err), &err);
	bak_sha256_begin(&sha);
	for (size_t i = 0; i < node->n_parts; i++)
		sum_part(&sha, &node->parts[i]);
	bak_sha256_final(&sha, sum);
	bak_sha256_release(&sha);
	bak_hex(hex, sum, sizeof sum);
	return json_string(hex);
}

static void describe_file(const struct node *node, json_t *out)
{
	uint64_t at = 0, holes_len = 0;
	json_t *holes = json_array();
	for (size_t i = 0; i < node->n_parts; i++) {
		const struct part *part = &node->parts[i];
		if (!part->p) {
			json_array_append_new(
				holes, json_pack("[I, I]", (json_int_t)at, (json_int_t)part->len));
			holes_len += part->len;
		}
		at += part->len;
	}
	json_object_set_new(out, "size", json_integer((json_int_t)at));
	uint8_t flags = node->in.inode.flags;
	if (flags & BAK_INODE_CHANGED || node->in.inode.ctime_s > BAK_GOLDEN_NEVER)
		flags |= BAK_INODE_REREAD;
	if (holes_len > BAK_HOLE_SUM_MAX)
		flags |= BAK_INODE_NOSUM;
	if (json_array_size(holes))
		json_object_set(out, "holes", holes);
	else if (at)
		flags |= BAK_INODE_SOLID;
	if (flags)
		json_object_set_new(out, "flags", json_integer(flags));
	json_decref(holes);
	json_object_set_new(out, "sha256",
			    holes_len > BAK_HOLE_SUM_MAX ? json_null() : describe_sum(node));
}

static json_t *describe(const struct node *node)
{
	static const char *const types[] = {"?",    "file", "folder", "symlink",
					    "fifo", "char", "block"};
	const struct bak_inode *in = &node->in.inode;
	json_t *out = json_pack("{s:s, s:i, s:[I, I], s:[I, i], s:[I, i], s:I}", "type",
				types[in->type], "mode", in->mode, "owner", (json_int_t)in->uid,
				(json_int_t)in->gid, "mtime", (json_int_t)in->mtime_s, in->mtime_ns,
				"ctime", (json_int_t)in->ctime_s, in->ctime_ns, "ino",
				(json_int_t)in->ino);
	if (json_object_size(node->xattrs))
		json_object_set(out, "xattrs", node->xattrs);
	if (*node->names > 1)
		json_object_set_new(out, "nlink", json_integer((json_int_t)*node->names));
	if (in->type == BAK_TYPE_FILE)
		describe_file(node, out);
	else if (in->type == BAK_TYPE_SYMLINK)
		json_object_set_new(out, "target", latin1_string(in->target, in->target_len));
	else if (in->type == BAK_TYPE_CHAR || in->type == BAK_TYPE_BLOCK)
		json_object_set_new(out, "device", json_pack("[i, i]", in->major, in->minor));
	return out;
}

static void describe_below(struct node *folder, struct bak_buf *path, json_t *out)
{
	size_t len = path->len;
	for (size_t i = 0; i < folder->n_kids; i++) {
		struct node *node = folder->kids[i];
		latin1(path, node->name, strlen(node->name));
		json_object_setn_new(out, (char *)path->p, path->len, describe(node));
		if (bak_buf_append(path, "/", 1) < 0)
			abort();
		describe_below(node, path, out);
		path->len = len;
	}
}

json_t *node_describe(struct node *root)
{
	BAK_AUTO(bak_buf_release) struct bak_buf path = BAK_BUF_INIT;
	json_t *out = need(json_object());
	json_object_set_new(out, "", describe(root));
	describe_below(root, &path, out);
	return out;
}
