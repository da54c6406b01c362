/*
 * What the files of /restore share: control.c (rooms, look-ups, listings), control_names.c,
 * control_open.c, control_rules.c, control_files.c (status, wait, log) and control_jobs.c (starting
 * and watching jobs). A room is the folder of one store.
 *
 * One lock guards everything here and all nodes; contents of files have locks of their own, taken
 * while it is held or without it, never the other way round.
 */
#ifndef BAK_FS_CONTROL_PRIVATE_H
#define BAK_FS_CONTROL_PRIVATE_H

#include "fs/control.h"
#include "fs/jobs.h"
#include "fs/upload.h"

#include <pthread.h>

/* A job that is not over, ours or one that an earlier mount left. */
struct bak_job {
	struct bak_job *next;
	struct bak_room *room;
	struct bak_item *item; /* NULL when its upload or trigger is gone, or was another mount's */
	struct bak_job_info info;
	int pidfd;
	bool ended;    /* it said its last word; its process may still be there */
	bool rollback; /* what it restores: this, or snapshot number and path */
	uint64_t number;
	char *only; /* path in the snapshot, NULL: all */
};

struct bak_room {
	const struct bak_mount_store *store;
	uint64_t ino, status_ino, wait_ino, log_ino;
	struct bak_dirmap entries; /* of struct bak_unode */
	nlink_t folders;
	char refused[512];            /* why the last upload was not accepted, "" for none */
	struct fuse_pollhandle *poll; /* who wants to know of a change of status */
	uint64_t changes;             /* of status, so far */
	int64_t last_id;              /* nanoseconds in the newest job's id */
};

/* Somebody who reads `wait`. */
struct bak_waiter {
	struct bak_waiter *next;
	uint64_t id;
	fuse_req_t req;
	size_t size;
	struct bak_open *open;
	struct bak_room *room;
	char job[BAK_JOB_ID_MAX + 1];
	bool interrupted;
};

enum bak_spot_kind {
	BAK_SPOT_NONE,
	BAK_SPOT_ROOT,
	BAK_SPOT_ROOM,
	BAK_SPOT_STATUS,
	BAK_SPOT_WAIT,
	BAK_SPOT_LOG,
	BAK_SPOT_NODE,
};

/* What an inode number of the control range is. */
struct bak_spot {
	enum bak_spot_kind kind;
	struct bak_room *room;
	struct bak_unode *node;
};

/* An open file of /restore: fi->fh. */
struct bak_open {
	struct bak_open *next, *previous; /* all of them: an unmount by force sends no RELEASE */
	struct bak_spot spot;             /* a node is referenced */
	struct bak_item_handle rules;
	struct bak_buf text; /* status, wait: as of the last read from the beginning */
	uint64_t changes;    /* status: as of then */
};

struct bak_control {
	struct bak_fs *fs;
	uint64_t root_ino;
	struct bak_room *rooms;
	size_t n_rooms;
	char *jobs_dir;
	struct bak_spool *spool;
	int wake;    /* eventfd of the thread */
	int inotify; /* on the jobs' folder; -1 */
	pthread_t thread;

	pthread_mutex_t lock; /* guards all below, the rooms, and the nodes */
	struct bak_unodes nodes;
	struct bak_job *jobs; /* oldest first */
	struct bak_open *opens;
	struct bak_waiter *waiters;
	uint64_t last_waiter;
	bool closing; /* nobody waits any more */
	bool stop;
};

/* All below: the lock is held. */

/* control.c */
struct bak_spot bak_control_spot(struct bak_control *c, uint64_t ino);
/* Only who mounted, the superuser and the group of restore_group= may come here, whatever the kernel
 * checks. */
bool bak_control_allowed(const struct bak_control *c, fuse_req_t req);
/* A folder in which names are made and removed. */
struct bak_control_dir {
	struct bak_room *room;
	struct bak_unode *node; /* NULL: the store's own folder */
	struct bak_dirmap *map;
};
/* 0 or an errno. */
int bak_control_dir_of(struct bak_control *c, fuse_req_t req, uint64_t ino,
		       struct bak_control_dir *out);
struct bak_unode *bak_control_child(const struct bak_control_dir *dir, const char *name);
/* A child or a control file: 0 or ENOENT. */
int bak_control_find(struct bak_control_dir *dir, const char *name, struct bak_spot *out);
bool bak_control_in_trigger(const struct bak_control_dir *dir);
void bak_control_entry(struct bak_unode *node, struct fuse_entry_param *out);

/* control_names.c: a new upload or trigger, not open yet. Lets the lock go while it asks a
 * snapshot. */
int bak_control_make_file(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
			  mode_t mode, int open_flags, struct bak_unode **out);

/* control_open.c */

/* Bytes come to [off, ...) of an open upload, of which its format is to see len: whether they may, and
 * what is noted down of them. 0 or an errno. The lock is not held. */
int bak_control_will_write(struct bak_control *c, struct bak_open *open, uint64_t off,
			   const void *p, size_t len);
void bak_control_open_free(struct bak_control *c, struct bak_open *open);

/* control_rules.c */

/* Why an item was not accepted, for `status`. */
void bak_control_refused(struct bak_item *item, const char *why);
/* Takes an item's name away, with all below it. */
void bak_control_forget(struct bak_control *c, struct bak_item *item);
/* Whether a signal ends this process. */
bool bak_control_killed(pid_t pid);
/* Brings the node's proof up to date, when writes came in no order. That may take long, so the lock
 * is let go meanwhile: call it first, and hold the node. 0 or an errno. */
int bak_control_catch_up(struct bak_control *c, struct bak_unode *node);
/* The verdict, and for a bad one its reason in the room's `refused`. 0 or an errno. */
int bak_control_facts(struct bak_unode *node, struct bak_content_facts *out);
/* Does what was decided about an item: 0 or an errno. */
int bak_control_do(struct bak_control *c, struct bak_item *item, struct bak_decision d);

/* control_jobs.c */

/* Starts a job of an item: 0 or an errno, the reason in the room's `refused`. */
int bak_control_fire(struct bak_control *c, struct bak_item *item);
/* Whether the queue has room for a job of an item: 0 or EAGAIN, the reason in the room's `refused`. */
int bak_control_room_for_one(struct bak_control *c, struct bak_item *item);
/* 0: it will not happen, or is over; EBUSY: too late. */
int bak_control_cancel(struct bak_control *c, struct bak_item *item);
void bak_control_say_changed(struct bak_control *c, struct bak_room *room);
/* The job that a reader of `wait` waits for: the newest that is not over. */
struct bak_job *bak_control_newest(struct bak_control *c, const struct bak_room *room);
void bak_control_wake(struct bak_control *c);
int bak_control_adopt(struct bak_control *c, struct bak_error *err);
void *bak_control_main(void *control);
void bak_control_jobs_free(struct bak_control *c);

/* control_files.c */
int bak_control_status_text(struct bak_control *c, const struct bak_room *room,
			    struct bak_buf *out);
int bak_control_result_text(struct bak_control *c, const struct bak_room *room,
			    struct bak_buf *out);
uint64_t bak_control_log_size(struct bak_control *c, const struct bak_room *room);
int bak_control_log_read(struct bak_control *c, const struct bak_room *room, uint64_t off,
			 size_t len, struct bak_buf *out);
/* Answers, or keeps the request. */
void bak_control_wait_reply(struct bak_control *c, fuse_req_t req, struct bak_open *open,
			    size_t size, off_t off);
/* Answers those who waited for a job that ended, and who were interrupted. */
void bak_control_answer(struct bak_control *c, bool all);

#endif
