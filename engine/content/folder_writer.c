/* One folder being written: see folder_writer.h. */
#include "engine/content/folder_writer.h"

#include <stdlib.h>

/* Pages end behind a name whose hash says so, between these sizes; one in PAGE_MARK names does. */
#define PAGE_MIN (16u << 10)
#define PAGE_MAX (64u << 10)
#define PAGE_MARK 127u

void bak_folder_writer_init(struct bak_folder_writer *fw, struct bak_segmenter *segmenter,
			    const struct bak_tree *previous, const struct bak_ref *previous_dir)
{
	*fw = (struct bak_folder_writer){.segmenter = segmenter, .previous = previous};
	if (previous && previous_dir)
		fw->previous_dir = *previous_dir;
}

void bak_folder_writer_release(struct bak_folder_writer *fw)
{
	bak_buf_release(&fw->names);
	bak_buf_release(&fw->last_name);
	free(fw->entries);
	for (int i = 0; i < BAK_FOLDER_LEVELS; i++) {
		for (size_t k = 0; k < fw->levels[i].n; k++)
			free((char *)fw->levels[i].v[k].first);
		free(fw->levels[i].v);
	}
	*fw = (struct bak_folder_writer){0};
}

/* FNV-1a: where pages end has to depend on names only, nothing more. */
static uint64_t name_hash(const char *name, size_t len)
{
	uint64_t h = 0xcbf29ce484222325u;
	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)name[i]) * 0x100000001b3u;
	return h ^ h >> 29;
}

int bak_object_write_unless(struct bak_segmenter *segmenter, const struct bak_tree *previous,
			    const struct bak_ref *old, enum bak_object_kind kind,
			    const struct bak_buf *payload, struct bak_ref *out,
			    struct bak_error *err)
{
	if (previous && old->len == payload->len + BAK_OBJECT_PREFIX) {
		struct bak_error scratch = BAK_ERROR_INIT;
		BAK_AUTO(bak_pin_put_ptr) struct bak_pin *pin = NULL;
		enum bak_object_kind old_kind;
		const uint8_t *p;
		uint32_t len;
		/* A predecessor that cannot be read is simply not used. */
		if (bak_source_object(previous->source, old, &old_kind, &p, &len, &pin, &scratch) ==
			    0 &&
		    old_kind == kind && len == payload->len && memcmp(p, payload->p, len) == 0) {
			*out = *old;
			return 0;
		}
	}
	return bak_segmenter_object(segmenter, BAK_CLASS_TREE, kind, payload, NULL, 0, out, err);
}

/* --- pages of first names --- */

static int push_line(struct bak_folder_level *level, const struct bak_name_line *line)
{
	if (bak_grow(&level->v, &level->cap, level->n, sizeof *level->v) < 0)
		return -1;
	char *first = malloc(line->first_len + 1);
	if (!first)
		return -1;
	memcpy(first, line->first, line->first_len);
	first[line->first_len] = '\0';
	level->v[level->n] = *line;
	level->v[level->n++].first = first;
	level->bytes += line->first_len + 40;
	return 0;
}

/* Writes a level's lines as a page of first names. *out: its line; out->first is the caller's to
 * free. */
static int close_level(struct bak_folder_writer *fw, struct bak_folder_level *level, bool top,
		       struct bak_name_line *out, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf payload = BAK_BUF_INIT;
	struct bak_ref none = {.len = 0};
	*out = (struct bak_name_line){.first = NULL};
	if (bak_names_encode(level->v, level->n, &payload, err) < 0)
		return -1;
	*out = (struct bak_name_line){.first = level->v[0].first,
				      .first_len = level->v[0].first_len};
	for (size_t i = 0; i < level->n; i++) {
		bak_totals_add(&out->totals, &level->v[i].totals);
		if (i)
			free((char *)level->v[i].first);
	}
	level->n = level->bytes = 0;
	return bak_object_write_unless(fw->segmenter, fw->previous, top ? &fw->previous_dir : &none,
				       BAK_OBJECT_NAMES, &payload, &out->ref, err);
}

static int add_line(struct bak_folder_writer *fw, int i, const struct bak_name_line *line,
		    struct bak_error *err)
{
	if (i == BAK_FOLDER_LEVELS)
		return bak_error_set(err, BAK_UNSUPPORTED, "a folder of too many entries");
	struct bak_folder_level *level = &fw->levels[i];
	if (push_line(level, line) < 0)
		return bak_error_nomem(err);
	bool mark = (name_hash(line->first, line->first_len) >> 8 & PAGE_MARK) == 0;
	if (level->bytes < PAGE_MAX && !(level->bytes >= PAGE_MIN && mark))
		return 0;
	struct bak_name_line up;
	int rc = close_level(fw, level, false, &up, err);
	if (rc == 0)
		rc = add_line(fw, i + 1, &up, err);
	free((char *)up.first);
	return rc;
}

/* --- pages --- */

/* The predecessor's page that began with the same name, or none. */
static void previous_page(struct bak_folder_writer *fw, struct bak_ref *out)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	*out = (struct bak_ref){.len = 0};
	if (!fw->previous || fw->previous_dir.len == 0)
		return;
	if (bak_folder_page_ref(fw->previous, &fw->previous_dir, fw->entries[0].name,
				fw->entries[0].name_len, out, &scratch) != 1)
		out->len = 0;
}

