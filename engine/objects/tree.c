/* Folders and the link table as tree objects: see tree.h. */
#include "engine/objects/tree.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_VERSION 1
#define LINKED 0x80u

/* --- names and totals --- */

int bak_name_cmp(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int d = memcmp(a, b, a_len < b_len ? a_len : b_len);
	if (d)
		return d;
	return a_len < b_len ? -1 : a_len > b_len;
}

size_t bak_name_escaped_len(const char *name, size_t len, bool *out_escaped)
{
	size_t extra = 0;
	for (size_t i = 0; i < len; i++)
		extra += name[i] == '\\' || name[i] == '\n' || name[i] == '\r';
	*out_escaped = extra > 0;
	return len + extra;
}

/* "<64 hex>  name\n" */
#define SUM_LINE_FIXED 67

void bak_totals_add(struct bak_totals *totals, const struct bak_totals *more)
{
	totals->entries += more->entries;
	totals->files += more->files;
	totals->escaped += more->escaped;
	totals->bytes += more->bytes;
	totals->sums_len += more->sums_len;
}

void bak_totals_add_entry(struct bak_totals *totals, const struct bak_entry *entry)
{
	bool escaped;
	size_t name_len = bak_name_escaped_len(entry->name, entry->name_len, &escaped);
	totals->entries++;
	if (entry->inode.type == BAK_TYPE_FILE) {
		if (!entry->linked)
			totals->bytes += entry->inode.size;
		if (entry->inode.flags & BAK_INODE_NOSUM)
			return;
		totals->files++;
		totals->escaped += escaped;
		totals->sums_len += SUM_LINE_FIXED + name_len + escaped;
		return;
	}
	if (entry->inode.type != BAK_TYPE_DIR)
		return;
	/* Each line below gets "name/" in front; a name that needs escaping puts a backslash before
	 * the lines that had none. */
	struct bak_totals below = entry->inode.totals;
	below.sums_len += below.files * (name_len + 1);
	if (escaped) {
		below.sums_len += below.files - below.escaped;
		below.escaped = below.files;
	}
	bak_totals_add(totals, &below);
}

static int put_totals(struct bak_buf *out, const struct bak_totals *t)
{
	return bak_put_varint(out, t->entries) < 0 || bak_put_varint(out, t->files) < 0 ||
			       bak_put_varint(out, t->escaped) < 0 ||
			       bak_put_varint(out, t->bytes) < 0 ||
			       bak_put_varint(out, t->sums_len) < 0
		       ? -1
		       : 0;
}

/* Totals are added up; a bound keeps sums of many of them from wrapping. */
#define TOTAL_LIMIT ((uint64_t)1 << 60)

static void get_totals(struct bak_bytes *in, struct bak_totals *out)
{
	out->entries = bak_get_varint_max(in, TOTAL_LIMIT);
	out->files = bak_get_varint_max(in, out->entries);
	out->escaped = bak_get_varint_max(in, out->files);
	out->bytes = bak_get_varint_max(in, TOTAL_LIMIT);
	out->sums_len = bak_get_varint_max(in, TOTAL_LIMIT);
}

/* --- xattr block --- */

int bak_xattrs_add(struct bak_buf *block, const char *name, const void *value, size_t value_len)
{
	size_t name_len = strlen(name);
	if (bak_put_varint(block, name_len) < 0 || bak_buf_append(block, name, name_len) < 0 ||
	    bak_put_varint(block, value_len) < 0)
		return -1;
	return bak_buf_append(block, value, value_len);
}

int bak_xattrs_next(const uint8_t *block, size_t len, size_t *at, const char **out_name,
		    size_t *out_name_len, const uint8_t **out_value, size_t *out_value_len)
{
	if (*at >= len)
		return 0;
	struct bak_bytes in = bak_bytes_of(block + *at, len - *at);
	*out_name_len = bak_get_varint_max(&in, bak_bytes_left(&in));
	*out_name = (const char *)bak_get_bytes(&in, *out_name_len);
	*out_value_len = bak_get_varint_max(&in, bak_bytes_left(&in));
	*out_value = bak_get_bytes(&in, *out_value_len);
	if (in.bad || *out_name_len == 0)
		return -1;
	*at = len - bak_bytes_left(&in);
	return 1;
}

