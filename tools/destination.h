/*
 * Folders to write into: where they really are, and whether that is a place we may write to.
 */
#ifndef BAK_TOOLS_DESTINATION_H
#define BAK_TOOLS_DESTINATION_H

#include "engine/base/error.h"

#include <stdbool.h>

/* The real path of a folder that need not be there yet: links resolved as far as it exists. To
 * free; NULL with err filled. */
char *bak_destination_real(const char *path, struct bak_error *err);
/* Is path (real) folder itself, or below it? */
bool bak_destination_is_below(const char *path, const char *folder);
/* BAK_REFUSED when the place lies in a mounted bakfs: what is restored there would be an upload, or
 * nothing. */
int bak_destination_refuse_mount(const char *path, struct bak_error *err);
/* Makes the folder with all that is missing above it. */
int bak_destination_make(const char *path, struct bak_error *err);
/* 1 nothing in it or not there, 0 something is, -1. */
int bak_destination_is_empty(const char *path, struct bak_error *err);

#endif
