/*
 * The kernel's side of FUSE, played by a test: requests go to the file system's operations without a
 * mount, answers are caught. The repository is the one of tests/lib/world.h.
 *
 * What the kernel sees to is the caller's to see to: file handles are ones that were given out, a
 * folder is not moved into itself, names have no slash.
 * Threads: one at a time; an answer may come from a thread of the file system.
 */
#ifndef BAK_TESTS_FS_KERNEL_H
#define BAK_TESTS_FS_KERNEL_H

#include "tests/lib/world.h"

#include "fs/fs.h"

#include <linux/fuse.h>
#include <pthread.h>

struct kernel {
	struct bak_world world;
	struct bak_mount_store store;
	struct bak_mount_conf conf;
	struct bak_fs fs;
	struct fuse_session *session;
	char dir[64]; /* spool and state */
	char job[128];
	char *job_argv[2];
	uint64_t snapshot; /* of store "app", text made from seed 7 */
	uint64_t unique;
	void (*serving)(bool); /* told when a request begins and ends, on its thread; may be NULL */

	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t answered;
	struct bak_buf answer; /* without its header */
	int error;             /* positive errno */
	unsigned n_answers;    /* to the request that is under way */
	uint64_t n_requests;
	bool odd; /* an answer that was not asked for, or one whose length is wrong */
};

/* Fails the test when anything goes wrong. workers: threads that decode ahead, or none. */
void kernel_start(struct kernel *k, size_t prefetch);
void kernel_stop(struct kernel *k);

/* One request: its body in up to three pieces. Returns the errno, 0 done; k->answer has the body. */
struct piece {
	const void *p;
	size_t len;
};
int kernel_ask(struct kernel *k, uint32_t opcode, uint64_t ino, struct piece a, struct piece b,
	       struct piece c);
/* The same, but does not wait: for what is answered later, or never. */
void kernel_tell(struct kernel *k, uint32_t opcode, uint64_t ino, struct piece a);

/* 0 or an errno; *out_ino of an answer that is an entry. */
int kernel_name(struct kernel *k, uint32_t opcode, uint64_t parent, const void *in, size_t in_len,
		const char *name, uint64_t *out_ino);
int kernel_lookup(struct kernel *k, uint64_t parent, const char *name, uint64_t *out_ino);
/* "restore/app/x"; fails the test when it is not there. */
uint64_t kernel_path(struct kernel *k, const char *path);

#endif
