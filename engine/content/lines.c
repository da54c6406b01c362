/* The shallow tree above a file's spans: see lines.h. */
#include "engine/content/lines.h"

#include <stdlib.h>

/* A line takes about 20 bytes: a node of 64 to 1024 lines is 1 to 20 KiB, 150 lines on average. */
#define LINES_MIN 64
#define LINES_MAX 1024
#define MARK_MASK 63u

void bak_lines_init(struct bak_lines *lines, struct bak_segmenter *segmenter)
{
	*lines = (struct bak_lines){.segmenter = segmenter};
}

void bak_lines_release(struct bak_lines *lines)
{
	for (int i = 0; i < BAK_LINES_LEVELS; i++)
		free(lines->levels[i].v);
	*lines = (struct bak_lines){0};
}

void bak_lines_clear(struct bak_lines *lines)
{
	lines->n = 0;
	for (int i = 0; i < BAK_LINES_LEVELS; i++)
		lines->levels[i].n = lines->levels[i].len = 0;
}

static int push(struct bak_line_level *level, const struct bak_line *line)
{
	if (bak_grow(&level->v, &level->cap, level->n, sizeof *level->v) < 0)
		return -1;
	level->v[level->n++] = *line;
	level->len += line->len;
	return 0;
}

/* Writes a level's lines as an inner node; *out is the line for the level above. */
static int close_level(struct bak_lines *lines, struct bak_line_level *level, struct bak_line *out,
		       struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf payload = BAK_BUF_INIT;
	if (bak_inner_encode(level->v, level->n, &payload, err) < 0)
		return -1;
	*out = (struct bak_line){.kind = BAK_LINE_INNER, .len = level->len};
	level->n = level->len = 0;
	return bak_segmenter_object(lines->segmenter, BAK_CLASS_TREE, BAK_OBJECT_INNER, &payload,
				    NULL, 0, &out->ref, err);
}

static int add_at(struct bak_lines *lines, int i, const struct bak_line *line, uint8_t mark,
		  struct bak_error *err)
{
	if (i == BAK_LINES_LEVELS)
		return bak_error_set(err, BAK_UNSUPPORTED, "a file of too many spans");
	struct bak_line_level *level = &lines->levels[i];
	if (push(level, line) < 0)
		return bak_error_nomem(err);
	bool cut = level->n >= LINES_MAX || (level->n >= LINES_MIN && (mark & MARK_MASK) == 0);
	struct bak_line up;
	if (!cut)
		return 0;
	if (close_level(lines, level, &up, err) < 0)
		return -1;
	return add_at(lines, i + 1, &up, (uint8_t)(up.len >> 16), err);
}

int bak_lines_add(struct bak_lines *lines, const struct bak_line *line, uint8_t mark,
		  struct bak_error *err)
{
	lines->n++;
	return add_at(lines, 0, line, mark, err);
}

static int top_level(const struct bak_lines *lines)
{
	int top = 0;
	for (int i = 0; i < BAK_LINES_LEVELS; i++)
		if (lines->levels[i].n > 0)
			top = i;
	return top;
}

int bak_lines_finish(struct bak_lines *lines, struct bak_content *out, struct bak_error *err)
{
	int top = top_level(lines);
	struct bak_line up;
	for (int i = 0; i < top; i++) {
		struct bak_line_level *level = &lines->levels[i];
		if (level->n == 0)
			continue;
		if (close_level(lines, level, &up, err) < 0)
			return -1;
		if (push(&lines->levels[i + 1], &up) < 0)
			return bak_error_nomem(err);
	}
	struct bak_line_level *level = &lines->levels[top];
	struct bak_line root = level->v[0];
	if (level->n > 1 || root.kind < BAK_LINE_SPAN)
		if (close_level(lines, level, &root, err) < 0)
			return -1;
	out->kind = root.kind == BAK_LINE_SPAN ? BAK_CONTENT_SPAN : BAK_CONTENT_INNER;
	out->ref = root.ref;
	return 0;
}
