/*
 * bakfs diff: what changed between two snapshots.
 *
 * Both trees are walked side by side, in the order of names. Folders whose references are equal are
 * the same stored object and are passed over; but an entry of a hard-linked inode says only its
 * number in the link table, so with different link tables every folder is entered.
 */
#include "engine/content/folder.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/snapshots.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const struct bak_option bak_options_diff[] = {
	{0, "stat", NULL, "only how much changed", false},
	{0, NULL, NULL, NULL, false},
};

struct tally {
	uint64_t entries, bytes;
};

struct diff {
	struct bak_tool *tool;
	struct bak_tree old, new;
	bool stat, same_links;
	bool comma; /* JSON: something stands before */
	struct bak_buf path;
	struct tally added, removed, changed;
	int64_t grown; /* bytes that changed files became larger */
};

/* One folder of one side. */
struct side {
	struct bak_cursor *cursor;
	const struct bak_found *at; /* NULL at the end */
};

static const struct bak_ref no_dir;

/* ---- telling ---- */

enum what {
	WHAT_CONTENT = 1,
	WHAT_MODE = 2,
	WHAT_OWNER = 4,
	WHAT_TIME = 8,
	WHAT_XATTRS = 16,
	WHAT_TARGET = 32,
	WHAT_DEVICE = 64,
};
static const char *const what_names[] = {"content", "mode",   "owner", "time",
					 "xattrs",  "target", "device"};
#define N_WHATS (sizeof(what_names) / sizeof(what_names[0]))

static const char *type_name(enum bak_type type)
{
	static const char *const names[] = {"unknown", "file",   "folder", "symlink",
					    "fifo",    "device", "device", "socket"};

	return (size_t)type < sizeof(names) / sizeof(names[0]) ? names[type] : names[0];
}

static uint64_t size_of(const struct bak_inode *inode)
{
	return inode && inode->type == BAK_TYPE_FILE ? inode->size : 0;
}

static int print_json(struct diff *diff, const char *change, const struct bak_inode *old,
		      const struct bak_inode *new, unsigned what)
{
	json_t *entry = json_object(), *array;
	size_t i;
	int rc;

	json_object_set_new(entry, "change", json_string(change));
	rc = bak_json_set_name(entry, "path", (const char *)diff->path.p, diff->path.len);
	json_object_set_new(entry, "type", json_string(type_name(new ? new->type : old->type)));
	if (old)
		json_object_set_new(entry, "old_size", json_integer((json_int_t)size_of(old)));
	if (new)
		json_object_set_new(entry, "new_size", json_integer((json_int_t)size_of(new)));
	if (what) {
		array = json_array();
		for (i = 0; i < N_WHATS; i++) {
			if (what & 1u << i)
				json_array_append_new(array, json_string(what_names[i]));
		}
		json_object_set_new(entry, "what", array);
	}
	fputs(diff->comma ? ",\n    " : "\n    ", stdout);
	diff->comma = true;
	if (json_dumpf(entry, stdout, 0) < 0)
		rc = -1;
	json_decref(entry);
	return rc;
}

static int print_text(struct diff *diff, char sign, const struct bak_inode *old,
		      const struct bak_inode *new, unsigned what)
{
	BAK_AUTO(bak_free_ptr) char *name = bak_name_text((char *)diff->path.p, diff->path.len);
	const struct bak_inode *inode = new ? new : old;
	char before[BAK_SIZE_TEXT], after[BAK_SIZE_TEXT];
	const char *comma = "";
	size_t i;

	if (!name)
		return -1;
	printf("%c %s%s", sign, name, inode->type == BAK_TYPE_DIR ? "/" : "");
	if (what & WHAT_CONTENT)
		printf("  %s -> %s", bak_size_text(size_of(old), before),
		       bak_size_text(size_of(new), after));
	else if (!what && inode->type == BAK_TYPE_FILE)
		printf("  %s", bak_size_text(inode->size, after));
	for (i = 0; i < N_WHATS; i++) {
		if (what & 1u << i) {
			printf("%s%s", *comma ? comma : "  (", what_names[i]);
			comma = ", ";
		}
	}
	puts(what ? ")" : "");
	return 0;
}

