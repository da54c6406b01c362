/*
 * Forgetting: puts the sealed record that says that numbers are no snapshots any more. The objects
 * stay until a prune deletes them. Which snapshots may go is for the caller to decide: policy.h.
 */
#ifndef BAK_OPS_FORGET_H
#define BAK_OPS_FORGET_H

#include "engine/ops/repo.h"

/* Writes forgotten/<first> or forgotten/<first>-<last>; the index knows it on return. The numbers
 * need not have snapshots: lost ones get their record so too. Numbers that a record covers already
 * are left alone. BAK_USAGE for an empty range, or one beyond the highest number that was ever
 * seen: it would use up numbers. The state remembers it from the next refresh on. */
int bak_repo_forget(struct bak_repo *repo, uint64_t first, uint64_t last, struct bak_error *err);
/* Whether records cover all of these numbers. */
bool bak_repo_is_forgotten(struct bak_repo *repo, uint64_t first, uint64_t last);

#endif
