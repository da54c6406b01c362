/*
 * The parts of the opensearch driver: the server and what it says of itself (server.c), its indices
 * (indices.c), definitions beside them (definitions.c), saving documents (export.c, pages.c) or
 * through the server's own snapshots (snapshot.c, repository.c), restoring (restore.c, load.c,
 * fetch.c), the exchange of old and new (swap.c), copies from outside (import.c), rights and health
 * (doctor.c). The driver is opensearch.c.
 *
 * Indices of ours: "bakfs-<stamp>-<name>" is one that a restore made, "bakfs-before-<stamp>-<name>"
 * what was there before it. The first is saved as <name> while the alias <name> leads to it;
 * otherwise neither is anybody's data.
 *
 * A snapshot of mode export:
 *   component_templates.json ... templates.json    name -> definition, where there are any
 *   indices/<name>/documents-<shard>.ndjson        as POST /INDEX/_bulk takes it
 *   indices/<name>/index.json                      as PUT /INDEX takes it
 * and of mode snapshot the same .json files, and
 *   repository/...                                 a repository of type fs
 */
#ifndef BAK_STORES_OPENSEARCH_H
#define BAK_STORES_OPENSEARCH_H

#include "stores/http.h"
#include "stores/opensearch/text.h"
#include "stores/payload.h"

#define BAK_OS_INDICES "indices"
#define BAK_OS_INDEX_FILE "index.json"
#define BAK_OS_REPOSITORY "repository"
#define BAK_OS_NAME_MAX 255u
#define BAK_OS_STAMP_LEN 16u /* of "20261121t140212z" */

struct bak_os {
	const struct bak_store_conf *conf;
	const struct bak_store_env *env;
	struct bak_http *http;
	bool looked; /* the following are known */
	unsigned major, minor;
	char version[32], cluster[128];
	json_t *restored_counts; /* what the last restore validated; NULL: none */
};

/* --- server.c --- */

extern const struct bak_http_server bak_os_server;
/* Asks once who answers. BAK_UNSUPPORTED when it is not OpenSearch, or too old. */
int bak_os_look(struct bak_os *os, struct bak_error *err);
/* From now on requests are made whatever env says: something is being undone, or must be done as a
 * whole. */
void bak_os_go_on(struct bak_os *os);
/* A request for JSON: path is freed, NULL is lack of memory. Failures say what to try. */
int bak_os_call(struct bak_http *http, const char *method, char *path, const json_t *body,
		json_t **out, struct bak_error *err);
/* Deletes what path names: sent again when its answer is lost, and not being there any more is fine.
 * timeout_ms as in a bak_http_request. */
int bak_os_delete(struct bak_http *http, char *path, const json_t *body, uint64_t timeout_ms,
		  struct bak_error *err);
/* As bak_os_call, where not being there is an answer: 1, 0, -1. */
int bak_os_ask(struct bak_http *http, char *path, json_t **out, struct bak_error *err);
/* Adds to an error what to do about it; -1. */
int bak_os_advise(struct bak_error *err);
/* A search, sent again where that helps; all of it was looked at. */
int bak_os_search(struct bak_http *http, const json_t *body, json_t **out, struct bak_error *err);
int bak_os_check_answer(const json_t *answer, struct bak_error *err);
/* "failed" of an answer's _shards is 0. */
int bak_os_check_shards(const json_t *answer, struct bak_error *err);
/* Waits until all primaries of an index answer, as long as they get on. */
int bak_os_wait_active(struct bak_os *os, const char *index, struct bak_error *err);
/* Documents of an index or alias, all its shards answering, after a refresh. */
int bak_os_count(struct bak_os *os, const char *index, uint64_t *out, struct bak_error *err);
/* Members of JSON answers, with what is expected when they are not there. */
const char *bak_os_text(const json_t *object, const char *key);        /* "" */
uint64_t bak_os_number(const json_t *object, const char *key);         /* 0; numbers as text too */
json_t *bak_os_at(const json_t *object, const char *a, const char *b); /* NULL; b may be */
void bak_os_json_free(json_t **json);                                  /* for BAK_AUTO */

/* --- indices.c --- */