static int tell(struct diff *diff, const struct bak_inode *old, const struct bak_inode *new,
		unsigned what, struct bak_error *err)
{
	struct tally *tally = old && new ? &diff->changed : new ? &diff->added : &diff->removed;
	const char *change = old && new ? "changed" : new ? "added" : "removed";
	int rc = 0;

	tally->entries++;
	tally->bytes += size_of(new ? new : old);
	if (old && new)
		diff->grown += (int64_t)size_of(new) - (int64_t)size_of(old);
	if (!diff->stat && diff->tool->json)
		rc = print_json(diff, change, old, new, what);
	else if (!diff->stat)
		rc = print_text(diff, old && new ? 'M' : new ? '+' : '-', old, new, what);
	return rc < 0 ? bak_error_nomem(err) : 0;
}

/* ---- comparing ---- */

static unsigned compare(const struct bak_inode *a, const struct bak_inode *b)
{
	unsigned what = 0;

	if (a->type == BAK_TYPE_FILE &&
	    (a->size != b->size || (a->size && memcmp(a->sha256, b->sha256, sizeof(a->sha256)))))
		what |= WHAT_CONTENT;
	if (a->mode != b->mode)
		what |= WHAT_MODE;
	if (a->uid != b->uid || a->gid != b->gid)
		what |= WHAT_OWNER;
	if (a->mtime_s != b->mtime_s || a->mtime_ns != b->mtime_ns)
		what |= WHAT_TIME;
	if (a->xattrs_len != b->xattrs_len ||
	    (a->xattrs_len && memcmp(a->xattrs, b->xattrs, a->xattrs_len)))
		what |= WHAT_XATTRS;
	if (a->type == BAK_TYPE_SYMLINK &&
	    (a->target_len != b->target_len || memcmp(a->target, b->target, a->target_len)))
		what |= WHAT_TARGET;
	if ((a->type == BAK_TYPE_CHAR || a->type == BAK_TYPE_BLOCK) &&
	    (a->major != b->major || a->minor != b->minor))
		what |= WHAT_DEVICE;
	return what;
}

static int walk(struct diff *diff, const struct bak_ref *old, const struct bak_ref *new,
		struct bak_error *err);

static const struct bak_ref *dir_of(const struct bak_inode *inode)
{
	return inode && inode->type == BAK_TYPE_DIR ? &inode->dir : &no_dir;
}

/* One name on one side or on both. A folder's own time changes with what is in it: not told. */
static int visit(struct diff *diff, const struct bak_entry *old, const struct bak_entry *new,
		 struct bak_error *err)
{
	const struct bak_inode *a = old ? &old->inode : NULL, *b = new ? &new->inode : NULL;
	const struct bak_entry *entry = new ? new : old;
	size_t len = diff->path.len;
	unsigned what = 0;
	int rc = 0;

	if ((len && bak_buf_append(&diff->path, "/", 1) < 0) ||
	    bak_buf_append(&diff->path, entry->name, entry->name_len) < 0)
		return bak_error_nomem(err);
	if (a && b && a->type == b->type) {
		what = compare(a, b);
		if (b->type == BAK_TYPE_DIR)
			what &= ~(unsigned)WHAT_TIME;
		if (what)
			rc = tell(diff, a, b, what, err);
		if (rc == 0)
			rc = walk(diff, dir_of(a), dir_of(b), err);
	} else {
		if (a)
			rc = tell(diff, a, NULL, 0, err);
		if (rc == 0 && a)
			rc = walk(diff, dir_of(a), &no_dir, err);
		if (rc == 0 && b)
			rc = tell(diff, NULL, b, 0, err);
		if (rc == 0 && b)
			rc = walk(diff, &no_dir, dir_of(b), err);
	}
	diff->path.len = len;
	return rc;
}

static int side_next(struct side *side, struct bak_error *err)
{
	int rc = bak_cursor_next(side->cursor, &side->at, err);

	if (rc == 0)
		side->at = NULL;
	return rc;
}

static int side_open(struct side *side, const struct bak_tree *tree, const struct bak_ref *dir,
		     struct bak_error *err)
{
	if (!dir->len)
		return 0;
	if (bak_cursor_open(tree, dir, 1, &side->cursor, err) < 0)
		return -1;
	return side_next(side, err);
}

static int walk_sides(struct diff *diff, struct side *old, struct side *new, struct bak_error *err)
{
	while (old->at || new->at) {
		int order = !old->at   ? 1
			    : !new->at ? -1
				       : bak_name_cmp(old->at->entry.name, old->at->entry.name_len,
						      new->at->entry.name, new->at->entry.name_len);

		if (visit(diff, order <= 0 ? &old->at->entry : NULL,
			  order >= 0 ? &new->at->entry : NULL, err) < 0)
			return -1;
		if (order <= 0 && side_next(old, err) < 0)
			return -1;
		if (order >= 0 && side_next(new, err) < 0)
			return -1;
	}
	return 0;
}

