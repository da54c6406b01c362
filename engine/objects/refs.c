/* What tree objects refer to: see refs.h. */
#include "engine/objects/refs.h"

#include "engine/objects/tree.h"

#include <stdlib.h>

void bak_refs_release(struct bak_refs *refs)
{
	free(refs->trees);
	free(refs->uses);
	*refs = (struct bak_refs){.n_trees = 0};
}

static int add_tree(struct bak_refs *refs, const struct bak_ref *ref)
{
	if (ref->len == 0)
		return 0;
	if (bak_grow(&refs->trees, &refs->cap_trees, refs->n_trees, sizeof *refs->trees) < 0)
		return -1;
	refs->trees[refs->n_trees++] = *ref;
	return 0;
}

static int add_use(struct bak_refs *refs, const struct bak_seg_id *seg, uint32_t off, uint64_t len)
{
	if (bak_grow(&refs->uses, &refs->cap_uses, refs->n_uses, sizeof *refs->uses) < 0)
		return -1;
	refs->uses[refs->n_uses++] = (struct bak_use){
		*seg, off, len < UINT32_MAX ? (uint32_t)len : UINT32_MAX};
	return 0;
}

static int add_inode(struct bak_refs *refs, const struct bak_inode *inode)
{
	const struct bak_content *content = &inode->content;
	if (inode->type == BAK_TYPE_DIR)
		return add_tree(refs, &inode->dir);
	if (inode->type != BAK_TYPE_FILE)
		return 0;
	switch (content->kind) {
	case BAK_CONTENT_EXTENT:
		if (content->extent.kind != BAK_EXTENT_BYTES)
			return 0;
		return add_use(refs, &content->extent.seg, content->extent.off, inode->size);
	case BAK_CONTENT_SPAN:
	case BAK_CONTENT_INNER:
		return add_tree(refs, &content->ref);
	default:
		return 0;
	}
}

/* Each of these: decodes, adds, releases. -1 with err; running out of memory is told by *bad. */

static int of_page(const void *p, size_t len, struct bak_refs *out, int *bad, struct bak_error *err)
{
	struct bak_page page;
	if (bak_page_decode(p, len, &page, err) < 0)
		return -1;
	for (size_t i = 0; i < page.n; i++)
		if (!page.entries[i].linked)
			*bad |= add_inode(out, &page.entries[i].inode);
	bak_page_release(&page);
	return 0;
}

static int of_names(const void *p, size_t len, struct bak_refs *out, int *bad,
		    struct bak_error *err)
{
	struct bak_names names;
	if (bak_names_decode(p, len, &names, err) < 0)
		return -1;
	for (size_t i = 0; i < names.n; i++)
		*bad |= add_tree(out, &names.lines[i].ref);
	bak_names_release(&names);
	return 0;
}

static int of_links(const void *p, size_t len, struct bak_refs *out, int *bad,
		    struct bak_error *err)
{
	struct bak_links links;
	if (bak_links_decode(p, len, &links, err) < 0)
		return -1;
	for (size_t i = 0; i < links.n; i++)
		*bad |= add_inode(out, &links.links[i].inode);
	bak_links_release(&links);
	return 0;
}

static int of_link_names(const void *p, size_t len, struct bak_refs *out, int *bad,
			 struct bak_error *err)
{
	struct bak_link_names names;
	if (bak_link_names_decode(p, len, &names, err) < 0)
		return -1;
	for (size_t i = 0; i < names.n; i++)
		*bad |= add_tree(out, &names.lines[i].ref);
	bak_link_names_release(&names);
	return 0;
}

static int of_inner(const void *p, size_t len, struct bak_refs *out, int *bad,
		    struct bak_error *err)
{
	struct bak_inner inner;
	if (bak_inner_decode(p, len, &inner, err) < 0)
		return -1;
	for (size_t i = 0; i < inner.n; i++)
		if (inner.lines[i].kind == BAK_LINE_SPAN || inner.lines[i].kind == BAK_LINE_INNER)
			*bad |= add_tree(out, &inner.lines[i].ref);
	bak_inner_release(&inner);
	return 0;
}

static int of_span(const void *p, size_t len, struct bak_refs *out, int *bad, struct bak_error *err)
{
	struct bak_span span;
	if (bak_span_decode(p, len, &span, err) < 0)
		return -1;
	for (size_t i = 0; i < span.n_segments; i++)
		*bad |= add_use(out, &span.segments[i].seg, 0, span.segments[i].used);
	out->exact = false;
	bak_span_release(&span);
	return 0;
}

