/*
 * A prune as it is told on the command line, for `bakfs prune` and `bakfs forget --prune`.
 */
#ifndef BAK_TOOLS_PRUNE_H
#define BAK_TOOLS_PRUNE_H

#include "engine/ops/prune.h"
#include "tools/tool.h"

/* The repository is open. options: dry_run, alone and max_unused are looked at. Returns the exit
 * status. */
int bak_tool_prune(struct bak_tool *tool, const struct bak_prune_conf *options);

#endif
