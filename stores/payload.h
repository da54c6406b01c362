/*
 * Payloads that a driver makes out of a server's answers, and gives back: inodes for files that
 * nobody ever had, and a snapshot's file as input for a program, or as a file that it can seek in.
 */
#ifndef BAK_STORES_PAYLOAD_H
#define BAK_STORES_PAYLOAD_H

#include "stores/stores.h"

/* Owned by who runs this, of now. */
void bak_payload_inode(struct bak_source_inode *out, enum bak_type type, uint32_t mode);

/* A file of a snapshot, piece by piece. Set env, source and inode; the rest is zero. */
struct bak_payload_reader {
	const struct bak_store_env *env;
	struct bak_source *source;
	const struct bak_inode *inode;
	uint64_t at; /* of the file, read so far */
	uint64_t before,
		all; /* for progress: bytes of files before it, and of all; 0: of it alone */
	uint8_t *buffer;
};
/* A bak_process_give. Tells progress. */
int bak_payload_give(void *ctx, const void **out_p, size_t *out_len, struct bak_error *err);
/* Reads all of it and begins anew: a damaged file must not reach a store half-way. */
int bak_payload_check(struct bak_payload_reader *reader, struct bak_error *err);
/* All of it into a file of our own in dir, which has no name and goes with its descriptor. Room for
 * it is checked first. see is shown each piece, and may be NULL. */
typedef int bak_payload_see(void *ctx, const void *p, size_t len, struct bak_error *err);
int bak_payload_spill(struct bak_payload_reader *reader, const char *dir, bak_payload_see *see,
		      void *ctx, int *out_fd, struct bak_error *err);
/* Bytes of all files of a snapshot without their holes. Slow: for when they do not fit otherwise. */
int bak_payload_allocated(const struct bak_restore_from *from, uint64_t *out,
			  struct bak_error *err);
/* What it takes to unpack it below dir, without holes if need be, and what is free there. */
int bak_payload_room(const struct bak_restore_from *from, int dir_fd, uint64_t *out_need,
		     uint64_t *out_room, struct bak_error *err);
void bak_payload_reader_release(struct bak_payload_reader *reader);

#endif
