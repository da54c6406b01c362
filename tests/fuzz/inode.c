/* Inodes that stand alone, as a snapshot's root does. Input: version, run table, type, inode. What
 * decodes must encode to bytes that decode and encode to the same. */
#include "engine/objects/tree.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

static void encode(const struct bak_inode *inode, struct bak_buf *out)
{
	struct bak_error err = BAK_ERROR_INIT;
	if (bak_inode_encode(inode, out, &err) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_inode first, second;
	BAK_AUTO(bak_buf_release) struct bak_buf once = BAK_BUF_INIT, twice = BAK_BUF_INIT;
	struct bak_bytes in = bak_bytes_of(p, len);
	if (bak_inode_decode(&in, &first, &err) < 0)
		return 0;
	if ((first.mode & ~07777u) || first.mtime_ns > 999999999 || first.size > INT64_MAX)
		abort();
	encode(&first, &once);
	in = bak_bytes_of(once.p, once.len);
	if (bak_inode_decode(&in, &second, &err) < 0 || bak_bytes_left(&in))
		abort();
	encode(&second, &twice);
	if (once.len != twice.len || memcmp(once.p, twice.p, once.len) != 0)
		abort();
	return 0;
}
