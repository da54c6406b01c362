/*
 * Which paths to leave out, by patterns as in .gitignore:
 *   *.tmp      that name, at any depth          /cache    only at the top
 *   a/b        with a slash in it: from the top   dir/      folders only
 *   **         any number of folders: "**" "/x", "x/" "**", "a/" "**" "/b"
 *   ? [a-z] [!a-z] [[:digit:]] \x               !keep     takes an earlier match back
 * '*' and '?' never match a '/'. The last pattern that matches decides. What lies below a folder
 * that is left out cannot be taken back: nobody looks there. Bytes, not characters; matching takes
 * time in proportion to pattern times path at most.
 */
#ifndef BAK_STORES_EXCLUDE_H
#define BAK_STORES_EXCLUDE_H

#include "engine/base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct bak_exclude {
	size_t n;
	struct bak_exclude_rule {
		bool keep, folders_only, anchored;
		size_t n_parts;
		char **parts; /* between slashes */
		char *text;   /* what parts point into */
	} * rules;
};
#define BAK_EXCLUDE_INIT \
	{                \
		.n = 0   \
	}

/* BAK_USAGE for a pattern that can never match. */
int bak_exclude_add(struct bak_exclude *exclude, const char *pattern, struct bak_error *err);
/* path: relative, names joined by '/'. */
bool bak_exclude_match(const struct bak_exclude *exclude, const char *path, bool is_folder);
void bak_exclude_release(struct bak_exclude *exclude);

#endif
