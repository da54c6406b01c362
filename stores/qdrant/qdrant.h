/*
 * The parts of the qdrant driver: what is asked of a server (api.c), having it make a snapshot and
 * fetching that (snapshot.c), reading points page by page (export.c, page.c), a backup of them all
 * (backup.c), what a restore is going to do (plan.c), filling a collection (load.c), restoring and
 * taking it back (restore.c, aliases.c), files made elsewhere (import.c, tar.c), rights and health
 * (doctor.c). The driver is qdrant.c.
 *
 * Words: a collection holds points; an alias is another name that leads to a collection.
 */
#ifndef BAK_STORES_QDRANT_H
#define BAK_STORES_QDRANT_H

#include "engine/content/folder.h"
#include "stores/http.h"
#include "stores/payload.h"
#include "stores/stores.h"

#define BAK_QDRANT_SNAPSHOT ".snapshot" /* suffixes of files: the server's own snapshot */
#define BAK_QDRANT_POINTS ".ndjson"     /* or a point a line */
#define BAK_QDRANT_CONFIG ".json"       /* and what it takes to make their collection */
/* Collections that restores make: NAME, this, a stamp. */
#define BAK_QDRANT_FRESH "-bakfs-"
#define BAK_QDRANT_NAME_MAX 255 /* bytes of a name, as the server has it */

struct bak_qdrant {
	const struct bak_store_conf *conf;
	const struct bak_store_env *env;
	struct bak_http *http;
	/* The same server for clearing up, which goes on when the caller wants to stop. */
	struct bak_http *clean;
	bool connected;
	unsigned major, minor;
	char version[32];
	unsigned peers;   /* nodes of its cluster, 1 for none */
	json_t *replaced; /* sources of collections that a restore replaced, and then failed */
	json_t *restored_counts; /* of a restore: they were compared before anybody could write */
};

/* --- api.c --- */

extern const struct bak_http_server bak_qdrant_server;

/* Asks for the version and whether the key is right; only once. */
int bak_qdrant_connect(struct bak_qdrant *q, struct bak_error *err);
/* As bak_http_send; a server that has too much to do has done nothing, and is asked again. */
int bak_qdrant_send(struct bak_http *http, const struct bak_http_request *request,
		    struct bak_http_answer *answer, struct bak_error *err);
/* path is freed; NULL is lack of memory. *out: the answer's "result", a new reference, or NULL.
 * again: it may be sent twice. */
int bak_qdrant_call(struct bak_http *http, const char *method, char *path, const json_t *body,
		    bool again, json_t **out, struct bak_error *err);
/* Names, an array. */
int bak_qdrant_collections(struct bak_qdrant *q, json_t **out, struct bak_error *err);
/* {alias: collection} */
int bak_qdrant_aliases(struct bak_http *http, json_t **out, struct bak_error *err);
/* Whether the array of strings has it. */
bool bak_qdrant_has(const json_t *names, const char *name);
/* Status, configuration, schema. 1, 0 there is no such collection, -1. */
int bak_qdrant_info(struct bak_http *http, const char *collection, json_t **out,
		    struct bak_error *err);
/* Exact. filter may be NULL. */
int bak_qdrant_count(struct bak_http *http, const char *collection, const json_t *filter,
		     json_int_t *out, struct bak_error *err);
/* By the handle for clearing up; not there is fine. */
int bak_qdrant_drop(struct bak_qdrant *q, const char *collection, struct bak_error *err);
int bak_qdrant_drop_snapshot(struct bak_qdrant *q, const char *collection, const char *name,
			     struct bak_error *err);
/* How many snapshots of it are being made (running_snapshots) or restored
 * (running_snapshot_recovery); -1: the server does not tell. */
int bak_qdrant_running(struct bak_http *http, const char *what, const char *collection);
uint64_t bak_qdrant_now_ms(void);

/* --- snapshot.c --- */

/* A snapshot that the server made for us, and holds until bak_qdrant_drop_snapshot. */
struct bak_qdrant_made {
	char *name, *checksum; /* checksum: NULL, it has none */
	bool shared;           /* it may be somebody else's: not to be deleted */
	json_int_t bytes;
};
void bak_qdrant_made_release(struct bak_qdrant_made *made);
/* Has one made and waits for it. After a failure none is left, or there is a warning. */
int bak_qdrant_make(struct bak_qdrant *q, const char *collection, struct bak_qdrant_made *out,
		    struct bak_error *err);