/* --- inodes --- */

static int put_seg_place(struct bak_buf *out, struct bak_runs *runs, const struct bak_extent *e)
{
	int64_t run = bak_runs_number(runs, e->seg.run);
	return run < 0 || bak_put_varint(out, (uint64_t)run) < 0 ||
			       bak_put_varint(out, e->seg.n) < 0 || bak_put_varint(out, e->off) < 0
		       ? -1
		       : 0;
}

static int put_content(struct bak_buf *out, struct bak_runs *runs, const struct bak_content *c)
{
	if (bak_put_u8(out, (uint8_t)c->kind) < 0)
		return -1;
	if (c->kind == BAK_CONTENT_SPAN || c->kind == BAK_CONTENT_INNER)
		return bak_put_ref(out, runs, &c->ref);
	if (bak_put_u8(out, (uint8_t)c->extent.kind) < 0)
		return -1;
	return c->extent.kind == BAK_EXTENT_BYTES ? put_seg_place(out, runs, &c->extent) : 0;
}

static int put_by_type(struct bak_buf *out, struct bak_runs *runs, const struct bak_inode *in)
{
	switch (in->type) {
	case BAK_TYPE_FILE:
		if (bak_put_varint(out, in->size) < 0)
			return -1;
		if (in->size == 0)
			return 0;
		if (bak_buf_append(out, in->sha256, sizeof in->sha256) < 0)
			return -1;
		return put_content(out, runs, &in->content);
	case BAK_TYPE_DIR:
		if (put_totals(out, &in->totals) < 0)
			return -1;
		return in->totals.entries ? bak_put_ref(out, runs, &in->dir) : 0;
	case BAK_TYPE_SYMLINK:
		if (bak_put_varint(out, in->target_len) < 0)
			return -1;
		return bak_buf_append(out, in->target, in->target_len);
	case BAK_TYPE_CHAR:
	case BAK_TYPE_BLOCK:
		if (bak_put_varint(out, in->major) < 0)
			return -1;
		return bak_put_varint(out, in->minor);
	case BAK_TYPE_FIFO:
	case BAK_TYPE_SOCKET:
		break;
	}
	return 0;
}

static int put_inode(struct bak_buf *out, struct bak_runs *runs, const struct bak_inode *in)
{
	if (bak_put_varint(out, in->mode) < 0 || bak_put_varint(out, in->uid) < 0 ||
	    bak_put_varint(out, in->gid) < 0 || bak_put_zigzag(out, in->mtime_s) < 0 ||
	    bak_put_varint(out, in->mtime_ns) < 0 || bak_put_zigzag(out, in->ctime_s) < 0 ||
	    bak_put_varint(out, in->ctime_ns) < 0 || bak_put_varint(out, in->ino) < 0 ||
	    bak_put_u8(out, in->flags) < 0 || bak_put_varint(out, in->xattrs_len) < 0 ||
	    bak_buf_append(out, in->xattrs, in->xattrs_len) < 0)
		return -1;
	return put_by_type(out, runs, in);
}

static void get_content(struct bak_bytes *in, const struct bak_runs *runs, uint64_t size,
			struct bak_content *out)
{
	uint8_t kind = bak_get_u8(in);
	out->kind = kind;
	if (kind == BAK_CONTENT_SPAN || kind == BAK_CONTENT_INNER) {
		bak_get_ref(in, runs, &out->ref);
		return;
	}
	uint8_t extent = bak_get_u8(in);
	if (kind != BAK_CONTENT_EXTENT || extent > BAK_EXTENT_BYTES) {
		in->bad = true;
		return;
	}
	out->extent.kind = extent;
	out->extent.len = size;
	if (extent != BAK_EXTENT_BYTES)
		return;
	uint64_t run = bak_get_varint(in);
	out->extent.seg.n = (uint32_t)bak_get_varint_max(in, UINT32_MAX);
	out->extent.off = (uint32_t)bak_get_varint_max(in, UINT32_MAX);
	if (in->bad || run >= runs->n || size > UINT32_MAX - out->extent.off) {
		in->bad = true;
		return;
	}
	memcpy(out->extent.seg.run, runs->runs[run], BAK_RUN_BYTES);
}

