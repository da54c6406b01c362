/*
 * Names changing places in the file system, as restores need it: a new tree or file is made under a
 * name of its own beside the old one, and then both are exchanged in one step, so that at each
 * moment one of them, whole, has the live name; the old one keeps the other name.
 *
 * The same call undoes it: a toggle of (live, kept) puts back what was there, and once more brings
 * the new one again.
 */
#ifndef BAK_STORES_PLACE_H
#define BAK_STORES_PLACE_H

#include "engine/base/error.h"

/* Both names there: exchanged. One of them: it takes the other's name. None: BAK_NOT_FOUND. Both
 * folders are durable then. On the way back from a failure nothing has changed. */
int bak_place_toggle(int live_dir, const char *live, int kept_dir, const char *kept,
		     struct bak_error *err);

/* The exchange alone, where the file system knows none of its own: three renames, undone when one
 * fails. For bak_place_toggle, and for tests. */
int bak_place_exchange_by_renames(int live_dir, const char *live, int kept_dir, const char *kept,
				  struct bak_error *err);

/* Removes a file, or a folder with all that is in it, however deep. Not there is fine. */
int bak_place_remove(int dir_fd, const char *name, struct bak_error *err);

/* Makes a folder ".<base>.bakfs-new-<random>" in dir_fd, 0700, to unpack into; its name into out,
 * which holds NAME_MAX + 1. *out_fd is held locked (flock) while it is in use; first those of
 * earlier restores are removed, that were killed and hold no lock. */
int bak_place_make_fresh(int dir_fd, const char *base, char *out, int *out_fd,
			 struct bak_error *err);
/* "<base>.before-<stamp>", or with "-2" and so on behind it when that is taken in dir_fd. */
int bak_place_kept_name(int dir_fd, const char *base, char *out, struct bak_error *err);

#endif
