/*
 * The filesystem: one repository as a FUSE mount. Knows the engine; starts stores only through a
 * job, a process of its own.
 *
 * A job is started by posix_spawn of job_argv with a JSON object on its standard input:
 *   {"id": "...", "store": "app", "delay": 5, "deadline": 0, "description":
 *    "touch latest",
 *    "secret": {"kind": "password" | "keyfile", "hex": "..."},
 *    "from": {"snapshot": 12, "latest": false, "only": ["a/b"]}
 *         or {"upload": "/path/inside/the/mount"} or {"rollback": true}}
 * Everything that a job says it writes below <state dir>/jobs/:
 *   <id>.json     {"id","store","state","percent","bytes","rate","target","source","error","created",
 *                 "finished","pid","cancellable"}, replaced as a whole at each change; state is one
 *                 of queued waiting safety importing restoring validating rolling-back done failed
 *                 cancelled; times are "...Z" or null
 *   <id>.log      lines of text
 *   <id>.lock     held (flock) from the point of no return to the end: who wants to cancel takes it
 *                 without waiting, writes <id>.cancel and lets go; if it is taken, it is too late
 *   <store>.lock  held (flock) while a job of that store runs
 * Ids are "<store>-<UTC nanoseconds, 19 digits>", so that they sort by time within a store.
 */
#ifndef BAK_FS_MOUNT_H
#define BAK_FS_MOUNT_H

#include "engine/base/proof.h"
#include "engine/ops/repo.h"

/* What the mount needs to know of a configured store. */
struct bak_mount_store {
	const char *name;
	const struct bak_proof_format *proof; /* its driver's; NULL: uploads prove nothing */
	bool restore;                         /* false: restore = no */
};

struct bak_mount_conf {
	struct bak_repo *repo;           /* borrowed */
	const struct bak_secret *secret; /* handed to jobs; borrowed */
	const char *mount_point;
	const struct bak_mount_store *stores;
	size_t n_stores;
	char *const *job_argv; /* NULL-terminated; NULL: no /restore */
	unsigned restore_delay_s;
	unsigned restore_deadline_s; /* 0: none */
	unsigned restore_queue;      /* jobs of one store that are not over; 0: any number */
	const char *spool_dir;       /* NULL: the repository's tmp/ */
	size_t prefetch;             /* bytes decoded ahead of who reads a file in order; 0: none */
	uint64_t decode_whole; /* up to this size a file read here and there is decoded whole */
	bool read_only, foreground, allow_other;
	bool verify_full;
	bool owner;                     /* enforce stored permissions (default_permissions) */
	long long uid, gid, umask;      /* -1: as stored */
	long long restore_gid;          /* its members may use /restore, too; -1: nobody else */
	const char *only_store;         /* store=: NULL for all */
	uint64_t only_snapshot;         /* snapshot=: 0 for all */
	const char *extra_fuse_options; /* comma separated, passed on; may be NULL */
	/* One line, priority as syslog's. */
	void (*log)(void *ctx, int priority, const char *line);
	void *log_ctx;
	/* Called once the mount answers, before the loop: in the daemon, or in the foreground. */
	void (*ready)(void *ctx);
	void *ready_ctx;
};

/* What must be right before anything happens: mount point there, a folder, empty, no overlap with
 * the repository (real paths; inside, over, around it), not mounted already; a dead mount left
 * behind is detached and told through conf->log. BAK_REFUSED with the reason. */
int bak_mount_check(const struct bak_mount_conf *conf, struct bak_error *err);
/* Checks, mounts and serves until unmounted or SIGINT, SIGTERM or SIGHUP; these (and SIGPIPE) are
 * blocked in the calling thread meanwhile, and must be in threads that run already. Where something
 * does not end then (ending.h) the process does. Does not fork: tools/ does before the repository's
 * threads start. */
int bak_mount_run(const struct bak_mount_conf *conf, struct bak_error *err);

#endif
