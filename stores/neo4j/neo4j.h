/*
 * The parts of the neo4j driver: where a server's files are and its own programs (admin.c), the
 * server stopped and started (service.c), dumps saved and imported (dump.c, archive.c, tar.c,
 * proof.c) and swapped in (swap.c); statements asked over HTTP (query.c, rows.c), the graph saved
 * by them (export.c, freeze.c, lines.c, folder.c) and put back (load.c); what is wrong
 * (doctor.c). The driver is neo4j.c.
 */
#ifndef BAK_STORES_NEO4J_H
#define BAK_STORES_NEO4J_H

#include "stores/http.h"
#include "stores/neo4j/archive.h"
#include "stores/neo4j/rows.h"
#include "stores/payload.h"
#include "stores/process.h"
#include "stores/stores.h"

struct bak_neo4j {
	const struct bak_store_conf *conf;
	const struct bak_store_env *env;
	const char *database;
	bool dumps; /* mode = dump */
	uint64_t timeout_ms;
	struct bak_http *http;   /* made by open, connected by its first request */
	char admin_version[64];  /* "" until it was asked */
	json_t *restored_counts; /* taken in the restore itself, before others could write */
};

/* --- admin.c --- */

/* Where the server's files are, by its home and neo4j.conf. Owned strings. */
struct bak_neo4j_places {
	char *conf_dir; /* of neo4j.conf */
	char *data;
	char *databases, *transactions; /* a folder in them for each database */
};
int bak_neo4j_places(const struct bak_neo4j *neo4j, struct bak_neo4j_places *out,
		     struct bak_error *err);
void bak_neo4j_places_release(struct bak_neo4j_places *places);

/* neo4j-admin's path. */
int bak_neo4j_admin_path(const struct bak_neo4j *neo4j, char **out, struct bak_error *err);
/* Runs neo4j-admin with a folder's neo4j.conf, as the user that the data belongs to. words:
 * NULL-terminated, behind the program's name. Its errors come with what to do about them. */
struct bak_neo4j_admin {
	const struct bak_neo4j *neo4j;
	const struct bak_neo4j_places *places;
	const char *conf_dir; /* NULL: the server's own */
	const char *const *words;
};
int bak_neo4j_admin_read(const struct bak_neo4j_admin *admin, bak_process_take *take, void *ctx,
			 struct bak_error *err);
int bak_neo4j_admin_write(const struct bak_neo4j_admin *admin, bak_process_give *give, void *ctx,
			  struct bak_error *err);
/* "5.26.30", into admin_version. Asked once. */
int bak_neo4j_admin_version(struct bak_neo4j *neo4j, const struct bak_neo4j_places *places,
			    struct bak_error *err);
/* "5.26.30": 5026; 0 if it is none. */
unsigned bak_neo4j_version(const char *text);

/* --- service.c --- */

/* 1 a server has the data open (by whom into out), 0 nobody, -1. */
int bak_neo4j_running(const struct bak_neo4j_places *places, char *out, size_t len,
		      struct bak_error *err);
/* A server that was stopped by us, or was not running. As long as it is stopped a file in its data
 * folder says so, locked: one without a lock is of a bakfs that was killed. */
struct bak_neo4j_service {
	const struct bak_neo4j *neo4j;
	const struct bak_neo4j_places *places;
	bool stopped; /* by us: it is to be started */
	int mark_fd;  /* -1: none */
};
#define BAK_NEO4J_MARK ".bakfs-stopped"
void bak_neo4j_service_release(struct bak_neo4j_service *service);
/* Says in that file that the folders of `kept` change places with the live ones; "": that none do. */
int bak_neo4j_mark(struct bak_neo4j_service *service, const char *kept, struct bak_error *err);
/* What one that was killed left: a stopped server is taken over, to be started as if it had been
 * stopped now: 1. 0: nothing. -1: BAK_BUSY another bakfs is at it; BAK_REFUSED folders may be half
 * exchanged. */
