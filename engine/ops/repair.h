/* The repairing half of check; see verify.h and check_private.h. */
#ifndef BAK_OPS_REPAIR_H
#define BAK_OPS_REPAIR_H

#include "engine/ops/check_private.h"

/* Small records that do not open. */
int bak_repair_objects(struct bak_checking *c, struct bak_error *err);

#endif
