/*
 * Where an errno is chosen: one table from error codes.
 */
#ifndef BAK_FS_ERRNO_H
#define BAK_FS_ERRNO_H

#include "engine/base/error.h"

/* Never 0. */
int bak_errno_of(const struct bak_error *err);

#endif
