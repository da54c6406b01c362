/* Between part.c, which decides what a restore of tables and schemas does, and part_run.c, which does
 * it. */
#ifndef BAK_STORES_PG_PART_H
#define BAK_STORES_PG_PART_H

#include "stores/postgresql/postgresql.h"

enum {
	BAK_PG_CHOSEN = 1, /* asked for */
	BAK_PG_MAKE = 2,   /* its definition is obeyed */
	BAK_PG_ROWS = 4,   /* its rows are copied */
};

struct bak_pg_part {
	struct bak_pg *pg;
	const struct bak_restore_from *from;
	const char *to_schema; /* NULL: in place */
	json_t *facts;
	const json_t *db; /* the manifest's of the database */
	const char *name; /* of it */
	struct bak_found found;
	char *tool;
	PGconn *conn;
	struct bak_pg_toc toc;
	uint8_t *flags;              /* for each entry */
	struct bak_pg_tables filled; /* there, and get other rows */
	struct bak_pg_tables made;
	char kept[BAK_PG_NAME_MAX + 1]; /* the schema of the old rows */
};

/* The dump, from its beginning. */
struct bak_payload_reader bak_pg_part_reader(const struct bak_pg_part *p);
/* All that is flagged, in one transaction. */
int bak_pg_part_run(struct bak_pg_part *p, json_t *state, struct bak_error *err);

#endif