static void get_by_type(struct bak_bytes *in, const struct bak_runs *runs, struct bak_inode *out)
{
	const uint8_t *sum;
	switch (out->type) {
	case BAK_TYPE_FILE:
		out->size = bak_get_varint_max(in, INT64_MAX);
		if (out->size == 0)
			return;
		sum = bak_get_bytes(in, sizeof out->sha256);
		if (sum)
			memcpy(out->sha256, sum, sizeof out->sha256);
		get_content(in, runs, out->size, &out->content);
		return;
	case BAK_TYPE_DIR:
		get_totals(in, &out->totals);
		if (out->totals.entries)
			bak_get_ref(in, runs, &out->dir);
		return;
	case BAK_TYPE_SYMLINK:
		out->target_len = bak_get_varint_max(in, bak_bytes_left(in));
		out->target = (const char *)bak_get_bytes(in, out->target_len);
		return;
	case BAK_TYPE_CHAR:
	case BAK_TYPE_BLOCK:
		out->major = (uint32_t)bak_get_varint_max(in, UINT32_MAX);
		out->minor = (uint32_t)bak_get_varint_max(in, UINT32_MAX);
		return;
	case BAK_TYPE_FIFO:
	case BAK_TYPE_SOCKET:
		return;
	}
	in->bad = true;
}

#define NS_MAX 999999999u

/* out->type is set. */
static void get_inode(struct bak_bytes *in, const struct bak_runs *runs, struct bak_inode *out)
{
	out->mode = (uint32_t)bak_get_varint_max(in, 07777);
	out->uid = (uint32_t)bak_get_varint_max(in, UINT32_MAX);
	out->gid = (uint32_t)bak_get_varint_max(in, UINT32_MAX);
	out->mtime_s = bak_get_zigzag(in);
	out->mtime_ns = (uint32_t)bak_get_varint_max(in, NS_MAX);
	out->ctime_s = bak_get_zigzag(in);
	out->ctime_ns = (uint32_t)bak_get_varint_max(in, NS_MAX);
	out->ino = bak_get_varint(in);
	out->flags = bak_get_u8(in);
	out->xattrs_len = bak_get_varint_max(in, bak_bytes_left(in));
	out->xattrs = bak_get_bytes(in, out->xattrs_len);
	get_by_type(in, runs, out);
}

static bool type_ok(uint8_t type)
{
	return type >= BAK_TYPE_FILE && type <= BAK_TYPE_SOCKET;
}

/* A payload is version, run table, body; the table is known only after the body is made. */
static int put_payload(struct bak_buf *out, struct bak_runs *runs, const struct bak_buf *body,
		       int bad, struct bak_error *err)
{
	bad = bad || bak_put_u8(out, PAGE_VERSION) < 0 || bak_put_runs(out, runs) < 0 ||
	      bak_buf_append(out, body->p, body->len) < 0;
	bak_runs_release(runs);
	return bad ? bak_error_nomem(err) : 0;
}

/* Version and run table; then the count of items, each at least min_len bytes long. */
static int get_payload_head(struct bak_bytes *in, const char *what, size_t min_len,
			    struct bak_runs *out_runs, size_t *out_n, struct bak_error *err)
{
	*out_runs = (struct bak_runs){0};
	if (bak_get_u8(in) != PAGE_VERSION)
		return bak_error_set(err, BAK_CORRUPT, "%s: unknown version", what);
	if (bak_get_runs(in, out_runs, err) < 0)
		return bak_error_wrap(err, "%s", what);
	*out_n = bak_get_varint_max(in, bak_bytes_left(in) / min_len);
	if (in->bad) {
		bak_runs_release(out_runs);
		return bak_error_set(err, BAK_CORRUPT, "%s cut short", what);
	}
	return 0;
}

