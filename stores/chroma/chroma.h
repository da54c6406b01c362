/*
 * The parts of the chroma driver: what a server is asked (server.c), its collections (list.c),
 * pages fetched ahead (fetch.c), rows as text (scan.c, row.c); a server saved collection by
 * collection (api_backup.c, api_import.c) and restored (from_snapshot.c, load.c, anew.c, swap.c, api_restore.c); its folder
 * saved as it is (directory.c) and exchanged (exchange.c), and one collection out of it by a
 * server of our own (scratch.c); health (doctor.c). The driver is chroma.c.
 */
#ifndef BAK_STORES_CHROMA_H
#define BAK_STORES_CHROMA_H

#include "stores/chroma/row.h"
#include "stores/http.h"
#include "stores/sqlite/sqlite.h"
#include "stores/stores.h"

#define BAK_CHROMA_DB "chroma.sqlite3"
#define BAK_CHROMA_ABOUT "collection.json"
#define BAK_CHROMA_ROWS "rows.ndjson"

struct bak_chroma {
	const struct bak_store_conf *conf;
	const struct bak_store_env *env;
	bool directory; /* mode */
	const char *path;
	char *db_path;            /* of its database; NULL without path */
	struct bak_sqlite sqlite; /* for the sqlite driver's parts */
	struct bak_http *http;
	json_t *restored_counts; /* taken in the restore itself, before others could write */
};

/* --- server.c --- */

extern const struct bak_http_server bak_chroma_server;

/* What all requests need to know of a server. */
struct bak_chroma_facts {
	char version[64];
	uint64_t max_batch;
	bool base64; /* takes embeddings so */
};
/* BAK_UNSUPPORTED when it is no server of version 1. */
int bak_chroma_ask(struct bak_http *http, struct bak_chroma_facts *out, struct bak_error *err);
/* One of the name's characters would have a meaning in a path, or it is too long: it is written
 * otherwise. out holds NAME_MAX + 1. */
int bak_chroma_file_name(const char *name, char *out, struct bak_error *err);

/* --- list.c --- */

struct bak_chroma_collection {
	char *tenant, *database, *name, *id;
	json_t *about; /* the server's own object */
};
void bak_chroma_collection_release(struct bak_chroma_collection *collection);
bool bak_chroma_is_cosine(const struct bak_chroma_collection *collection);
/* A new object of what collection.json says, or out of what it said. */
json_t *bak_chroma_about(const struct bak_chroma_collection *collection);
int bak_chroma_from_about(const char *text, size_t len, struct bak_chroma_collection *out,
			  struct bak_error *err);
/* "tenant/database/name", to free; NULL for lack of memory. */
char *bak_chroma_full_name(const struct bak_chroma_collection *collection);

/* Everything of a server that the store's options choose, sorted as a snapshot's tree is. */
struct bak_chroma_list {
	size_t n, cap;
	struct bak_chroma_collection *v;
	/* "tenant/database" of each database, those without collections too. */
	struct bak_chroma_database {
		char *tenant, *name;
	} * databases;
	size_t n_databases, cap_databases;
	/* Left out: what restores have kept, and what they left when they were killed. */
	size_t n_kept, n_left;
	char *left; /* path of one of these */
};
int bak_chroma_list(struct bak_chroma *chroma, struct bak_http *http, struct bak_chroma_list *out,
		    struct bak_error *err);
/* The order of a snapshot's tree. */
int bak_chroma_by_place(const struct bak_chroma_collection *a,
			const struct bak_chroma_collection *b);
void bak_chroma_list_release(struct bak_chroma_list *list);
/* A name that a restore gave to what was there before, */
bool bak_chroma_is_kept(const char *name);
/* to what was not complete, */
bool bak_chroma_is_left(const char *name);
/* or a rollback for a moment to what is exchanged: it is saved like any other. */
#define BAK_CHROMA_ASIDE ".aside-"
bool bak_chroma_is_aside(const char *name);
/* "/api/v2/tenants/.../collections" and what comes behind it; to free. */
char *bak_chroma_path(const struct bak_chroma_collection *collection, const char *behind);
/* The id of the collection name in the database of at: 1 and it, to free; 0 there is none; -1. */
int bak_chroma_find(struct bak_http *http, const struct bak_chroma_collection *at, const char *name,
		    char **out_id, struct bak_error *err);
/* Rows that it has now. */
int bak_chroma_count(struct bak_http *http, const struct bak_chroma_collection *collection,
		     uint64_t *out, struct bak_error *err);
int bak_chroma_counts(struct bak_chroma *chroma, json_t *counts, struct bak_error *err);

/* --- fetch.c --- */

/* All rows of a collection in the order in which they came there, page by page, the next one asked
 * for while one is worked on. */
struct bak_chroma_fetch;
struct bak_chroma_fetch_conf {
	struct bak_chroma *chroma;
	const char *url; /* of another server than the configured one; NULL */
	const struct bak_chroma_collection *collection;
	uint64_t rows; /* no more than these */
	bool ids_only;
};
int bak_chroma_fetch_new(const struct bak_chroma_fetch_conf *conf, struct bak_chroma_fetch **out,
			 struct bak_error *err);
/* 1 and a page, borrowed until the next call; 0 there are no more; -1. */
int bak_chroma_fetch_next(struct bak_chroma_fetch *fetch, const struct bak_chroma_page **out,
			  struct bak_error *err);
void bak_chroma_fetch_free(struct bak_chroma_fetch *fetch); /* NULL is fine */

