/* What could not be read: one line in the log for each, and the errno. */
#include "fs/errno.h"
#include "fs/fs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

static int path_append(struct bak_buf *path, const struct bak_entry *entry)
{
	if (path->len && bak_buf_append(path, "/", 1) < 0)
		return -1;
	return bak_buf_append(path, entry->name, entry->name_len);
}

/* The path of preorder number n, as far down as the folders can be read. */
static void path_of(const struct bak_tree *tree, uint64_t n, struct bak_buf *path)
{
	struct bak_ref dir = tree->snapshot->root.dir;
	while (n && dir.len) {
		struct bak_error err = BAK_ERROR_INIT;
		BAK_AUTO(bak_found_release) struct bak_found found = BAK_FOUND_INIT;
		if (bak_folder_at(tree, &dir, n, &found, &err) <= 0 ||
		    path_append(path, &found.entry) < 0)
			return;
		n -= found.preorder;
		dir = found.entry.inode.dir;
	}
}

/* Places in which a line's hash may stand. */
#define PROBES 16

/* True for the first of equal lines: the kernel asks again for each page of a failed read. A table
 * of thousands; when it is full an old line falls out, and may be logged once more. */
static bool first_time(struct bak_fs *fs, const char *line)
{
	uint64_t h = bak_ino_hash(BAK_RANGE_VIRTUAL, line, 2);
	size_t n = sizeof fs->damage_seen / sizeof *fs->damage_seen;
	for (size_t i = 0; i < PROBES; i++) {
		uint_fast64_t was = 0;
		if (atomic_compare_exchange_strong(&fs->damage_seen[(h + i) % n], &was, h))
			return true;
		if (was == h)
			return false;
	}
	return atomic_exchange(&fs->damage_seen[h % n], h) != h;
}

/* Forgotten, and perhaps pruned: what is open of it may be gone, and nothing is damaged. */
static bool is_forgotten(struct bak_fs *fs, uint64_t number)
{
	struct bak_error ignored = BAK_ERROR_INIT;
	struct bak_snapshot_row row = {.number = 0};
	int rc = bak_index_snapshot(bak_repo_index(fs->repo), number, &row, &ignored);
	bool forgotten = rc == 0 || (rc > 0 && row.forgotten);
	if (rc > 0)
		bak_snapshot_row_release(&row);
	return forgotten;
}

static bool is_forgotten_by_now(struct bak_fs *fs, uint64_t number)
{
	struct bak_error ignored = BAK_ERROR_INIT;
	bool changed;
	return bak_repo_refresh_snapshots(fs->repo, &changed, &ignored) >= 0 &&
	       is_forgotten(fs, number);
}

int bak_damage(struct bak_fs *fs, const struct bak_tree *tree, struct bak_ino at,
	       const struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf path = BAK_BUF_INIT;
	char name[1024], line[2048], where[128] = "";
	if (is_forgotten(fs, at.number))
		return ESTALE;
	if (tree) {
		if (at.range == BAK_RANGE_TREE)
			path_of(tree, at.n, &path);
		else
			bak_buf_printf(&path, "hard link %llu", (unsigned long long)at.n);
		snprintf(where, sizeof where, " of %s", tree->snapshot->store);
	}
	if (bak_buf_append(&path, "", 1) < 0)
		return bak_errno_of(err);
	bak_error_quote(path.len > 1 ? (const char *)path.p : ".", name, sizeof name);
	snprintf(line, sizeof line, "%s: snapshot %llu%s: %s", name, (unsigned long long)at.number,
		 where, err->msg);
	if (first_time(fs, line)) {
		if (is_forgotten_by_now(fs, at.number))
			return ESTALE;
		atomic_fetch_add(&fs->damaged_reads, 1);
		bak_fs_log(fs, LOG_ERR, "%s", line);
	}
	return bak_errno_of(err);
}