int bak_inode_encode(const struct bak_inode *inode, struct bak_buf *out, struct bak_error *err)
{
	struct bak_runs runs = {0};
	BAK_AUTO(bak_buf_release) struct bak_buf body = BAK_BUF_INIT;
	int bad = bak_put_u8(&body, (uint8_t)inode->type) < 0 || put_inode(&body, &runs, inode) < 0;
	return put_payload(out, &runs, &body, bad, err);
}

int bak_inode_decode(struct bak_bytes *in, struct bak_inode *out, struct bak_error *err)
{
	struct bak_runs runs = {0};
	*out = (struct bak_inode){0};
	if (bak_get_u8(in) != PAGE_VERSION)
		return bak_error_set(err, BAK_CORRUPT, "inode: unknown version");
	if (bak_get_runs(in, &runs, err) < 0)
		return bak_error_wrap(err, "inode");
	uint8_t type = bak_get_u8(in);
	out->type = type;
	if (type_ok(type))
		get_inode(in, &runs, out);
	bak_runs_release(&runs);
	if (in->bad || !type_ok(type))
		return bak_error_set(err, BAK_CORRUPT, "inode: bad fields");
	return 0;
}

/* --- folder pages --- */

static int put_entry(struct bak_buf *body, struct bak_runs *runs, const struct bak_entry *e)
{
	uint8_t type = (uint8_t)(e->inode.type | (e->linked ? LINKED : 0));
	if (bak_put_varint(body, e->name_len) < 0 ||
	    bak_buf_append(body, e->name, e->name_len) < 0 || bak_put_u8(body, type) < 0)
		return -1;
	return e->linked ? bak_put_varint(body, e->link) : put_inode(body, runs, &e->inode);
}

int bak_page_encode(const struct bak_entry *entries, size_t n, struct bak_buf *out,
		    struct bak_error *err)
{
	struct bak_runs runs = {0};
	BAK_AUTO(bak_buf_release) struct bak_buf body = BAK_BUF_INIT;
	int bad = bak_put_varint(&body, n) < 0;
	for (size_t i = 0; i < n && !bad; i++)
		bad = put_entry(&body, &runs, &entries[i]) < 0;
	return put_payload(out, &runs, &body, bad, err);
}

void bak_page_release(struct bak_page *page)
{
	free(page->entries);
	free(page->preorder);
	*page = (struct bak_page){0};
}

static bool name_ok(const char *name, size_t len)
{
	if (!name || len == 0 || memchr(name, '/', len) || memchr(name, '\0', len))
		return false;
	return !(len == 1 && name[0] == '.') && !(len == 2 && name[0] == '.' && name[1] == '.');
}

static void get_entry(struct bak_bytes *in, const struct bak_runs *runs,
		      const struct bak_entry *before, struct bak_entry *out)
{
	out->name_len = bak_get_varint_max(in, bak_bytes_left(in));
	out->name = (const char *)bak_get_bytes(in, out->name_len);
	uint8_t type = bak_get_u8(in);
	out->linked = type & LINKED;
	out->inode.type = type & ~LINKED;
	if (in->bad || !name_ok(out->name, out->name_len) || !type_ok(out->inode.type) ||
	    (out->linked && out->inode.type == BAK_TYPE_DIR) ||
	    (before &&
	     bak_name_cmp(before->name, before->name_len, out->name, out->name_len) >= 0)) {
		in->bad = true;
		return;
	}
	if (out->linked)
		out->link = bak_get_varint(in);
	else
		get_inode(in, runs, &out->inode);
}

static void get_entries(struct bak_bytes *in, const struct bak_runs *runs, struct bak_page *out)
{
	uint64_t number = 0;
	for (size_t i = 0; i < out->n && !in->bad; i++) {
		get_entry(in, runs, i ? &out->entries[i - 1] : NULL, &out->entries[i]);
		out->preorder[i] = number;
		number += 1 + out->entries[i].inode.totals.entries;
		if (number > TOTAL_LIMIT)
			in->bad = true;
	}
	out->preorder[out->n] = number;
}

