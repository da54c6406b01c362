/*
 * One folder being written: sorted entries to pages, pages to pages of first names. A page that
 * comes out as it stands in the predecessor is not written again: its reference is taken over.
 *
 * Ownership: entries are copied in. Threads: one.
 */
#ifndef BAK_CONTENT_FOLDER_WRITER_H
#define BAK_CONTENT_FOLDER_WRITER_H

#include "engine/content/folder.h"
#include "engine/content/segmenter.h"

#define BAK_FOLDER_LEVELS 10

struct bak_folder_writer {
	struct bak_segmenter *segmenter; /* borrowed */
	const struct bak_tree *previous; /* borrowed; NULL: no predecessor */
	struct bak_ref previous_dir;     /* len 0: the folder was not there, or empty */
	struct bak_totals totals;
	struct bak_buf names; /* copies of names, xattrs, targets of the open page */
	struct bak_entry *entries;
	size_t n, cap, page_bytes;
	struct bak_buf last_name;
	struct bak_folder_level {
		struct bak_name_line *v; /* first names are owned */
		size_t n, cap, bytes;
	} levels[BAK_FOLDER_LEVELS];
};

void bak_folder_writer_init(struct bak_folder_writer *fw, struct bak_segmenter *segmenter,
			    const struct bak_tree *previous, const struct bak_ref *previous_dir);
void bak_folder_writer_release(struct bak_folder_writer *fw);
/* Copies the entry. BAK_BUG when the name does not sort behind the last one. */
int bak_folder_writer_add(struct bak_folder_writer *fw, const struct bak_entry *entry,
			  struct bak_error *err);
/* Fills dir->totals and dir->dir. */
int bak_folder_writer_finish(struct bak_folder_writer *fw, struct bak_inode *dir,
			     struct bak_error *err);

/* Writes a tree object unless the predecessor has the same bytes at ref `old` (len 0: it has not).
 */
int bak_object_write_unless(struct bak_segmenter *segmenter, const struct bak_tree *previous,
			    const struct bak_ref *old, enum bak_object_kind kind,
			    const struct bak_buf *payload, struct bak_ref *out,
			    struct bak_error *err);

#endif