/* Fetches it into the writer's loose file that is open; it must be whole. */
int bak_qdrant_fetch(struct bak_qdrant *q, const char *collection,
		     const struct bak_qdrant_made *made, struct bak_writer *writer,
		     struct bak_error *err);

/* --- export.c --- */

/* Each point as a line into the writer's loose file that is open; *out_points of them. */
int bak_qdrant_export(struct bak_qdrant *q, const char *collection, const json_t *filter,
		      struct bak_writer *writer, json_int_t *out_points, struct bak_error *err);
/* What PUT /collections/NAME takes to make one of this configuration; a new reference. */
json_t *bak_qdrant_create_body(const json_t *config);

/* --- backup.c --- */

int bak_qdrant_backup(struct bak_qdrant *q, struct bak_writer *writer, json_t *facts,
		      struct bak_error *err);
/* "odd%2Fname.snapshot"; to free. */
char *bak_qdrant_file_name(const char *collection, const char *suffix);
/* Whether the options collection and exclude choose it; aliases lead to theirs. */
bool bak_qdrant_chosen(const struct bak_qdrant *q, const char *collection, const json_t *aliases);

/* --- plan.c --- */

enum bak_qdrant_way {
	BAK_QDRANT_NEW,      /* nothing of that name is there */
	BAK_QDRANT_ALIAS,    /* beside the old one, then its aliases change over */
	BAK_QDRANT_IN_PLACE, /* clients use its own name */
};

/* A collection on its way back. */
struct bak_qdrant_target {
	const json_t *facts;       /* of the manifest */
	const char *source, *file; /* its name then, and in the snapshot */
	const char *name;          /* what it shall be called */
	bool exported;
	enum bak_qdrant_way way;
	char fresh[BAK_QDRANT_NAME_MAX + 1]; /* where it is filled first; NEW: its name */
	json_t *aliases;                     /* those that shall lead to it: {alias: null} */
	bool made;                           /* fresh is there, by us */
	struct bak_found found;
};
struct bak_qdrant_plan {
	struct bak_qdrant *q;
	const struct bak_restore_from *from;
	struct bak_tree tree;
	json_t *facts;
	struct bak_qdrant_target *targets;
	size_t n;
	bool repair;                   /* of what a restore before has broken, and no more */
	json_t *collections, *aliases; /* live ones, before anything is done */
	uint64_t bytes, done;          /* of the files */
};
/* Finds out what is to be done, and refuses what cannot be. Nothing is sent. */
int bak_qdrant_plan(struct bak_qdrant *q, const struct bak_restore_from *from,
		    struct bak_qdrant_plan *out, struct bak_error *err);
void bak_qdrant_plan_release(struct bak_qdrant_plan *plan);
bool bak_qdrant_is_led_to(const json_t *aliases, const char *collection);
/* By its name made by a restore, and in use no more, or not yet. */
bool bak_qdrant_is_kept(const char *collection, const json_t *aliases);

/* --- load.c --- */

/* Fills the collection `into` with the target's file, and counts. After a failure the uploaded file
 * is gone, and a collection that was not there before too. */
int bak_qdrant_load(struct bak_qdrant_plan *plan, struct bak_qdrant_target *t, const char *into,
		    bool is_there, struct bak_error *err);

/* --- aliases.c --- */

/* Has each of {alias: collection} lead there, null: nowhere, in one call; afterwards they do, or
 * all is as before, or, *out_unsure, nobody knows. before: {alias: collection} of now. */
int bak_qdrant_switch(struct bak_qdrant *q, const json_t *want, const json_t *before,
		      bool *out_unsure, struct bak_error *err);
int bak_qdrant_rollback(struct bak_qdrant *q, const json_t *state, struct bak_error *err);

/* --- restore.c --- */

int bak_qdrant_restore(struct bak_qdrant *q, const struct bak_restore_from *from, json_t *state,
		       struct bak_error *err);
/* 1, or 0 when something would be replaced in place. */
int bak_qdrant_keeps_old(struct bak_qdrant *q, const struct bak_restore_from *from,
			 struct bak_error *err);

/* --- import.c --- */

int bak_qdrant_import(struct bak_qdrant *q, const char *path, struct bak_writer *writer,
		      json_t *facts, struct bak_error *err);

/* --- doctor.c --- */

int bak_qdrant_doctor(struct bak_qdrant *q, const struct bak_checkup *checkup,
		      struct bak_error *err);

#endif
