/*
 * The parts of the files driver: the walk that backs up or counts (walk.c), a file's bytes
 * (read.c), what an inode says (inode.c), putting a tree in place of another
 * (restore.c). The driver itself is files.c.
 */
#ifndef BAK_STORES_FILES_H
#define BAK_STORES_FILES_H

#include "stores/files/exclude.h"
#include "stores/stores.h"

#include <sys/stat.h>

struct bak_files {
	const struct bak_store_conf *conf;
	const struct bak_store_env *env;
	const char *path;
	struct bak_exclude exclude;
	bool one_file_system, xattrs, database_warning;
	uint64_t reread;
	bool told_own_xattrs; /* of user.bakfs.* attributes: once is enough */
	bool restored;        /* the live tree is a snapshot's, of whatever patterns then */
};

struct bak_files_counts {
	uint64_t files, folders, bytes;
};

/* Walks path (a folder or a regular file) as this store's data. With a writer it backs up, without
 * one it only counts. *out_single: it is a file; its name is then path's last part, or name if that
 * is not NULL. */
int bak_files_walk(struct bak_files *files, const char *path, const char *name,
		   struct bak_writer *writer, struct bak_files_counts *out, bool *out_single,
		   struct bak_error *err);
int bak_files_counts_json(const struct bak_files_counts *counts, json_t *out,
			  struct bak_error *err);
/* The last part of path, which has no slash at its end. */
const char *bak_files_base(const char *path);

/* read.c. Content of an open file, as far as st says it goes; *out_read is how far it went. 1
 * read, 0 it cannot be read (errno), -1 the writer failed. */
struct bak_files_reader {
	const struct bak_store_env *env;
	struct bak_writer *writer;
	uint8_t *buffer; /* of BAK_FILES_READ_LEN */
};
/* One read. Larger ones win nothing; the writer takes any length. */
#define BAK_FILES_READ_LEN (1u << 20)
int bak_files_read(const struct bak_files_reader *reader, int fd, const struct statx *st,
		   uint64_t *out_read, struct bak_error *err);

/* inode.c. Extended attributes of one inode, into block (emptied first): of fd, or of name in
 * dir_fd when fd is -1. path is for messages. Only lack of memory is an error. */
struct bak_files_xattrs {
	struct bak_buf block; /* as struct bak_inode has it */
	struct bak_buf names, value, order;
};
int bak_files_xattrs_read(struct bak_files *files, struct bak_files_xattrs *xattrs, int fd,
			  int dir_fd, const char *name, const char *path, struct bak_error *err);
void bak_files_xattrs_release(struct bak_files_xattrs *xattrs);
/* Everything but extended attributes and symlink target. */
void bak_files_inode(const struct statx *st, struct bak_source_inode *out);
#define BAK_FILES_STATX (STATX_BASIC_STATS)

/* restore.c */
int bak_files_restore(struct bak_files *files, const struct bak_restore_from *from, json_t *state,
		      struct bak_error *err);
int bak_files_rollback(struct bak_files *files, const json_t *state, struct bak_error *err);

#endif