int bak_page_decode(const void *payload, size_t len, struct bak_page *out, struct bak_error *err)
{
	struct bak_bytes in = bak_bytes_of(payload, len);
	struct bak_runs runs;
	*out = (struct bak_page){0};
	if (get_payload_head(&in, "folder page", 4, &runs, &out->n, err) < 0)
		return -1;
	out->entries = calloc(out->n + 1, sizeof *out->entries);
	out->preorder = calloc(out->n + 1, sizeof *out->preorder);
	int rc = 0;
	if (!out->entries || !out->preorder) {
		rc = bak_error_nomem(err);
	} else {
		get_entries(&in, &runs, out);
		if (in.bad || bak_bytes_left(&in) > 0)
			rc = bak_error_set(err, BAK_CORRUPT, "folder page: bad entries");
	}
	bak_runs_release(&runs);
	if (rc < 0)
		bak_page_release(out);
	return rc;
}

/* --- pages of first names --- */

int bak_names_encode(const struct bak_name_line *lines, size_t n, struct bak_buf *out,
		     struct bak_error *err)
{
	struct bak_runs runs = {0};
	BAK_AUTO(bak_buf_release) struct bak_buf body = BAK_BUF_INIT;
	int bad = bak_put_varint(&body, n) < 0;
	for (size_t i = 0; i < n && !bad; i++)
		bad = bak_put_varint(&body, lines[i].first_len) < 0 ||
		      bak_buf_append(&body, lines[i].first, lines[i].first_len) < 0 ||
		      bak_put_ref(&body, &runs, &lines[i].ref) < 0 ||
		      put_totals(&body, &lines[i].totals) < 0;
	return put_payload(out, &runs, &body, bad, err);
}

void bak_names_release(struct bak_names *names)
{
	free(names->lines);
	free(names->preorder);
	*names = (struct bak_names){0};
}

static void get_name_lines(struct bak_bytes *in, const struct bak_runs *runs, struct bak_names *out)
{
	uint64_t number = 0;
	for (size_t i = 0; i < out->n && !in->bad; i++) {
		struct bak_name_line *line = &out->lines[i];
		line->first_len = bak_get_varint_max(in, bak_bytes_left(in));
		line->first = (const char *)bak_get_bytes(in, line->first_len);
		bak_get_ref(in, runs, &line->ref);
		get_totals(in, &line->totals);
		out->preorder[i] = number;
		number += line->totals.entries;
		if (in->bad || !name_ok(line->first, line->first_len) || number > TOTAL_LIMIT ||
		    line->totals.entries == 0 ||
		    (i && bak_name_cmp(line[-1].first, line[-1].first_len, line->first,
				       line->first_len) >= 0))
			in->bad = true;
	}
	out->preorder[out->n] = number;
}

int bak_names_decode(const void *payload, size_t len, struct bak_names *out, struct bak_error *err)
{
	struct bak_bytes in = bak_bytes_of(payload, len);
	struct bak_runs runs;
	*out = (struct bak_names){0};
	if (get_payload_head(&in, "page of first names", 6, &runs, &out->n, err) < 0)
		return -1;
	out->lines = calloc(out->n + 1, sizeof *out->lines);
	out->preorder = calloc(out->n + 1, sizeof *out->preorder);
	int rc = 0;
	if (!out->lines || !out->preorder) {
		rc = bak_error_nomem(err);
	} else {
		get_name_lines(&in, &runs, out);
		if (in.bad || out->n == 0 || bak_bytes_left(&in) > 0)
			rc = bak_error_set(err, BAK_CORRUPT, "page of first names: bad lines");
	}
	bak_runs_release(&runs);
	if (rc < 0)
		bak_names_release(out);
	return rc;
}

/* --- the link table --- */

int bak_links_encode(const struct bak_link *links, size_t n, struct bak_buf *out,
		     struct bak_error *err)
{
	struct bak_runs runs = {0};
	BAK_AUTO(bak_buf_release) struct bak_buf body = BAK_BUF_INIT;
	int bad = bak_put_varint(&body, n) < 0;
	uint64_t last = 0;
	for (size_t i = 0; i < n && !bad; i++) {
		bad = bak_put_varint(&body, links[i].number - last) < 0 ||
		      bak_put_varint(&body, links[i].count) < 0 ||
		      bak_put_u8(&body, (uint8_t)links[i].inode.type) < 0 ||
		      put_inode(&body, &runs, &links[i].inode) < 0;
		last = links[i].number;
	}
	return put_payload(out, &runs, &body, bad, err);
}

