/*
 * What `bakfs mount -o` takes: ours, those of mount(8) that mean something to us, and the words of
 * fstab that mean something to others.
 */
#ifndef BAK_TOOLS_MOUNT_OPTIONS_H
#define BAK_TOOLS_MOUNT_OPTIONS_H

#include "engine/base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct bak_mount_options {
	bool read_only, allow_other, owner, verify_full;
	long long uid, gid, umask;                               /* -1: as stored */
	long long restore_gid;                                   /* -1: none */
	long long timeout_s;                                     /* 0: none */
	uint64_t cache_bytes;                                    /* 0: the configuration's */
	char *store, *snapshot, *log, *key_file, *password_file; /* owned, may be NULL */
	char *passed; /* to FUSE, comma separated, may be NULL */
};

void bak_mount_options_init(struct bak_mount_options *options);
void bak_mount_options_release(struct bak_mount_options *options);
/* One -o argument; may be called several times. BAK_USAGE for what nobody knows. */
int bak_mount_options_parse(struct bak_mount_options *options, const char *text,
			    struct bak_error *err);

#endif