static int close_page(struct bak_folder_writer *fw, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf payload = BAK_BUF_INIT;
	struct bak_name_line line = {.first = fw->entries[0].name,
				     .first_len = fw->entries[0].name_len};
	struct bak_ref old;
	for (size_t i = 0; i < fw->n; i++)
		bak_totals_add_entry(&line.totals, &fw->entries[i]);
	if (bak_page_encode(fw->entries, fw->n, &payload, err) < 0)
		return -1;
	previous_page(fw, &old);
	if (bak_object_write_unless(fw->segmenter, fw->previous, &old, BAK_OBJECT_PAGE, &payload,
				    &line.ref, err) < 0)
		return -1;
	bak_totals_add(&fw->totals, &line.totals);
	int rc = add_line(fw, 0, &line, err);
	fw->n = fw->page_bytes = 0;
	fw->names.len = 0;
	return rc;
}

/* Copies what an entry points to. The buffer may move while a page grows, so until the page is
 * closed entries hold offsets into it; see rebase. */
static int copy_bytes(struct bak_folder_writer *fw, const void *p, size_t len, const void **out)
{
	*out = (const void *)(uintptr_t)fw->names.len;
	return bak_buf_append(&fw->names, p, len);
}

static void rebase(struct bak_folder_writer *fw)
{
	for (size_t i = 0; i < fw->n; i++) {
		struct bak_entry *e = &fw->entries[i];
		e->name = (const char *)fw->names.p + (uintptr_t)e->name;
		e->inode.xattrs = fw->names.p + (uintptr_t)e->inode.xattrs;
		e->inode.target = (const char *)fw->names.p + (uintptr_t)e->inode.target;
	}
}

static int copy_entry(struct bak_folder_writer *fw, const struct bak_entry *entry)
{
	if (bak_grow(&fw->entries, &fw->cap, fw->n, sizeof *fw->entries) < 0)
		return -1;
	struct bak_entry *e = &fw->entries[fw->n];
	const struct bak_inode *in = &entry->inode;
	const void *name, *xattrs, *target;
	if (copy_bytes(fw, entry->name, entry->name_len, &name) < 0 ||
	    copy_bytes(fw, in->xattrs, in->xattrs_len, &xattrs) < 0 ||
	    copy_bytes(fw, in->target, in->target_len, &target) < 0)
		return -1;
	*e = *entry;
	e->name = name;
	e->inode.xattrs = xattrs;
	e->inode.target = target;
	fw->n++;
	/* About what it takes in the page. */
	fw->page_bytes += entry->name_len + in->xattrs_len + in->target_len + 48 +
			  (in->type == BAK_TYPE_FILE ? 40 : 0);
	return 0;
}

int bak_folder_writer_add(struct bak_folder_writer *fw, const struct bak_entry *entry,
			  struct bak_error *err)
{
	if (fw->last_name.len > 0 && bak_name_cmp((const char *)fw->last_name.p, fw->last_name.len,
						  entry->name, entry->name_len) >= 0)
		return bak_error_set(err, BAK_BUG, "entries of a folder out of order");
	fw->last_name.len = 0;
	if (bak_buf_append(&fw->last_name, entry->name, entry->name_len) < 0 ||
	    copy_entry(fw, entry) < 0)
		return bak_error_nomem(err);
	bool mark = (name_hash(entry->name, entry->name_len) & PAGE_MARK) == 0;
	if (fw->page_bytes < PAGE_MAX && !(fw->page_bytes >= PAGE_MIN && mark))
		return 0;
	rebase(fw);
	return close_page(fw, err);
}

static int top_level(const struct bak_folder_writer *fw)
{
	int top = 0;
	for (int i = 0; i < BAK_FOLDER_LEVELS; i++)
		if (fw->levels[i].n > 0)
			top = i;
	return top;
}

/* Closes the levels below the top one into it; then the top one, unless it is a lone line. */
static int close_levels(struct bak_folder_writer *fw, struct bak_ref *out, struct bak_error *err)
{
	int top = top_level(fw);
	for (int i = 0; i < top; i++) {
		struct bak_name_line up;
		if (fw->levels[i].n == 0)
			continue;
		int rc = close_level(fw, &fw->levels[i], false, &up, err);
		if (rc == 0 && push_line(&fw->levels[i + 1], &up) < 0)
			rc = bak_error_nomem(err);
		free((char *)up.first);
		if (rc < 0)
			return -1;
	}
	struct bak_folder_level *level = &fw->levels[top];
	if (level->n == 1) {
		*out = level->v[0].ref;
		return 0;
	}
	struct bak_name_line root;
	int rc = close_level(fw, level, true, &root, err);
	free((char *)root.first);
	*out = root.ref;
	return rc;
}

int bak_folder_writer_finish(struct bak_folder_writer *fw, struct bak_inode *dir,
			     struct bak_error *err)
{
	if (fw->n > 0) {
		rebase(fw);
		if (close_page(fw, err) < 0)
			return -1;
	}
	dir->totals = fw->totals;
	dir->dir = (struct bak_ref){.len = 0};
	return fw->totals.entries > 0 ? close_levels(fw, &dir->dir, err) : 0;
}