void bak_links_release(struct bak_links *links)
{
	free(links->links);
	*links = (struct bak_links){0};
}

static void get_links(struct bak_bytes *in, const struct bak_runs *runs, struct bak_links *out)
{
	uint64_t last = 0;
	for (size_t i = 0; i < out->n && !in->bad; i++) {
		struct bak_link *link = &out->links[i];
		uint64_t step = bak_get_varint_max(in, UINT64_MAX - last);
		link->number = last + step;
		link->count = bak_get_varint_max(in, TOTAL_LIMIT);
		uint8_t type = bak_get_u8(in);
		link->inode.type = type;
		if (!type_ok(type) || type == BAK_TYPE_DIR || (i && step == 0)) {
			in->bad = true;
			return;
		}
		get_inode(in, runs, &link->inode);
		last = link->number;
	}
}

int bak_links_decode(const void *payload, size_t len, struct bak_links *out, struct bak_error *err)
{
	struct bak_bytes in = bak_bytes_of(payload, len);
	struct bak_runs runs;
	*out = (struct bak_links){0};
	if (get_payload_head(&in, "link page", 4, &runs, &out->n, err) < 0)
		return -1;
	out->links = calloc(out->n + 1, sizeof *out->links);
	int rc = 0;
	if (!out->links) {
		rc = bak_error_nomem(err);
	} else {
		get_links(&in, &runs, out);
		if (in.bad || out->n == 0 || bak_bytes_left(&in) > 0)
			rc = bak_error_set(err, BAK_CORRUPT, "link page: bad links");
	}
	bak_runs_release(&runs);
	if (rc < 0)
		bak_links_release(out);
	return rc;
}

int bak_link_names_encode(const struct bak_link_line *lines, size_t n, struct bak_buf *out,
			  struct bak_error *err)
{
	struct bak_runs runs = {0};
	BAK_AUTO(bak_buf_release) struct bak_buf body = BAK_BUF_INIT;
	int bad = bak_put_varint(&body, n) < 0;
	uint64_t last = 0;
	for (size_t i = 0; i < n && !bad; i++) {
		bad = bak_put_varint(&body, lines[i].first - last) < 0 ||
		      bak_put_ref(&body, &runs, &lines[i].ref) < 0 ||
		      bak_put_varint(&body, lines[i].count) < 0;
		last = lines[i].first;
	}
	return put_payload(out, &runs, &body, bad, err);
}

void bak_link_names_release(struct bak_link_names *names)
{
	free(names->lines);
	*names = (struct bak_link_names){0};
}

static void get_link_lines(struct bak_bytes *in, const struct bak_runs *runs,
			   struct bak_link_names *out)
{
	uint64_t last = 0;
	for (size_t i = 0; i < out->n && !in->bad; i++) {
		struct bak_link_line *line = &out->lines[i];
		uint64_t step = bak_get_varint_max(in, UINT64_MAX - last);
		line->first = last + step;
		bak_get_ref(in, runs, &line->ref);
		line->count = bak_get_varint_max(in, TOTAL_LIMIT);
		if (i && step == 0)
			in->bad = true;
		last = line->first;
	}
}

int bak_link_names_decode(const void *payload, size_t len, struct bak_link_names *out,
			  struct bak_error *err)
{
	struct bak_bytes in = bak_bytes_of(payload, len);
	struct bak_runs runs;
	*out = (struct bak_link_names){0};
	if (get_payload_head(&in, "page of first links", 6, &runs, &out->n, err) < 0)
		return -1;
	out->lines = calloc(out->n + 1, sizeof *out->lines);
	int rc = 0;
	if (!out->lines) {
		rc = bak_error_nomem(err);
	} else {
		get_link_lines(&in, &runs, out);
		if (in.bad || out->n == 0 || bak_bytes_left(&in) > 0)
			rc = bak_error_set(err, BAK_CORRUPT, "page of first links: bad lines");
	}
	bak_runs_release(&runs);
	if (rc < 0)
		bak_link_names_release(out);
	return rc;
}
