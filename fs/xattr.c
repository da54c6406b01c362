/*
 * Extended attributes: the stored ones (ACLs and capabilities among them, as the kernel gave them
 * to the backup), and three of ours that prove what a file is. Ours answer by name and are never
 * listed: else `cp -a` and `rsync -X` would carry them away.
 */
#include "fs/fs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define OURS "user.bakfs."
/* `ls -l` asks for it, by name and of each file, unless one answers that there is no such thing. A
 * kernel with SELinux answers itself. */
#define LABEL "security.selinux"

/* SHA-256 of nothing: empty files store none. */
static const uint8_t sha256_of_nothing[32] = {
	0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4,
	0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b,
	0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
};

static void reply_value(fuse_req_t req, const void *value, size_t len, size_t size)
{
	if (!size)
		fuse_reply_xattr(req, len);
	else if (len > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, value, len);
}

/* Length of the value in text, or -1: no such attribute. */
static int our_value(const struct bak_place *place, const char *name, char *text, size_t text_len)
{
	const struct bak_inode *inode = &place->found.entry.inode;
	const struct bak_snapshot *snapshot = &place->snap->snapshot;
	if (strcmp(name, "snapshot") == 0)
		return snprintf(text, text_len, "%llu", (unsigned long long)snapshot->number);
	if (strcmp(name, "store") == 0)
		return snprintf(text, text_len, "%s", snapshot->store);
	if (strcmp(name, "sha256") == 0 && inode->type == BAK_TYPE_FILE &&
	    !(inode->flags & BAK_INODE_NOSUM)) {
		bak_hex(text, inode->size ? inode->sha256 : sha256_of_nothing, 32);
		return 64;
	}
	return -1;
}

static bool stored_value(const struct bak_inode *inode, const char *name, const uint8_t **out,
			 size_t *out_len)
{
	size_t at = 0, len, want = strlen(name);
	const char *have;
	while (bak_xattrs_next(inode->xattrs, inode->xattrs_len, &at, &have, &len, out, out_len) >
	       0)
		if (len == want && memcmp(have, name, len) == 0)
			return true;
	return false;
}

void bak_getxattr_reply(struct bak_fs *fs, fuse_req_t req, uint64_t ino, const char *name,
			size_t size)
{
	struct bak_place place;
	int no = bak_place_open(fs, ino, &place);
	if (no) {
		fuse_reply_err(req, no);
		return;
	}
	char text[128];
	const uint8_t *value;
	size_t len;
	int ours = -1;
	if (strncmp(name, OURS, strlen(OURS)) == 0)
		ours = our_value(&place, name + strlen(OURS), text, sizeof text);
	if (ours >= 0)
		reply_value(req, text, (size_t)ours, size);
	else if (stored_value(&place.found.entry.inode, name, &value, &len))
		reply_value(req, value, len, size);
	else
		fuse_reply_err(req, strcmp(name, LABEL) == 0 ? EOPNOTSUPP : ENODATA);
	bak_place_close(&place);
}

/* trusted.* is for the superuser, and a list that names what cannot be got confuses copying
 * programs. */
static bool listed(fuse_req_t req, const char *name, size_t len)
{
	static const char trusted[] = "trusted.";
	return fuse_req_ctx(req)->uid == 0 || len < sizeof trusted - 1 ||
	       memcmp(name, trusted, sizeof trusted - 1) != 0;
}

void bak_listxattr_reply(struct bak_fs *fs, fuse_req_t req, uint64_t ino, size_t size)
{
	struct bak_place place;
	int no = bak_place_open(fs, ino, &place);
	if (no) {
		fuse_reply_err(req, no);
		return;
	}
	const struct bak_inode *inode = &place.found.entry.inode;
	BAK_AUTO(bak_buf_release) struct bak_buf list = BAK_BUF_INIT;
	size_t at = 0, name_len, value_len;
	const char *name;
	const uint8_t *value;
	while (!no && bak_xattrs_next(inode->xattrs, inode->xattrs_len, &at, &name, &name_len,
				      &value, &value_len) > 0)
		if (listed(req, name, name_len) &&
		    (bak_buf_append(&list, name, name_len) < 0 || bak_buf_append(&list, "", 1) < 0))
			no = ENOMEM;
	if (no)
		fuse_reply_err(req, no);
	else
		reply_value(req, list.p, list.len, size);
	bak_place_close(&place);
}