int bak_neo4j_take_over(struct bak_neo4j_service *service, struct bak_error *err);
/* BAK_BUSY when one runs that we may not stop. Changes nothing. */
int bak_neo4j_may_stop(const struct bak_neo4j_service *service, struct bak_error *err);
int bak_neo4j_stop(struct bak_neo4j_service *service, struct bak_error *err);
/* If it was stopped by us. Waits until the database answers where it can be asked; -1 when it does
 * not start or the database is not online. */
int bak_neo4j_start(struct bak_neo4j_service *service, struct bak_error *err);

/* --- dump.c --- */

/* "<database>.dump" */
int bak_neo4j_dump_backup(struct bak_neo4j *neo4j, struct bak_writer *writer, json_t *facts,
			  struct bak_error *err);
int bak_neo4j_dump_import(struct bak_neo4j *neo4j, const char *path, struct bak_writer *writer,
			  json_t *facts, struct bak_error *err);

/* --- swap.c --- */

int bak_neo4j_dump_restore(struct bak_neo4j *neo4j, const struct bak_restore_from *from,
			   json_t *state, struct bak_error *err);
int bak_neo4j_dump_rollback(struct bak_neo4j *neo4j, const json_t *state, struct bak_error *err);

/* --- query.c --- */

#define BAK_NEO4J_TYPED "application/vnd.neo4j.query"

extern const struct bak_http_server bak_neo4j_server;

/* "5.26.30" and "community", of the server that answers. */
struct bak_neo4j_about {
	char version[64], edition[32];
	bool query_api;
};
int bak_neo4j_about(struct bak_neo4j *neo4j, struct bak_neo4j_about *out, struct bak_error *err);
/* The same, but it must have a Query API. */
int bak_neo4j_need_query(struct bak_neo4j *neo4j, struct bak_neo4j_about *out,
			 struct bak_error *err);

/* A row is a JSON array of typed values. */
struct bak_neo4j_statement {
	struct bak_http *http; /* NULL: the store's own */
	const char *database;  /* NULL: the store's own */
	const char *text;
	json_t *parameters;      /* typed, stolen; NULL: none */
	const char *transaction; /* path behind the database, as "query/v2/tx/1"; NULL: one alone */
	bool read;               /* accessMode Read */
	/* How long it may last without a byte of the answer; then rows come all at once. 0: each
	 * row as it comes, and for nothing the option `timeout`. */
	uint64_t timeout_ms;
	json_t **around; /* what else the answer has, a new reference; NULL: nobody wants it */
};
/* Each row as it comes; row may be NULL. An error of the server at any place of the answer, and an
 * answer that ends too soon, is -1, whatever rows came before. */
int bak_neo4j_ask(struct bak_neo4j *neo4j, const struct bak_neo4j_statement *statement,
		  bak_neo4j_row *row, void *ctx, struct bak_error *err);
/* A statement with the first column of its only row. */
int bak_neo4j_number(struct bak_neo4j *neo4j, const char *text, int64_t *out,
		     struct bak_error *err);
