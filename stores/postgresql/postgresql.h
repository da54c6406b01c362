/*
 * The parts of the postgresql driver: errors in words (error.c), connections and queries
 * (conn.c), PostgreSQL's own programs (tools.c), which databases and tables (select.c),
 * what is counted and kept in the manifest (facts.c), backing up (backup.c), restoring
 * (restore.c, load.c, places.c, new.c, roles.c, swap.c; of a part: part.c, part_run.c, toc.c, rows.c,
 * copy.c, side.c), what restores kept (kept.c), dumps from outside (import.c), the whole server
 * (physical.c), what is wrong (doctor.c). The driver itself is postgresql.c.
 */
#ifndef BAK_STORES_POSTGRESQL_H
#define BAK_STORES_POSTGRESQL_H

#include "stores/payload.h"
#include "stores/process.h"

#include <libpq-fe.h>
#include <stdatomic.h>

/* Names in PostgreSQL have up to 63 bytes. */
#define BAK_PG_NAME_MAX 63

struct bak_pg {
	const struct bak_store_conf *conf;
	const struct bak_store_env *env;
	char *password;   /* NULL: libpq finds its own, or needs none */
	PGconn *main;     /* to the database that names the others; NULL until it is needed */
	int main_pid;     /* its server process, also after it is closed */
	char *default_db; /* that the uri or service names; NULL: none, so all are meant */
	bool by_service;  /* libpq knows the database, and tells once it is connected */
	int version;      /* of the server, as PQserverVersion; 0 until connected */
	json_t *restored_counts; /* taken before others could write */
};

/* --- error.c --- */

/* A failure in the server's or a tool's words becomes one line, with a code and what to do behind
 * it. Both return -1. */
int bak_pg_fail(struct bak_error *err, const char *what, const char *words);
/* The same for what bak_process_* said. */
int bak_pg_advise(struct bak_error *err);

/* --- conn.c --- */

/* A session that no setting of role or database can surprise. db NULL: as the uri says.
 * replication: for BASE_BACKUP. */
int bak_pg_connect(struct bak_pg *pg, const char *db, PGconn **out, struct bak_error *err);
int bak_pg_connect_replication(struct bak_pg *pg, PGconn **out, struct bak_error *err);
/* To any database but those named; for creating, renaming and dropping others. */
int bak_pg_connect_beside(struct bak_pg *pg, const char *const * not, size_t n, PGconn **out,
			  struct bak_error *err);
/* pg->main, connected if it is not yet. */
int bak_pg_main(struct bak_pg *pg, struct bak_error *err);
void bak_pg_close(PGconn **conn); /* for BAK_AUTO */

/* Waits for the answer, and ends the query when the caller wants to stop (env may be NULL: no
 * caller to ask). The result holds rows or says that a command was done. BAK_AUTO(bak_pg_clear).
 */
PGresult *bak_pg_query(const struct bak_store_env *env, PGconn *conn, const char *sql,
		       struct bak_error *err);
PGresult *bak_pg_query_params(const struct bak_store_env *env, PGconn *conn, const char *sql,
			      const char *const *params, int n, struct bak_error *err);
