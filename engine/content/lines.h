/*
 * The shallow tree above a file's spans: lines gathered level by level into inner nodes, cut by
 * content, so that an edit changes few of them. Levels close from below as they fill.
 */
#ifndef BAK_CONTENT_LINES_H
#define BAK_CONTENT_LINES_H

#include "engine/content/segmenter.h"

#define BAK_LINES_LEVELS 12

struct bak_lines {
	struct bak_segmenter *segmenter; /* borrowed */
	size_t n;                        /* lines added to the lowest level so far */
	struct bak_line_level {
		struct bak_line *v;
		size_t n, cap;
		uint64_t len; /* bytes of the file below */
	} levels[BAK_LINES_LEVELS];
};

void bak_lines_init(struct bak_lines *lines, struct bak_segmenter *segmenter);
void bak_lines_release(struct bak_lines *lines);
void bak_lines_clear(struct bak_lines *lines);
/* mark: a byte that depends on the line's content: decides where nodes end. */
int bak_lines_add(struct bak_lines *lines, const struct bak_line *line, uint8_t mark,
		  struct bak_error *err);
/* What the folder's entry says: a lone span, or the topmost inner node. */
int bak_lines_finish(struct bak_lines *lines, struct bak_content *out, struct bak_error *err);

#endif