/* --- api_backup.c, api_import.c --- */

int bak_chroma_api_backup(struct bak_chroma *chroma, struct bak_writer *writer, json_t *facts,
			  struct bak_error *err);
/* A collection's folder and its first file. */
int bak_chroma_enter(struct bak_writer *writer, const char *name, struct bak_error *err);
int bak_chroma_save_about(struct bak_writer *writer, const struct bak_chroma_collection *collection,
			  struct bak_error *err);
int bak_chroma_api_import(struct bak_chroma *chroma, const char *path, struct bak_writer *writer,
			  json_t *facts, struct bak_error *err);

/* --- load.c --- */

/* Where the rows of a collection come from: a snapshot's file, or a server. */
struct bak_chroma_rows {
	/* 1 and a line of ours with its end, borrowed until the next call; 0 at the end; -1. */
	int (*next)(void *ctx, struct bak_text *out_line, struct bak_error *err);
	int (*rewind)(void *ctx, struct bak_error *err);
	void *ctx;
};
/* Makes the collection under the name into, adds all rows, reads them back and compares. The id
 * that it got into out_id, to free. After a failure *out_made tells whether something may be there
 * under that name, *out_differs whether only what came back was not what was sent. */
int bak_chroma_load(struct bak_chroma *chroma, const struct bak_chroma_collection *collection,
		    const char *into, const struct bak_chroma_rows *rows, bool *out_made,
		    bool *out_differs, char **out_id, uint64_t *out_n, struct bak_error *err);
/* Deletes by name; not there is fine. */
int bak_chroma_delete(struct bak_http *http, const struct bak_chroma_collection *collection,
		      const char *name, struct bak_error *err);

/* --- anew.c --- */

#define BAK_CHROMA_NAME_LEN 513
/* So many bytes of a name stay when something is put behind it. */
int bak_chroma_head_len(const char *name);
/* Makes the collection under a new name, which goes to out_name. After a failure nothing is left. */
int bak_chroma_anew(struct bak_chroma *chroma, const struct bak_chroma_collection *collection,
		    const struct bak_chroma_rows *rows, char out_name[BAK_CHROMA_NAME_LEN],
		    char **out_id, uint64_t *out_n, struct bak_error *err);

/* --- swap.c --- */

/* Renamings, done one after another; when one fails, those before it are undone. */
struct bak_chroma_swap {
	size_t n, cap;
	struct bak_chroma_rename {
		struct bak_chroma_collection at; /* tenant, database, name (now), id */
		char *to;
	} * v;
};
int bak_chroma_swap_add(struct bak_chroma_swap *swap, const struct bak_chroma_collection *at,
			const char *from, const char *id, const char *to, struct bak_error *err);
/* *out_undone: after a failure all is as before. */
int bak_chroma_swap_run(struct bak_http *http, struct bak_chroma_swap *swap, bool *out_undone,
			struct bak_error *err);
void bak_chroma_swap_release(struct bak_chroma_swap *swap);
int bak_chroma_api_rollback(struct bak_chroma *chroma, const json_t *state, struct bak_error *err);

/* --- api_restore.c --- */

/* What is to be restored: collections, each with its rows. */
struct bak_chroma_source {
	size_t n;
	const struct bak_chroma_collection *collections; /* name, tenant, database, about */
	/* Opens the rows of collection i; they are closed with close. */
	int (*open)(void *ctx, size_t i, struct bak_chroma_rows *out, struct bak_error *err);
	void (*close)(void *ctx, struct bak_chroma_rows *rows);
	void *ctx;
	bool whole; /* what the server has besides makes way too */
};
int bak_chroma_restore_source(struct bak_chroma *chroma, const struct bak_chroma_source *source,
			      json_t *state, struct bak_error *err);

/* --- from_snapshot.c --- */

int bak_chroma_api_restore(struct bak_chroma *chroma, const struct bak_restore_from *from,
			   json_t *state, struct bak_error *err);
/* The wish --collection chooses it: a pattern for its name, or for the full one. */
bool bak_chroma_is_wished(const struct bak_restore_from *from,
			  const struct bak_chroma_collection *collection);

/* --- directory.c --- */

int bak_chroma_directory_backup(struct bak_chroma *chroma, struct bak_writer *writer, json_t *facts,
				struct bak_error *err);
int bak_chroma_directory_import(struct bak_chroma *chroma, const char *path,
				struct bak_writer *writer, json_t *facts, struct bak_error *err);
/* A folder with a database in it that we may read: a descriptor of it. */
int bak_chroma_directory_open(const char *path, int *out_fd, struct bak_error *err);
/* Rows of each collection by the database of a folder. */
int bak_chroma_directory_counts(struct bak_chroma *chroma, sqlite3 *db, const char *db_path,
				json_t *counts, struct bak_error *err);

/* --- exchange.c --- */

int bak_chroma_directory_restore(struct bak_chroma *chroma, const struct bak_restore_from *from,
				 json_t *state, struct bak_error *err);
int bak_chroma_directory_rollback(struct bak_chroma *chroma, const json_t *state,
				  struct bak_error *err);

/* --- scratch.c --- */

/* Some collections out of a snapshot of a folder. */
int bak_chroma_scratch_restore(struct bak_chroma *chroma, const struct bak_restore_from *from,
			       json_t *state, struct bak_error *err);

/* --- doctor.c --- */

int bak_chroma_doctor(struct bak_chroma *chroma, const struct bak_checkup *checkup,
		      struct bak_error *err);

#endif