static int walk(struct diff *diff, const struct bak_ref *old, const struct bak_ref *new,
		struct bak_error *err)
{
	struct side a = {NULL, NULL}, b = {NULL, NULL};
	int rc;

	if (diff->same_links && bak_ref_equal(old, new))
		return 0;
	rc = side_open(&a, &diff->old, old, err);
	if (rc >= 0)
		rc = side_open(&b, &diff->new, new, err);
	if (rc >= 0)
		rc = walk_sides(diff, &a, &b, err);
	bak_cursor_close(a.cursor);
	bak_cursor_close(b.cursor);
	return rc < 0 ? -1 : 0;
}

/* ---- the command ---- */

static json_t *tally_json(const struct tally *tally)
{
	return json_pack("{s:I, s:I}", "entries", (json_int_t)tally->entries, "bytes",
			 (json_int_t)tally->bytes);
}

static int print_stat(struct diff *diff)
{
	char added[BAK_SIZE_TEXT], removed[BAK_SIZE_TEXT], grown[BAK_SIZE_TEXT];
	uint64_t by = diff->grown < 0 ? (uint64_t)-diff->grown : (uint64_t)diff->grown;
	json_t *json;

	if (!diff->tool->json) {
		printf("%" PRIu64 " added (%s), %" PRIu64 " removed (%s), %" PRIu64
		       " changed (%s%s)\n",
		       diff->added.entries, bak_size_text(diff->added.bytes, added),
		       diff->removed.entries, bak_size_text(diff->removed.bytes, removed),
		       diff->changed.entries, diff->grown < 0 ? "-" : "+",
		       bak_size_text(by, grown));
		return 0;
	}
	json = json_pack("{s:o, s:o, s:o, s:I}", "added", tally_json(&diff->added), "removed",
			 tally_json(&diff->removed), "changed", tally_json(&diff->changed),
			 "grown_bytes", (json_int_t)diff->grown);
	fputs("\n  ],\n  \"stat\": ", stdout);
	json_dumpf(json, stdout, 0);
	printf("\n}\n");
	json_decref(json);
	return json ? 0 : -1;
}

static int run_diff(struct diff *diff, const struct bak_snapshot *old,
		    const struct bak_snapshot *new, struct bak_error *err)
{
	unsigned what = compare(&old->root, &new->root) & ~(unsigned)WHAT_TIME;

	diff->same_links = old->links == new->links &&
			   (!old->links || bak_ref_equal(&old->link_table, &new->link_table));
	if (diff->tool->json)
		printf("{\n  \"old\": %" PRIu64 ",\n  \"new\": %" PRIu64 ",\n  \"changes\": [",
		       old->number, new->number);
	if (what && bak_buf_append(&diff->path, ".", 1) < 0)
		return bak_error_nomem(err);
	if (what && tell(diff, &old->root, &new->root, what, err) < 0)
		return -1;
	diff->path.len = 0;
	if (walk(diff, &old->root.dir, &new->root.dir, err) < 0)
		return -1;
	if ((diff->stat || diff->tool->json) && print_stat(diff) < 0)
		return bak_error_nomem(err);
	return 0;
}

int bak_command_diff(struct bak_tool *tool)
{
	BAK_AUTO(bak_selection_release) struct bak_selection old = BAK_SELECTION_INIT;
	BAK_AUTO(bak_selection_release) struct bak_selection new = BAK_SELECTION_INIT;
	struct bak_error err = BAK_ERROR_INIT;
	struct diff diff = {
		.tool = tool,
		.stat = bak_args_count(&tool->args, "stat") > 0,
		.path = BAK_BUF_INIT,
	};
	int rc;

	if (tool->args.n_words != 2)
		return bak_tool_usage(tool, "diff needs two IDs; bakfs list shows them");
	if (bak_tool_open(tool, &err) < 0 ||
	    bak_select_one(tool, tool->args.words[0], &old, &err) < 0 ||
	    bak_select_one(tool, tool->args.words[1], &new, &err) < 0)
		return bak_tool_fail(tool, &err);
	diff.old = (struct bak_tree){bak_repo_source(tool->repo), &old.snapshots[0]};
	diff.new = (struct bak_tree){bak_repo_source(tool->repo), &new.snapshots[0]};
	rc = run_diff(&diff, &old.snapshots[0], &new.snapshots[0], &err);
	bak_buf_release(&diff.path);
	return rc < 0 ? bak_tool_fail(tool, &err) : bak_tool_done(tool);
}
