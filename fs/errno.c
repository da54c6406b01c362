/* The table from error codes to errno: see errno.h. */
#include "fs/errno.h"

#include <errno.h>

static const int errno_of_code[] = {
	[BAK_OK] = EIO, /* a failure that forgot to say which */
	[BAK_NOT_FOUND] = ENOENT,
	[BAK_EXISTS] = EEXIST,
	[BAK_CORRUPT] = EIO,
	[BAK_WRONG_KEY] = EIO,
	[BAK_IO] = EIO,
	[BAK_NO_SPACE] = ENOSPC,
	[BAK_NO_MEMORY] = ENOMEM,
	/* Not EAGAIN: programs that read files do not know it. */
	[BAK_UNAVAILABLE] = ETIMEDOUT,
	[BAK_REFUSED] = EPERM,
	[BAK_UNSUPPORTED] = EOPNOTSUPP,
	[BAK_USAGE] = EINVAL,
	[BAK_BUSY] = EBUSY,
	[BAK_CANCELLED] = ECANCELED,
	[BAK_BUG] = EIO,
};

int bak_errno_of(const struct bak_error *err)
{
	unsigned code = (unsigned)err->code;
	if (code >= sizeof errno_of_code / sizeof *errno_of_code)
		return EIO;
	return errno_of_code[code];
}
