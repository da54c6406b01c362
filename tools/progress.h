/*
 * One line on a terminal that says how far we are; nothing elsewhere.
 *
 * Threads: one at a time.
 */
#ifndef BAK_TOOLS_PROGRESS_H
#define BAK_TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct bak_progress {
	bool on;    /* standard error is a terminal and nobody asked for quiet */
	bool shown; /* a line stands there */
	const char *label;
	uint64_t total; /* bytes, perhaps an estimate; 0 unknown */
	uint64_t begun_ms, drawn_ms;
};

void bak_progress_init(struct bak_progress *progress, bool on);
/* A new thing begins; label is borrowed until the next one. */
void bak_progress_begin(struct bak_progress *progress, const char *label, uint64_t total);
/* Draws at most ten times a second. path: what is being worked on, may be NULL. */
void bak_progress_bytes(struct bak_progress *progress, uint64_t files, uint64_t bytes,
			const char *path);
/* The same without a count of files. */
void bak_progress_measure(struct bak_progress *progress, uint64_t bytes, const char *path);
/* For things counted, not measured. */
void bak_progress_count(struct bak_progress *progress, const char *what, uint64_t done,
			uint64_t total);
/* A state, with percent (-1: unknown) and bytes (0: unknown). */
void bak_progress_state(struct bak_progress *progress, const char *state, int percent,
			uint64_t bytes);
/* Takes the line away, so that something else can be printed. */
void bak_progress_clear(struct bak_progress *progress);

#endif
