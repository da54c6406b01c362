/*
 * System calls under watch: counted; one of them refused, cut short or the last one ever made; or
 * each told to an observer after it was done.
 *
 * Linked into a test program, these functions stand before the C library's, for the program's own
 * code and for SQLite alike. As a shared object they are preloaded into the real program and are
 * told what to do by the environment:
 *   FAULT_UNDER    folders, separated by colons: only calls that concern what lies there count
 *   FAULT_KINDS    letters as in CALL_LETTERS; all when missing
 *   FAULT_AT       the call that fails (1 is the first); 0 or missing: none
 *   FAULT_STICKY   anything: all after it fail too
 *   FAULT_ERROR    EIO (when missing), ENOSPC, EROFS, EINTR, short, kill
 *   FAULT_COUNT    a file; gets the number of calls when the program ends
 *   FAULT_CLOCK    seconds to be added to the time of day
 *
 * Not seen: what the C library does inside of its own functions (fopen, opendir), mapped memory.
 * Threads: arm, disarm and observe are called while no other thread runs.
 */
#ifndef BAK_TESTS_FAULT_CALLS_H
#define BAK_TESTS_FAULT_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum call_kind {
	CALL_OPEN,
	CALL_READ,
	CALL_LIST, /* reads of folders */
	CALL_WRITE,
	CALL_SYNC,
	CALL_RENAME, /* and link */
	CALL_UNLINK, /* and rmdir */
	CALL_MAKE,   /* what makes a new file, folder, or link */
	CALL_CLOSE,
	CALL_TRUNCATE,
	CALL_STAT,
	CALL_LOCK,
	CALL_MAP,
	CALL_ATTRIBUTE, /* owner, mode, times, extended attributes */
	CALL_KINDS,
};
#define CALL_LETTERS "ordwsnumctSlpa"
/* What a full or a read-only disk refuses. */
#define CALLS_THAT_CHANGE                                                             \
	(1u << CALL_WRITE | 1u << CALL_RENAME | 1u << CALL_UNLINK | 1u << CALL_MAKE | \
	 1u << CALL_TRUNCATE | 1u << CALL_ATTRIBUTE)

/* In place of an errno. */
#define CALL_SHORT (-1) /* a read or write of half of what was asked; other calls do as ever */
#define CALL_KILL (-2)  /* SIGKILL instead of the call */

struct calls_plan {
	const char *under; /* as FAULT_UNDER; borrowed until disarm */
	unsigned kinds;    /* bits; 0: all */
	unsigned long at;
	bool sticky; /* all calls of these kinds after it fail too */
	bool down;   /* all calls of any kind after it fail too, as if the process had ended */
	int error;
	bool trace; /* keep the places in the code from which each call came */
};

void calls_arm(const struct calls_plan *plan);
/* Returns how many calls there were. */
unsigned long calls_disarm(void);
/* Whether a call was refused or cut short since arm. */
bool calls_hit(void);
/* What was refused last, as "write /path". */
const char *calls_refused(void);
/* With trace: of each call a number that tells its kind and the functions that led to it. Borrowed
 * until the next arm. */
const uint64_t *calls_places(size_t *out_n);

/* Seconds that the time of day is put forward (or, below zero, back). */
extern long calls_clock;

/* A call that was done. Names are absolute. */
struct call {
	enum call_kind kind;
	const char *name, *to; /* to: of a rename or link */
	uint64_t ino;          /* of the file, where there is one */
	bool created, link;    /* open made the file; a second name, not a rename */
	bool all;              /* a sync of everything */
	const void *data;      /* of a write */
	uint64_t off, len;     /* of a write or (len) truncate */
};
typedef void call_fn(void *ctx, const struct call *call);
/* One call at a time is made and told; NULL fn ends it. */
void calls_observe(const char *under, call_fn *fn, void *ctx);

#endif