/* Runs it; a statement by printf. */
int bak_neo4j_run(struct bak_neo4j *neo4j, struct bak_error *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Typed values. Text borrows; NULL when it is none of that. */
const char *bak_neo4j_text(const json_t *value);
bool bak_neo4j_integer(const json_t *value, int64_t *out);
const json_t *bak_neo4j_value(const json_t *value, const char *type);
/* New references, NULL for lack of memory. */
json_t *bak_neo4j_typed(const char *type, json_t *value);
json_t *bak_neo4j_typed_text(const char *text);

/* `name` with its back-ticks doubled, appended. */
int bak_neo4j_quote(struct bak_buf *out, const char *name, struct bak_error *err);

/* --- export.c --- */

/* Marks what a restore brings until it is complete. */
#define BAK_NEO4J_LABEL "_Bakfs"
#define BAK_NEO4J_ID "_bakfs_id"
#define BAK_NEO4J_LABELS "_bakfs_labels"

int bak_neo4j_export_backup(struct bak_neo4j *neo4j, struct bak_writer *writer, json_t *facts,
			    struct bak_error *err);
/* "nodes", "relationships", "label X", "type T", "constraints", "indexes" */
int bak_neo4j_counts(struct bak_neo4j *neo4j, json_t *counts, struct bak_error *err);

/* --- freeze.c --- */

/* Writers to the labels and types that are there wait until it ends. */
struct bak_neo4j_freeze;
int bak_neo4j_freeze(struct bak_neo4j *neo4j, struct bak_neo4j_freeze **out, struct bak_error *err);
/* To be called often: asks for more time when it is due. */
int bak_neo4j_freeze_ping(struct bak_neo4j_freeze *freeze, struct bak_error *err);
/* Lets them go on. 0: it has held all the time. Frees it. */
int bak_neo4j_thaw(struct bak_neo4j_freeze *freeze, struct bak_error *err);
/* On the way out of a failure. NULL is fine. */
void bak_neo4j_freeze_drop(struct bak_neo4j_freeze *freeze);

/* --- lines.c --- */

/* The files of an export, sorted, a JSON object a line:
 *   counts        {"format":1,"version":"5.26.30","database":"neo4j"}, then
 *                 {"count":"nodes","n":2}, {"count":"label A","n":2} ...
 *   nodes         {"id":"4:...:0","labels":["A"],"properties":{"p":{"$type":"Integer","_value":"1"}}}
 *   relationships {"id":"5:...:0","type":"T","start":"4:...:0","end":"4:...:1","properties":{}}
 *   schema        {"kind":"constraint","name":"c","type":"UNIQUENESS","statement":"CREATE ..."} */
enum bak_neo4j_part {
	BAK_NEO4J_COUNTS,
	BAK_NEO4J_NODES,
	BAK_NEO4J_RELATIONSHIPS,
	BAK_NEO4J_SCHEMA,
	BAK_NEO4J_PARTS, /* so many */
};
extern const char *const bak_neo4j_part_files[BAK_NEO4J_PARTS];

/* Lines out of pieces of a file. At most 64 MiB each. */
typedef int bak_neo4j_line(void *ctx, json_t *line, size_t len, struct bak_error *err);
struct bak_neo4j_lines {
	enum bak_neo4j_part part;
	bak_neo4j_line *line;
	void *ctx;
	struct bak_buf text; /* of the line that is coming in */
	uint64_t n;
};
/* BAK_CORRUPT for a line that is none of that part. */
int bak_neo4j_lines_feed(struct bak_neo4j_lines *lines, const void *p, size_t len,
			 struct bak_error *err);
int bak_neo4j_lines_end(struct bak_neo4j_lines *lines, struct bak_error *err);
void bak_neo4j_lines_release(struct bak_neo4j_lines *lines);
/* Adds a node, a relationship or a line of the schema to counts. */
int bak_neo4j_count_line(json_t *counts, enum bak_neo4j_part part, const json_t *line,
			 struct bak_error *err);
int bak_neo4j_count(json_t *counts, const char *kind, const char *name, struct bak_error *err);
/* A line of the file of counts into facts' counts. */
int bak_neo4j_read_count(json_t *counts, const json_t *line, struct bak_error *err);

/* --- folder.c --- */

int bak_neo4j_export_import(struct bak_neo4j *neo4j, const char *path, struct bak_writer *writer,
			    json_t *facts, struct bak_error *err);

/* --- load.c --- */

int bak_neo4j_export_restore(struct bak_neo4j *neo4j, const struct bak_restore_from *from,
			     json_t *state, struct bak_error *err);

/* --- doctor.c --- */

int bak_neo4j_doctor(struct bak_neo4j *neo4j, const struct bak_checkup *checkup,
		     struct bak_error *err);

#endif
