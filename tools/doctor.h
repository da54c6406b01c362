/*
 * What is wrong with a store, a repository or this machine, and what to do about it: bakfs doctor,
 * and its quick form before a backup.
 */
#ifndef BAK_TOOLS_DOCTOR_H
#define BAK_TOOLS_DOCTOR_H

#include "stores/stores.h"
#include "tools/tool.h"

/* Before a backup: the repository's room and the clock. Findings are notes on standard error. */
void bak_doctor_repository(struct bak_tool *tool);
/* The same for an open store. bytes: its last good snapshot, 0 unknown. */
void bak_doctor_store(struct bak_tool *tool, const struct bak_store_conf *conf, void *store,
		      uint64_t bytes);

#endif