struct bak_os_index {
	char *name, *concrete; /* what it is called, and the index itself */
	char *stream;          /* the data stream that it is a part of, or NULL */
	bool closed;
};
struct bak_os_indices {
	struct bak_os_index *v;
	size_t n, cap;
	json_t *streams; /* names of data streams among what is chosen */
};
/* All that the options choose, by name. BAK_NOT_FOUND: a pattern that nothing matches. */
int bak_os_indices(struct bak_os *os, struct bak_os_indices *out, struct bak_error *err);
void bak_os_indices_release(struct bak_os_indices *indices);
/* A name of ours: *out_rest what it stands for; NULL: it is none. */
const char *bak_os_own_name(const char *index);
/* Whether one of the values of an option (or wish) is or matches the name. */
bool bak_os_is_chosen(const struct bak_store_conf *conf, const char *option, const char *name);
bool bak_os_matches(const char *pattern, const char *name);
/* What the options choose. hidden: not meant unless it is asked for. */
bool bak_os_is_wanted(const struct bak_os *os, const char *name, bool hidden);
/* A name that may be a file's and an index's. */
bool bak_os_is_name(const char *name);
/* {"aliases", "mappings", "settings"} of an index as PUT takes it, without what belongs to this one
 * index alone; and the size of its primary shards. */
int bak_os_describe(struct bak_os *os, const char *concrete, json_t **out_body, uint64_t *out_bytes,
		    struct bak_error *err);
int bak_os_count_all(struct bak_os *os, const struct bak_os_indices *indices, json_t *counts,
		     struct bak_error *err);

/* --- definitions.c --- */

/* All kinds, as an object kind -> {name -> definition}. */
int bak_os_definitions_get(struct bak_os *os, json_t **out, struct bak_error *err);
/* As files into the open folder: those whose name sorts before `before` and not before `after`
 * (NULL: no bound). */
int bak_os_definitions_write(const json_t *definitions, struct bak_writer *writer,
			     const char *after, const char *before, struct bak_error *err);
/* Those of a snapshot. */
int bak_os_definitions_read(struct bak_tree *tree, const struct bak_store_env *env, json_t **out,
			    struct bak_error *err);
/* Sets them; what was there goes to undo, for bak_os_definitions_undo, which puts that back. */
int bak_os_definitions_put(struct bak_os *os, const json_t *definitions, json_t *undo,
			   struct bak_error *err);
int bak_os_definitions_undo(struct bak_os *os, const json_t *undo, bool again,
			    struct bak_error *err);
bool bak_os_is_definitions(const char *file);

/* A JSON value as a file, sorted and indented, so that it is the same as long as it means the same. */
int bak_os_write_json(struct bak_writer *writer, const char *name, const json_t *value,
		      struct bak_error *err);
/* A small file of a snapshot as JSON. */
int bak_os_read_json(struct bak_tree *tree, const char *path, const struct bak_store_env *env,
		     json_t **out, struct bak_error *err);

/* --- export.c, pages.c --- */

int bak_os_export(struct bak_os *os, struct bak_writer *writer, json_t *facts,
		  struct bak_error *err);

/* One shard's documents as of a point in time, by the order in which they were written. */
struct bak_os_slice {
	const char *index; /* for messages */
	const char *pit;
	const char *keep_alive;
	unsigned shard, n_shards;
	uint64_t page_max;        /* documents that one answer may have */
	uint64_t documents, last; /* how many, and the last one's _seq_no */
	uint64_t read;            /* out: how many came */
};
/* Reads slices with several connections at once and gives their bytes in order: take is told of the
 * slice. Called by one thread. */
typedef int bak_os_take_slice(void *ctx, size_t slice, const void *p, size_t len,
			      struct bak_error *err);
int bak_os_pages_read(struct bak_os *os, struct bak_os_slice *slices, size_t n,
		      bak_os_take_slice *take, void *ctx, struct bak_error *err);

/* --- snapshot.c, repository.c --- */

int bak_os_snapshot(struct bak_os *os, struct bak_writer *writer, json_t *facts,
		    struct bak_error *err);
/* Registers a repository, or finds that it is the same as one that is there. location: as the server
 * sees it. */
int bak_os_repository_put(struct bak_os *os, const char *name, const char *location, bool readonly,
			  struct bak_error *err);
/* The folder that both see: `path`, and `server_path`. BAK_USAGE: it is not configured. */
int bak_os_folder(const struct bak_os *os, const char **out_path, const char **out_server_path,
		  struct bak_error *err);
