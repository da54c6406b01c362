/* Walking a snapshot's tree: see folder.h. */
#include "engine/content/folder.h"

#include <stdlib.h>

/* Deeper stacks of pages than this are no writer's. */
#define MAX_LEVELS 24

void bak_found_release(struct bak_found *found)
{
	bak_pin_put(found->pin);
	bak_pin_put(found->link_pin);
	*found = (struct bak_found)BAK_FOUND_INIT;
}

/* --- the link table --- */

/* The line of a page of first numbers that may hold number, or -1. */
static ptrdiff_t link_line(const struct bak_link_names *names, uint64_t number)
{
	ptrdiff_t at = -1;
	for (size_t lo = 0, hi = names->n; lo < hi;) {
		size_t mid = lo + (hi - lo) / 2;
		if (names->lines[mid].first <= number) {
			at = (ptrdiff_t)mid;
			lo = mid + 1;
		} else {
			hi = mid;
		}
	}
	return at;
}

static const struct bak_link *link_in_page(const struct bak_links *links, uint64_t number)
{
	for (size_t lo = 0, hi = links->n; lo < hi;) {
		size_t mid = lo + (hi - lo) / 2;
		if (links->links[mid].number == number)
			return &links->links[mid];
		if (links->links[mid].number < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

int bak_link_page_ref(const struct bak_tree *tree, uint64_t number, struct bak_ref *out_ref,
		      struct bak_error *err)
{
	*out_ref = tree->snapshot->link_table;
	if (tree->snapshot->links == 0)
		return 0;
	for (int level = 0; level < MAX_LEVELS; level++) {
		enum bak_object_kind kind;
		const struct bak_link_names *names;
		BAK_AUTO(bak_pin_put_ptr) struct bak_pin *pin = NULL;
		if (bak_source_kind(tree->source, out_ref, &kind, err) < 0)
			return -1;
		if (kind != BAK_OBJECT_LINK_NAMES)
			return 1;
		if (bak_source_link_names(tree->source, out_ref, &names, &pin, err) < 0)
			return -1;
		ptrdiff_t line = link_line(names, number);
		if (line < 0)
			return 0;
		*out_ref = names->lines[line].ref;
	}
	return bak_error_set(err, BAK_CORRUPT, "link table nested too deeply");
}

/* 1 and the link, pinned; 0 no such; -1. */
static int find_link(const struct bak_tree *tree, uint64_t number, const struct bak_link **out,
		     struct bak_pin **out_pin, struct bak_error *err)
{
	struct bak_ref ref;
	const struct bak_links *links;
	int rc = bak_link_page_ref(tree, number, &ref, err);
	if (rc <= 0)
		return rc;
	if (bak_source_links(tree->source, &ref, &links, out_pin, err) < 0)
		return -1;
	*out = link_in_page(links, number);
	if (*out)
		return 1;
	bak_pin_put_ptr(out_pin);
	return 0;
}

int bak_tree_link(const struct bak_tree *tree, uint64_t number, struct bak_found *out,
		  struct bak_error *err)
{
	const struct bak_link *link;
	struct bak_pin *pin = NULL;
	int rc = find_link(tree, number, &link, &pin, err);
	if (rc <= 0)
		return rc;
	bak_found_release(out);
	out->entry = (struct bak_entry){
		.name = "", .linked = true, .link = number, .inode = link->inode};
	out->nlink = link->count;
	out->link_pin = pin;
	return 1;
}

/* Fills out from a page's entry, with the inode of the link table for linked ones. Takes pin over.
 */
static int fill_found(const struct bak_tree *tree, const struct bak_page *page, size_t i,
		      uint64_t base, struct bak_pin *pin, struct bak_found *out,
		      struct bak_error *err)
{
	bak_found_release(out);
	out->entry = page->entries[i];
	out->preorder = base + page->preorder[i] + 1;
	out->nlink = 1;
	out->pin = pin;
	if (!out->entry.linked)
		return 0;
	const struct bak_link *link;
	int rc = find_link(tree, out->entry.link, &link, &out->link_pin, err);
	if (rc == 1 && link->inode.type == out->entry.inode.type) {
		out->entry.inode = link->inode;
		out->nlink = link->count;
		return 0;
	}
	if (rc >= 0)
		bak_error_set(err, BAK_CORRUPT, "link %llu is not in the link table",
			      (unsigned long long)out->entry.link);
	bak_found_release(out);
	return -1;
}

/* --- down to a page --- */

/* Chooses a line of a page of first names; -1 for none. */
typedef ptrdiff_t choose_fn(const struct bak_names *names, const void *want, uint64_t base);

/* From a folder's top object to one page: 1 and the page, pinned, and how many entries (with what
 * is below them) come before it; 0 when choose finds no line; -1. */
static int descend(const struct bak_tree *tree, const struct bak_ref *dir, choose_fn *choose,
		   const void *want, const struct bak_page **out_page, struct bak_ref *out_ref,
		   uint64_t *out_base, struct bak_pin **out_pin, struct bak_error *err)
{
	struct bak_ref ref = *dir;
	*out_base = 0;
	for (int level = 0; level < MAX_LEVELS; level++) {
		const struct bak_names *names;
		struct bak_pin *pin = NULL;
		if (bak_source_folder(tree->source, &ref, out_page, &names, &pin, err) < 0)
			return -1;
		if (*out_page) {
			*out_pin = pin;
			if (out_ref)
				*out_ref = ref;
			return 1;
		}
		ptrdiff_t line = choose(names, want, *out_base);
		if (line >= 0) {
			*out_base += names->preorder[line];
			ref = names->lines[line].ref;
		}
		bak_pin_put(pin);
		if (line < 0)
			return 0;
	}
	return bak_error_set(err, BAK_CORRUPT, "folder nested too deeply");
}

struct name {
	const char *p;
	size_t len;
};

static ptrdiff_t line_of_name(const struct bak_names *names, const void *want, uint64_t base)
{
	const struct name *name = want;
	ptrdiff_t at = -1;
	(void)base;
	for (size_t lo = 0, hi = names->n; lo < hi;) {
		size_t mid = lo + (hi - lo) / 2;
		const struct bak_name_line *line = &names->lines[mid];
		if (bak_name_cmp(line->first, line->first_len, name->p, name->len) <= 0) {
			at = (ptrdiff_t)mid;
			lo = mid + 1;
		} else {
			hi = mid;
		}
	}
	return at;
}

static ptrdiff_t entry_of_name(const struct bak_page *page, const struct name *name)
{
	for (size_t lo = 0, hi = page->n; lo < hi;) {
		size_t mid = lo + (hi - lo) / 2;
		const struct bak_entry *e = &page->entries[mid];
		int d = bak_name_cmp(e->name, e->name_len, name->p, name->len);
		if (d == 0)
			return (ptrdiff_t)mid;
		if (d < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return -1;
}

/* The last i with preorder[i] <= n. */
static size_t index_of_number(const uint64_t *preorder, size_t n_items, uint64_t n)
{
	size_t lo = 0, hi = n_items;
	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;
		if (preorder[mid] <= n)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

/* want: a relative preorder number, counted from 0 here. */
static ptrdiff_t line_of_number(const struct bak_names *names, const void *want, uint64_t base)
{
	uint64_t n = *(const uint64_t *)want - base;
	if (n >= names->preorder[names->n])
		return -1;
	return (ptrdiff_t)index_of_number(names->preorder, names->n, n);
}

int bak_folder_lookup(const struct bak_tree *tree, const struct bak_ref *dir, const char *name,
		      size_t name_len, struct bak_found *out, struct bak_error *err)
{
	struct name want = {name, name_len};
	const struct bak_page *page;
	struct bak_pin *pin;
	uint64_t base;
	if (dir->len == 0)
		return 0;
	int rc = descend(tree, dir, line_of_name, &want, &page, NULL, &base, &pin, err);
	if (rc <= 0)
		return rc;
	ptrdiff_t i = entry_of_name(page, &want);
	if (i < 0) {
		bak_pin_put(pin);
		return 0;
	}
	return fill_found(tree, page, (size_t)i, base, pin, out, err) < 0 ? -1 : 1;
}

int bak_folder_page_ref(const struct bak_tree *tree, const struct bak_ref *dir, const char *name,
			size_t name_len, struct bak_ref *out_ref, struct bak_error *err)
{
	struct name want = {name, name_len};
	const struct bak_page *page;
	BAK_AUTO(bak_pin_put_ptr) struct bak_pin *pin = NULL;
	uint64_t base;
	if (dir->len == 0)
		return 0;
	return descend(tree, dir, line_of_name, &want, &page, out_ref, &base, &pin, err);
}

int bak_folder_at(const struct bak_tree *tree, const struct bak_ref *dir, uint64_t n,
		  struct bak_found *out, struct bak_error *err)
{
	const struct bak_page *page;
	struct bak_pin *pin;
	uint64_t base, want = n - 1;
	if (dir->len == 0 || n == 0)
		return 0;
	int rc = descend(tree, dir, line_of_number, &want, &page, NULL, &base, &pin, err);
	if (rc <= 0)
		return rc;
	if (want - base >= page->preorder[page->n]) {
		bak_pin_put(pin);
		return 0;
	}
	size_t i = index_of_number(page->preorder, page->n, want - base);
	return fill_found(tree, page, i, base, pin, out, err) < 0 ? -1 : 1;
}

static void fill_root(const struct bak_tree *tree, struct bak_found *out)
{
	bak_found_release(out);
	out->entry = (struct bak_entry){.name = "", .inode = tree->snapshot->root};
	out->nlink = 1;
}

int bak_tree_at(const struct bak_tree *tree, uint64_t n, struct bak_found *out,
		uint64_t *out_parent, struct bak_error *err)
{
	fill_root(tree, out);
	uint64_t at = 0, parent = 0;
	while (at != n) {
		struct bak_ref dir = out->entry.inode.dir;
		parent = at;
		if (out->entry.inode.type != BAK_TYPE_DIR)
			return 0;
		int rc = bak_folder_at(tree, &dir, n - at, out, err);
		if (rc <= 0)
			return rc;
		at += out->preorder;
	}
	out->preorder = n;
	if (out_parent)
		*out_parent = parent;
	return 1;
}

int bak_tree_path(const struct bak_tree *tree, const char *path, struct bak_found *out,
		  struct bak_error *err)
{
	uint64_t at = 0;
	fill_root(tree, out);
	while (*path) {
		size_t len = strcspn(path, "/");
		if (len > 0 && !(len == 1 && path[0] == '.')) {
			struct bak_ref dir = out->entry.inode.dir;
			if (out->entry.inode.type != BAK_TYPE_DIR)
				return 0;
			int rc = bak_folder_lookup(tree, &dir, path, len, out, err);
			if (rc <= 0)
				return rc;
			at += out->preorder;
		}
		path += len;
		path += *path == '/';
	}
	out->preorder = at;
	return 1;
}

/* --- in order --- */

struct bak_cursor {
	struct bak_tree tree;
	struct bak_ref dir;
	const struct bak_page *page; /* NULL: before the next descent */
	struct bak_pin *pin;
	uint64_t base, next; /* next: relative number, from 0, of what comes next */
	size_t i;
	bool at_entry; /* the last next failed at entry i - 1 of the page, not at a page */
	struct bak_found found;
};

int bak_cursor_open(const struct bak_tree *tree, const struct bak_ref *dir, uint64_t from,
		    struct bak_cursor **out_cursor, struct bak_error *err)
{
	struct bak_cursor *cursor = calloc(1, sizeof *cursor);
	if (!cursor)
		return bak_error_nomem(err);
	cursor->tree = *tree;
	cursor->dir = *dir;
	cursor->next = from ? from - 1 : 0;
	*out_cursor = cursor;
	return 0;
}

/* 1 a page is there with entry i to come, 0 the end, -1. */
static int cursor_page(struct bak_cursor *c, struct bak_error *err)
{
	if (c->page && c->i < c->page->n)
		return 1;
	bak_pin_put_ptr(&c->pin);
	c->page = NULL;
	if (c->dir.len == 0)
		return 0;
	int rc = descend(&c->tree, &c->dir, line_of_number, &c->next, &c->page, NULL, &c->base,
			 &c->pin, err);
	if (rc <= 0 || c->next - c->base >= c->page->preorder[c->page->n]) {
		bak_pin_put_ptr(&c->pin);
		c->page = NULL;
		return rc < 0 ? -1 : 0;
	}
	c->i = index_of_number(c->page->preorder, c->page->n, c->next - c->base);
	/* In the middle of an entry's subtree: the next entry is the first at or behind. */
	if (c->base + c->page->preorder[c->i] < c->next)
		c->i++;
	c->next = c->base + c->page->preorder[c->i];
	return c->i < c->page->n ? 1 : cursor_page(c, err);
}

int bak_cursor_next(struct bak_cursor *c, const struct bak_found **out, struct bak_error *err)
{
	c->at_entry = false;
	int rc = cursor_page(c, err);
	if (rc <= 0)
		return rc;
	size_t i = c->i++;
	c->next = c->base + c->page->preorder[c->i];
	/* The cursor's own pin keeps the page; found borrows. */
	if (!c->page->entries[i].linked && !c->found.link_pin) {
		c->found.entry = c->page->entries[i];
		c->found.preorder = c->base + c->page->preorder[i] + 1;
		c->found.nlink = 1;
	} else if (fill_found(&c->tree, c->page, i, c->base, NULL, &c->found, err) < 0) {
		c->at_entry = true;
		return -1;
	}
	*out = &c->found;
	return 1;
}

void bak_gap_release(struct bak_gap *gap)
{
	bak_buf_release(&gap->first);
	bak_buf_release(&gap->end);
}

static int copy_name(struct bak_buf *out, const char *name, size_t len)
{
	out->len = 0;
	return bak_buf_append(out, name, len) < 0 || bak_buf_append(out, "", 1) < 0 ? -1 : 0;
}

/* A line of a page of first names that was chosen on the way down narrows the gap. */
static int narrow(struct bak_gap *gap, const struct bak_names *names, size_t line)
{
	const struct bak_name_line *l = &names->lines[line];
	if (line > 0) {
		gap->has_first = true;
		if (copy_name(&gap->first, l->first, l->first_len) < 0)
			return -1;
	}
	if (line + 1 < names->n) {
		gap->has_end = true;
		return copy_name(&gap->end, l[1].first, l[1].first_len);
	}
	return 0;
}

/* Goes down as far as pages can be read: the line above the one that cannot is the gap. */
static int find_gap(struct bak_cursor *c, struct bak_gap *out, uint64_t *out_end,
		    struct bak_error *err)
{
	struct bak_ref ref = c->dir;
	uint64_t base = 0;
	*out_end = UINT64_MAX;
	for (int level = 0; level < MAX_LEVELS; level++) {
		const struct bak_page *page;
		const struct bak_names *names;
		struct bak_error scratch = BAK_ERROR_INIT;
		BAK_AUTO(bak_pin_put_ptr) struct bak_pin *pin = NULL;
		if (bak_source_folder(c->tree.source, &ref, &page, &names, &pin, &scratch) < 0)
			return 0;
		ptrdiff_t line = names ? line_of_number(names, &c->next, base) : -1;
		if (line < 0)
			return 0;
		if (narrow(out, names, (size_t)line) < 0)
			return bak_error_nomem(err);
		*out_end = base + names->preorder[line + 1];
		base += names->preorder[line];
		ref = names->lines[line].ref;
	}
	return 0;
}

int bak_cursor_skip(struct bak_cursor *c, struct bak_gap *out, struct bak_error *err)
{
	uint64_t end;
	*out = (struct bak_gap){.one = c->at_entry};
	if (c->at_entry) {
		const struct bak_entry *entry = &c->page->entries[c->i - 1];
		out->has_first = true;
		return copy_name(&out->first, entry->name, entry->name_len) < 0
			       ? bak_error_nomem(err)
			       : 1;
	}
	if (find_gap(c, out, &end, err) < 0)
		return -1;
	if (!out->has_end || end <= c->next)
		return 0;
	c->next = end;
	return 1;
}

void bak_cursor_close(struct bak_cursor *cursor)
{
	if (!cursor)
		return;
	bak_found_release(&cursor->found);
	bak_pin_put(cursor->pin);
	free(cursor);
}

int bak_folder_subdirs(const struct bak_tree *tree, const struct bak_ref *dir, uint64_t *out,
		       struct bak_error *err)
{
	uint64_t next = 0;
	*out = 0;
	if (dir->len == 0)
		return 0;
	for (;;) {
		const struct bak_page *page;
		BAK_AUTO(bak_pin_put_ptr) struct bak_pin *pin = NULL;
		uint64_t base;
		int rc = descend(tree, dir, line_of_number, &next, &page, NULL, &base, &pin, err);
		if (rc <= 0)
			return rc;
		if (next - base >= page->preorder[page->n])
			return 0;
		for (size_t i = 0; i < page->n; i++)
			*out += page->entries[i].inode.type == BAK_TYPE_DIR;
		next = base + page->preorder[page->n];
	}
}
