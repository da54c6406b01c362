/*
 * Folders as tree objects: pages of entries, pages of first names above them, and the link table in
 * the same shape. Codec only.
 *
 * Each payload begins with u8 version = 1, run table (span.h), varint n; then n times
 *   folder page, sorted by name as bytes:
 *     varint length, name
 *     u8 type: 1 file, 2 folder, 3 symlink, 4 FIFO, 5 character device, 6 block device, 7 socket
 *       (never written); + 0x80 when the inode stands in the link table
 *     linked: varint link number; else the inode
 *   page of first names:
 *     varint length, first name below
 *     reference (to a folder page or another page of first names)
 *     totals
 *   link page, sorted by number:
 *     varint number (difference from the last)
 *     varint count of names in the snapshot
 *     u8 type, inode
 *   page of first link numbers:
 *     varint first number (difference from the last)
 *     reference
 *     varint links below
 *
 * Inode:
 *   varint mode (the 12 permission bits), varint uid, varint gid
 *   zigzag mtime seconds, varint ns, zigzag ctime seconds, varint ns
 *   varint ino, u8 flags (BAK_INODE_* below)
 *   varint length of the xattr block; the block: (varint length, name, varint length, value) until
 *     its end, sorted by name
 *   then by type
 *     file     varint size; if not 0: 32 SHA-256, u8 content kind (enum bak_content_kind), and
 *              for one extent (as long as the file): u8 extent kind, for bytes also varint run,
 *              varint counter, varint off; for others: reference
 *     folder   totals; entries > 0: reference to its top page
 *     symlink  varint length, target
 *     devices  varint major, varint minor
 *
 * Totals are five varints that count what lies under a reference:
 *   entries   all names at any depth
 *   files     names of regular files that have a SHA-256, hard-linked ones included
 *   escaped   how many of their checksum lines begin with a backslash (GNU escaping: names with
 *             backslash, newline or CR)
 *   bytes     sizes of regular files that are not hard-linked (those: once, in the snapshot)
 *   sums_len  length of the files' lines in a SHA256SUMS relative to that folder
 *
 * Preorder numbers: a folder's own number is p; its first entry's is p + 1; the next entry's is
 * that of the one before plus 1 plus its totals.entries.
 */
#ifndef BAK_OBJECTS_TREE_H
#define BAK_OBJECTS_TREE_H

#include "engine/objects/span.h"

#include <sys/types.h>

enum bak_type {
	BAK_TYPE_FILE = 1,
	BAK_TYPE_DIR = 2,
	BAK_TYPE_SYMLINK = 3,
	BAK_TYPE_FIFO = 4,
	BAK_TYPE_CHAR = 5,
	BAK_TYPE_BLOCK = 6,
	BAK_TYPE_SOCKET = 7,
};

#define BAK_INODE_CHANGED 1u /* the file changed while it was read */
#define BAK_INODE_REREAD 2u  /* not trusted as unchanged next time */
#define BAK_INODE_NOSUM 4u   /* has no SHA-256 */
#define BAK_INODE_SOLID 8u   /* a file without holes: all of its size is allocated */

struct bak_totals {
	uint64_t entries, files, escaped, bytes, sums_len;
};

/* An inode of a snapshot. Pointers are borrowed from whoever handed it out. */
struct bak_inode {
	enum bak_type type;
	uint32_t mode; /* 07777 bits only */
	uint32_t uid, gid;
	int64_t mtime_s, ctime_s;
	uint32_t mtime_ns, ctime_ns;
	uint64_t ino;
	uint8_t flags;
	const uint8_t *xattrs; /* the encoded block */
	size_t xattrs_len;
	/* file */
	uint64_t size;
	uint8_t sha256[32];
	struct bak_content content;
	/* folder */
	struct bak_totals totals;
	struct bak_ref dir; /* len 0 when empty */
	/* symlink: not terminated */
	const char *target;
	size_t target_len;
	/* devices */
	uint32_t major, minor;
};

struct bak_entry {
	const char *name; /* not terminated */
	size_t name_len;
	bool linked;   /* then only inode.type is set here */
	uint64_t link; /* number in the link table */
	struct bak_inode inode;
};

/* A parsed page. Pointers inside borrow from the payload, which must outlive it. */
struct bak_page {
	size_t n;
	struct bak_entry *entries;
	uint64_t *preorder; /* of entry i, relative to the page's first being 0; [n] is the end */
};
int bak_page_encode(const struct bak_entry *entries, size_t n, struct bak_buf *out,
		    struct bak_error *err);
int bak_page_decode(const void *payload, size_t len, struct bak_page *out, struct bak_error *err);
void bak_page_release(struct bak_page *page);

struct bak_names {
	size_t n;
	struct bak_name_line {
		const char *first;
		size_t first_len;
		struct bak_ref ref;
		struct bak_totals totals;
	} * lines;
	uint64_t *preorder; /* as in bak_page */
};
int bak_names_encode(const struct bak_name_line *lines, size_t n, struct bak_buf *out,
		     struct bak_error *err);
int bak_names_decode(const void *payload, size_t len, struct bak_names *out, struct bak_error *err);
void bak_names_release(struct bak_names *names);

struct bak_link {
	uint64_t number, count;
	struct bak_inode inode;
};
struct bak_links {
	size_t n;
	struct bak_link *links;
};
int bak_links_encode(const struct bak_link *links, size_t n, struct bak_buf *out,
		     struct bak_error *err);
int bak_links_decode(const void *payload, size_t len, struct bak_links *out, struct bak_error *err);
void bak_links_release(struct bak_links *links);

struct bak_link_names {
	size_t n;
	struct bak_link_line {
		uint64_t first, count;
		struct bak_ref ref;
	} * lines;
};
int bak_link_names_encode(const struct bak_link_line *lines, size_t n, struct bak_buf *out,
			  struct bak_error *err);
int bak_link_names_decode(const void *payload, size_t len, struct bak_link_names *out,
			  struct bak_error *err);
void bak_link_names_release(struct bak_link_names *names);

/* An inode alone, with a run table before it: the root in the snapshot. */
int bak_inode_encode(const struct bak_inode *inode, struct bak_buf *out, struct bak_error *err);
/* Borrows from the input. */
int bak_inode_decode(struct bak_bytes *in, struct bak_inode *out, struct bak_error *err);

/* The xattr block. Adding must go in the order of names (memcmp). */
int bak_xattrs_add(struct bak_buf *block, const char *name, const void *value, size_t value_len);
/* 1 and the next one (name not terminated), 0 at the end, -1 malformed. *at starts at 0. */
int bak_xattrs_next(const uint8_t *block, size_t len, size_t *at, const char **out_name,
		    size_t *out_name_len, const uint8_t **out_value, size_t *out_value_len);

/* Sorting of names: as bytes, shorter first. <0, 0, >0. */
int bak_name_cmp(const char *a, size_t a_len, const char *b, size_t b_len);
/* Length of a name in a checksum line, and whether it needs escaping. */
size_t bak_name_escaped_len(const char *name, size_t len, bool *out_escaped);
/* Adds one entry of a folder (a folder's entry with all that is below it) to that folder's totals.
 */
void bak_totals_add_entry(struct bak_totals *totals, const struct bak_entry *entry);
void bak_totals_add(struct bak_totals *totals, const struct bak_totals *more);

#endif