/* Folders of this name in it are ours, and no part of the repository. */
#define BAK_OS_RESTORE_BASE "bakfs-restore"

/* What a repository's catalogue says. */
struct bak_os_catalogue {
	int64_t generation;
	json_t *json; /* index-N */
};
/* The folder's, as it is now. BAK_CORRUPT, BAK_NOT_FOUND: it is none. */
int bak_os_catalogue_read(int dir_fd, struct bak_os_catalogue *out, struct bak_error *err);
/* The bytes of index-N. */
int bak_os_catalogue_parse(const void *p, size_t len, struct bak_os_catalogue *out,
			   struct bak_error *err);
void bak_os_catalogue_release(struct bak_os_catalogue *catalogue);
/* A whole snapshot by its name, or the newest one (NULL): its entry, borrowed; NULL: none. */
const json_t *bak_os_catalogue_find(const struct bak_os_catalogue *catalogue, int dir_fd,
				    const char *name);
/* Its indices, as the manifest has them; NULL for lack of memory. */
json_t *bak_os_catalogue_indices(const struct bak_os_catalogue *catalogue, const json_t *snapshot);

/* All that the catalogue names is in the folder, and each file as it was written. */
int bak_os_repository_check(const struct bak_store_env *env, int dir_fd,
			    const struct bak_os_catalogue *catalogue, struct bak_error *err);
/* The folder's files into the snapshot, as BAK_OS_REPOSITORY. BAK_BUSY: others write there. */
int bak_os_repository_store(const struct bak_store_env *env, const char *path,
			    struct bak_writer *writer, struct bak_os_catalogue *out,
			    struct bak_error *err);

/* A file that ends with Lucene's checksum: of all but its last eight bytes. */
struct bak_os_sum {
	uint32_t crc;
	uint64_t n;
	uint8_t tail[16];
	size_t n_tail;
};
void bak_os_sum_feed(struct bak_os_sum *sum, const void *p, size_t len);
/* The footer is there and right. */
bool bak_os_sum_end(const struct bak_os_sum *sum);
/* Names of data blobs in a shard's list of files: 1 and the next one at or behind *at, 0 none. */
int bak_os_blob_next(const void *p, size_t len, size_t *at, char *out, size_t out_len);

/* --- restore.c, load.c, fetch.c --- */

/* An index on its way back. */
struct bak_os_target {
	const json_t *facts;  /* the manifest's */
	const char *name;     /* what it is called */
	const char *concrete; /* of a server's snapshot: what it is there */
	char fresh[BAK_OS_NAME_MAX + 1];
	bool made;    /* fresh is there */
	json_t *body; /* its index.json; export */
	json_t *old;  /* what has the name now: see swap.c */
	uint64_t count;
};
struct bak_os_restore {
	struct bak_os *os;
	const struct bak_restore_from *from;
	struct bak_tree tree;
	json_t *facts;
	char stamp[BAK_OS_STAMP_LEN + 1];
	struct bak_os_target *v;
	size_t n;
	bool whole;
	uint64_t bytes; /* of the files that will be read */
};
int bak_os_restore(struct bak_os *os, const struct bak_restore_from *from, json_t *state,
		   struct bak_error *err);
/* After a failure: deletes what was made; what cannot be deleted is told. */
void bak_os_drop_fresh(struct bak_os_restore *r);
/* Fill all targets, under their fresh names; each is complete afterwards and has its count. */
int bak_os_load(struct bak_os_restore *r, struct bak_error *err);
int bak_os_fetch(struct bak_os_restore *r, struct bak_error *err);

/* --- swap.c --- */

/* Who has the name: "" nobody, else {"index": ...} or {"alias_of": ...}. */
int bak_os_find_old(struct bak_os_restore *r, struct bak_os_target *t, struct bak_error *err);
int bak_os_swap(struct bak_os_restore *r, json_t *state, struct bak_error *err);
int bak_os_rollback(struct bak_os *os, const json_t *state, struct bak_error *err);

/* --- import.c, doctor.c --- */

int bak_os_import(struct bak_os *os, const char *path, struct bak_writer *writer, json_t *facts,
		  struct bak_error *err);
int bak_os_doctor(struct bak_os *os, const struct bak_checkup *checkup, struct bak_error *err);

#endif