int bak_pg_exec(const struct bak_store_env *env, PGconn *conn, struct bak_error *err,
		const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* The first column of the only row: to be freed; NULL for an error. */
char *bak_pg_text(const struct bak_store_env *env, PGconn *conn, const char *sql,
		  struct bak_error *err);
void bak_pg_clear(PGresult **result);
/* Ends the query that another thread waits for. */
void bak_pg_cancel(PGconn *conn);
/* A name or a value as it stands in SQL; to be freed with PQfreemem (BAK_AUTO(bak_pg_free)). NULL
 * for lack of memory. */
char *bak_pg_ident(PGconn *conn, const char *name);
char *bak_pg_literal(PGconn *conn, const char *value);
void bak_pg_free(char **text);

/* --- tools.c --- */

/* "pg_dump" of at least this server version, of the same major one if there is any: its path, to
 * be freed. *out_major: the one found. BAK_NOT_FOUND names the package. */
int bak_pg_tool(const struct bak_pg *pg, const char *name, int server_version, char **out,
		int *out_major, struct bak_error *err);
/* What a tool needs to connect as conn is, to database db: --dbname's value without secrets, and
 * variables with them. */
struct bak_pg_target {
	char *conninfo;
	char *password;      /* "PGPASSWORD=..." or NULL */
	const char *vars[8]; /* for struct bak_process_conf */
};
int bak_pg_target(PGconn *conn, const char *db, struct bak_pg_target *out, struct bak_error *err);
void bak_pg_target_release(struct bak_pg_target *target);

/* Arguments of a program, growing. Texts are copied. */
struct bak_pg_args {
	size_t n, cap;
	char **v; /* NULL-terminated */
};
int bak_pg_args_add(struct bak_pg_args *args, struct bak_error *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void bak_pg_args_release(struct bak_pg_args *args);

/* --- select.c --- */

/* Names that the list option or, without it, the uri says. The databases: sorted by name; those
 * that take no connections, and templates, are never meant. */
struct bak_pg_names {
	size_t n, cap;
	char **v;
};
void bak_pg_names_release(struct bak_pg_names *names);
int bak_pg_names_add(struct bak_pg_names *names, const char *name, struct bak_error *err);
int bak_pg_databases(struct bak_pg *pg, struct bak_pg_names *out, struct bak_error *err);
/* Whether every database of the server is meant. */
bool bak_pg_means_all(const struct bak_pg *pg);
/* What they take on the server's disk together. */
int bak_pg_size(struct bak_pg *pg, uint64_t *out, struct bak_error *err);
/* Quoted "schema"."table" of the tables and their like that a list option of patterns matches. */
int bak_pg_tables(struct bak_pg *pg, PGconn *conn, const char *option, struct bak_pg_names *out,
		  struct bak_error *err);
/* "TABLE" or "SCHEMA.TABLE" of an option, each part a pattern or in double quotes, as two regular
 * expressions. The buffers are empty before. */
int bak_pg_table_pattern(const char *option, const char *pattern, struct bak_buf *out_schema,
			 struct bak_buf *out_table, struct bak_error *err);
/* A shell pattern (* and ?) as a regular expression for ~. */
int bak_pg_pattern(const char *pattern, size_t len, struct bak_buf *out);

/* --- facts.c --- */

/* Everything that a restore wants to know of a database but its rows. What lies in it (extensions,
 * sequences) is what conn sees. */
int bak_pg_describe(struct bak_pg *pg, PGconn *conn, const char *db, json_t *out,
		    struct bak_error *err);
/* Objects and rows of the database that conn sees, as "label: (things)" and "label: table". */
struct bak_pg_count {
	const char *label;
	const struct bak_pg_names *only, *but; /* tables; NULL: no limit */
	bool rows;                             /* false: objects alone */
	const atomic_bool *stop; /* true ends it between queries, BAK_CANCELLED; may be NULL */
};
int bak_pg_count(const struct bak_store_env *env, PGconn *conn, const struct bak_pg_count *what,
		 json_t *counts, struct bak_error *err);

/* What conn sees has the rows, objects and sequences that the manifest says of database db (its
 * entry there), and no index is broken. */
int bak_pg_validate(struct bak_pg *pg, PGconn *conn, const json_t *db, const json_t *facts,
		    struct bak_error *err);

/* --- backup.c --- */

int bak_pg_backup(struct bak_pg *pg, struct bak_writer *writer, json_t *facts,
		  struct bak_error *err);
/* The file of a database in a snapshot: "<db>.dump", with %XX for what no file name may have; to
 * be freed. */
char *bak_pg_file_name(const char *db, const char *suffix);
#define BAK_PG_GLOBALS "globals.sql"

/* --- doctor.c --- */

int bak_pg_doctor(struct bak_pg *pg, const struct bak_checkup *checkup, struct bak_error *err);

/* --- physical.c --- */

int bak_pg_base_backup(struct bak_pg *pg, struct bak_writer *writer, json_t *facts,
		       struct bak_error *err);

/* --- toc.c --- */

/* What a dump of pg_dump -Fc says that it has. */
#define BAK_PG_TABLES "TABLE|FOREIGN TABLE|VIEW|MATERIALIZED VIEW"
#define BAK_PG_RELATIONS BAK_PG_TABLES "|SEQUENCE"
struct bak_pg_entry {
	int64_t id;
	char *tag, *kind, *schema, *definition; /* "" where it has none */
	int64_t *deps;                          /* ids of what must be there first */
	size_t n_deps;
	size_t owner; /* where what it is a part of stands, as an index's table; SIZE_MAX: nothing */
};
struct bak_pg_toc {
	struct bak_pg_entry *v; /* in the order of restoring */
	size_t n, cap;
	struct bak_pg_toc_id {
		int64_t id;
		size_t at;
	} * by_id;
	uint64_t len; /* all of it stands in so many first bytes of the dump */
};
/* From the beginning of the dump on, as far as need be. */
int bak_pg_toc_read(bak_process_give *give, void *ctx, struct bak_pg_toc *out,
		    struct bak_error *err);
void bak_pg_toc_release(struct bak_pg_toc *toc);
/* Where the entry of that id stands; SIZE_MAX: there is none. */
size_t bak_pg_toc_find(const struct bak_pg_toc *toc, int64_t id);
/* kinds: as in "TABLE|VIEW". */
bool bak_pg_is_kind(const struct bak_pg_entry *entry, const char *kinds);

/* --- rows.c: tables whose rows are replaced --- */

struct bak_pg_table {
	char *schema, *name;
	char *sql;                /* both, as they stand in SQL */
	char kind;                /* pg_class.relkind; 0: it is not there */
	char oid[12], parent[12]; /* parent: "0" unless it is a partition */
};
struct bak_pg_tables {
	size_t n, cap;
	struct bak_pg_table *v;
};
void bak_pg_tables_release(struct bak_pg_tables *tables);
int bak_pg_tables_add(struct bak_pg_tables *tables, PGconn *conn, const char *schema,
		      const char *name, struct bak_error *err);
/* Fills in kind, oid and parent: 1 it is there, 0 not, -1. */
int bak_pg_table_look(const struct bak_store_env *env, PGconn *conn, struct bak_pg_table *table,
		      struct bak_error *err);
/* "ONLY ", or "" for one that consists of partitions. */
const char *bak_pg_table_only(const struct bak_pg_table *table);
/* It is a partition of one of them. */
bool bak_pg_table_is_within(const struct bak_pg_tables *tables, const struct bak_pg_table *table);

/* Locks them, and keeps triggers and foreign keys from acting; rows_end obeys `later`, which undoes
 * that and checks the keys. */
int bak_pg_rows_begin(const struct bak_store_env *env, PGconn *conn,
		      const struct bak_pg_tables *tables, struct bak_pg_names *later,
		      struct bak_error *err);
int bak_pg_rows_end(const struct bak_store_env *env, PGconn *conn, const struct bak_pg_names *later,
		    struct bak_error *err);
int bak_pg_rows_empty(const struct bak_store_env *env, PGconn *conn,
		      const struct bak_pg_tables *tables, struct bak_error *err);
/* A copy of the rows as schema.name, which is new; and the rows exchanged with those of a copy. */
int bak_pg_rows_keep(const struct bak_store_env *env, PGconn *conn,
		     const struct bak_pg_table *table, const char *schema, const char *name,
		     struct bak_error *err);
int bak_pg_rows_exchange(const struct bak_store_env *env, PGconn *conn,
			 const struct bak_pg_table *table, const char *schema, const char *name,
			 struct bak_error *err);
int bak_pg_rows_sequences(const struct bak_store_env *env, PGconn *conn,
			  const struct bak_pg_tables *tables, struct bak_error *err);

/* --- copy.c: rows out of what pg_restore prints --- */

struct bak_pg_copy {
	struct bak_pg *pg;
	PGconn *conn;          /* in a transaction */
	const char *to_schema; /* where all tables are instead of their own; NULL: there */
	struct bak_buf line;
	bool in_copy, at_line;
	size_t held; /* of what may be the end of the rows */
};
/* A bak_process_take; and at the end, rc: how it went. */
int bak_pg_copy_take(void *ctx, const void *p, size_t len, struct bak_error *err);
int bak_pg_copy_end(struct bak_pg_copy *copy, int rc, struct bak_error *err);
/* An identifier at *at, as it stands in SQL: its plain text, terminated, into out; *at is behind it.
 * -1: there is none. */
int bak_pg_take_ident(const char **at, struct bak_buf *out);
/* "schema.name" at *at, appended as "to"."name". */
int bak_pg_move_name(PGconn *conn, const char *to, const char **at, struct bak_buf *out);

/* --- part.c, side.c: tables and schemas --- */

/* What `bakfs restore --table ... --schema ... [--to-schema NAME]` asks for. */
bool bak_pg_is_part(const struct bak_restore_from *from);
int bak_pg_restore_part(struct bak_pg *pg, const struct bak_restore_from *from, json_t *state,
			struct bak_error *err);
/* Undoes it, by its state; and undoes the undoing. */
int bak_pg_rollback_part(struct bak_pg *pg, const json_t *state, struct bak_error *err);

/* The definition of an entry with everything in schema `to` instead, as the first statement of it;
 * terminated. 1, 0 it is not of a kind that can be moved so, -1. */
int bak_pg_moved(PGconn *conn, const struct bak_pg_entry *entry, const char *to,
		 struct bak_buf *out, struct bak_error *err);

/* --- kept.c --- */

/* Rows that a restore replaced stay in a schema called so, a stamp in small letters behind it. */
#define BAK_PG_KEPT "bakfs_before_"
/* Of what restores kept, what the option keep_old says is old: databases like `kept`, which this one
 * kept, and schemas in the database that conn sees. What cannot be dropped is warned of. */
void bak_pg_drop_kept_databases(struct bak_pg *pg, PGconn *admin, const char *kept);
void bak_pg_drop_kept_schemas(struct bak_pg *pg, PGconn *conn);
/* Of those, and of what a restore that was killed left. */
void bak_pg_tell_kept(struct bak_pg *pg, const struct bak_checkup *checkup);

/* --- restore.c --- */

/* Is the file of the snapshot among the paths that are asked for? */
bool bak_pg_is_chosen(const struct bak_restore_from *from, const char *file);
int bak_pg_restore(struct bak_pg *pg, const struct bak_restore_from *from, json_t *state,
		   struct bak_error *err);

/* --- load.c --- */

/* A dump in a snapshot, into an empty database. */
struct bak_pg_load {
	struct bak_repo *repo;
	const struct bak_inode *inode; /* the file */
	bool plain;                    /* SQL */
	const char *tool;              /* pg_restore, or psql for SQL */
	PGconn *conn;                  /* how to connect */
	const char *db;
	uint64_t before, all; /* for progress: bytes of dumps before it, and of all */
};
int bak_pg_load(struct bak_pg *pg, const struct bak_pg_load *what, struct bak_error *err);

/* --- import.c --- */

int bak_pg_import(struct bak_pg *pg, const char *path, struct bak_writer *writer, json_t *facts,
		  struct bak_error *err);

/* --- new.c --- */

/* An empty database of what facts say (those of bak_pg_describe; none of it need be there): its
 * encoding, locale, owner. */
int bak_pg_create(struct bak_pg *pg, PGconn *admin, const char *name, const json_t *facts,
		  struct bak_error *err);
/* Its comment, settings, grants, limit of connections. */
int bak_pg_apply_properties(struct bak_pg *pg, PGconn *admin, const char *name, const json_t *facts,
			    struct bak_error *err);
/* Those that a killed restore left. */
int bak_pg_drop_leftovers(struct bak_pg *pg, PGconn *admin, struct bak_error *err);
/* Names of databases that are being filled begin so, 16 hex digits behind it; and which of them
 * (pg_database d) nobody fills any more. */
#define BAK_PG_FRESH "bakfs_restoring_"
#define BAK_PG_ABANDONED                                                            \
	"d.datname ~ '^" BAK_PG_FRESH "[0-9a-f]{16}$' AND NOT EXISTS (SELECT FROM " \
	"pg_stat_activity a WHERE a.datname = d.datname)"

/* --- roles.c --- */

struct bak_pg_role_work {
	const struct bak_pg_names *wanted; /* NULL: all that are missing */
	struct bak_pg_names made;          /* new ones, in order */
	struct bak_pg_names there;         /* all that the server has then */
};
void bak_pg_role_work_release(struct bak_pg_role_work *work);
/* sql: what pg_dumpall --globals-only wrote. All in one transaction. */
int bak_pg_make_roles(struct bak_pg *pg, PGconn *admin, const char *sql, size_t len,
		      struct bak_pg_role_work *work, struct bak_error *err);
/* Takes back what was made, when nothing of it is in use. */
void bak_pg_drop_roles(struct bak_pg *pg, PGconn *admin, struct bak_pg_role_work *work);
/* The next statement of a script in [p, end), without its ";", comments and \commands before it
 * left out; returns where the one behind it begins. */
const char *bak_pg_statement(const char *p, const char *end, const char **out_begin,
			     size_t *out_len);

/* --- swap.c --- */

/* `other` gets the name live, what has that gets the name kept. */
struct bak_pg_swap {
	const char *live, *kept, *other;
	bool live_is_there, other_is_there;
};
int bak_pg_swap(struct bak_pg *pg, PGconn *admin, const struct bak_pg_swap *swaps, size_t n,
		struct bak_error *err);
/* BAK_BUSY with the list, when others are connected and may not be ended. */
int bak_pg_check_alone(struct bak_pg *pg, PGconn *admin, const char *db, struct bak_error *err);
/* 1 it is there, 0 not, -1. */
int bak_pg_database_exists(struct bak_pg *pg, PGconn *admin, const char *db, struct bak_error *err);
/* state["databases"]: {"name", "kept", "replaced"}. Once more, and it is undone. */
int bak_pg_rollback(struct bak_pg *pg, const json_t *state, struct bak_error *err);

#endif