int bak_refs_of(enum bak_object_kind kind, const void *payload, size_t len, struct bak_refs *out,
		struct bak_error *err)
{
	int rc, bad = 0;
	out->n_trees = out->n_uses = 0;
	out->exact = true;
	switch (kind) {
	case BAK_OBJECT_SPAN:
		rc = of_span(payload, len, out, &bad, err);
		break;
	case BAK_OBJECT_INNER:
		rc = of_inner(payload, len, out, &bad, err);
		break;
	case BAK_OBJECT_PAGE:
		rc = of_page(payload, len, out, &bad, err);
		break;
	case BAK_OBJECT_NAMES:
		rc = of_names(payload, len, out, &bad, err);
		break;
	case BAK_OBJECT_LINKS:
		rc = of_links(payload, len, out, &bad, err);
		break;
	case BAK_OBJECT_LINK_NAMES:
		rc = of_link_names(payload, len, out, &bad, err);
		break;
	default:
		rc = bak_error_set(err, BAK_CORRUPT, "tree object of unknown kind %d", (int)kind);
	}
	return rc == 0 && bad ? bak_error_nomem(err) : rc;
}

int bak_refs_encode(const struct bak_refs *refs, struct bak_buf *out)
{
	struct bak_runs runs = {.n = 0};
	BAK_AUTO(bak_buf_release) struct bak_buf body = BAK_BUF_INIT;
	int bad = bak_put_varint(&body, refs->n_trees);
	for (size_t i = 0; i < refs->n_trees; i++)
		bad |= bak_put_ref(&body, &runs, &refs->trees[i]);
	bad |= bak_put_varint(&body, refs->n_uses);
	for (size_t i = 0; i < refs->n_uses; i++) {
		const struct bak_use *use = &refs->uses[i];
		int64_t run = bak_runs_number(&runs, use->seg.run);
		bad |= run < 0 || bak_put_varint(&body, (uint64_t)run) < 0 ||
		       bak_put_varint(&body, use->seg.n) < 0 ||
		       (refs->exact && bak_put_varint(&body, use->off) < 0) ||
		       bak_put_varint(&body, use->len) < 0;
	}
	bad |= bak_put_u8(out, refs->exact) < 0 || bak_put_runs(out, &runs) < 0 ||
	       bak_buf_append(out, body.p, body.len) < 0;
	bak_runs_release(&runs);
	return bad ? -1 : 0;
}

static int get_uses(struct bak_bytes *in, const struct bak_runs *runs, struct bak_refs *out)
{
	uint64_t n = bak_get_varint_max(in, bak_bytes_left(in) / 3);
	int bad = 0;
	for (uint64_t i = 0; i < n && !in->bad && !bad; i++) {
		struct bak_seg_id seg;
		uint64_t run = bak_get_varint(in);
		seg.n = (uint32_t)bak_get_varint_max(in, UINT32_MAX);
		uint32_t off = out->exact ? (uint32_t)bak_get_varint_max(in, UINT32_MAX) : 0;
		uint64_t len = bak_get_varint_max(in, UINT32_MAX - off);
		if (run >= runs->n) {
			in->bad = true;
			break;
		}
		memcpy(seg.run, runs->runs[run], BAK_RUN_BYTES);
		bad = add_use(out, &seg, off, len);
	}
	return bad;
}

int bak_refs_decode(const void *p, size_t len, struct bak_refs *out)
{
	struct bak_bytes in = bak_bytes_of(p, len);
	struct bak_runs runs = {.n = 0};
	struct bak_error err;
	int bad = 0;
	out->n_trees = out->n_uses = 0;
	uint8_t exact = bak_get_u8(&in);
	out->exact = exact == 1;
	if (in.bad || exact > 1 || bak_get_runs(&in, &runs, &err) < 0)
		return 0;
	uint64_t n = bak_get_varint_max(&in, bak_bytes_left(&in) / 4);
	for (uint64_t i = 0; i < n && !in.bad && !bad; i++) {
		struct bak_ref ref = {.len = 0};
		bak_get_ref(&in, &runs, &ref);
		bad = add_tree(out, &ref);
	}
	if (!in.bad && !bad)
		bad = get_uses(&in, &runs, out);
	bak_runs_release(&runs);
	return bad ? -1 : !in.bad && bak_bytes_left(&in) == 0;
}
