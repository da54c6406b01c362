/*
 * The two ways of bakfs restore: into a folder, and into the live store.
 */
#ifndef BAK_TOOLS_RESTORE_H
#define BAK_TOOLS_RESTORE_H

#include "tools/snapshots.h"

/* Both read their options from tool->args, say what they did and return the exit status. */
int bak_restore_to(struct bak_tool *tool, const struct bak_selection *selection, const char *to);
int bak_restore_live(struct bak_tool *tool, const struct bak_selection *selection);

#endif
