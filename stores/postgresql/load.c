/* A dump from a snapshot into a new database, by PostgreSQL's own programs. */
#include "stores/postgresql/dump.h"
#include "stores/postgresql/postgresql.h"

#include "engine/base/hash.h"
#include "engine/ops/repo.h"

#include <stdlib.h>
#include <string.h>

/* How a program ended, with advice; a damaged snapshot needs none. */
static int told(int rc, struct bak_error *err)
{
	return rc == 0 ? 0 : err->code == BAK_CORRUPT ? -1 : bak_pg_advise(err);
}

/* --- pg_restore --- */

static int copy_archive(const struct bak_pg_load *what, struct bak_payload_reader *reader,
			int *out_file, struct bak_error *err)
{
	struct bak_pg_places places = {.n = 0};
	int rc = bak_payload_spill(reader, bak_repo_state_dir(what->repo), bak_pg_places_see,
				   &places, out_file, err);

	if (rc == 0)
		rc = bak_pg_places_write(&places, *out_file, err);
	bak_pg_places_release(&places);
	return rc;
}

/* Several jobs need a file in which each can seek, and that they can open: its only path. */
static int archive_args(const struct bak_pg_load *what, uint64_t jobs,
			const struct bak_pg_target *where, struct bak_pg_args *args,
			struct bak_error *err)
{
	if (bak_pg_args_add(args, err, "%s", what->tool) < 0 ||
	    bak_pg_args_add(args, err, "--exit-on-error") < 0 ||
	    bak_pg_args_add(args, err, "--no-password") < 0 ||
	    bak_pg_args_add(args, err, "--dbname=%s", where->conninfo) < 0)
		return -1;
	if (jobs < 2)
		return 0;
	return bak_pg_args_add(args, err, "--jobs=%llu", (unsigned long long)jobs) < 0
		       ? -1
		       : bak_pg_args_add(args, err, "/proc/self/fd/3");
}

static int log_output(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	(void)err;
	bak_store_log(ctx, "%.*s", (int)len, (const char *)p);
	return 0;
}

static int load_archive(struct bak_pg *pg, const struct bak_pg_load *what,
			struct bak_payload_reader *reader, const struct bak_pg_target *where,
			struct bak_error *err)
{
	BAK_AUTO(bak_pg_args_release) struct bak_pg_args args = {.n = 0};
	BAK_AUTO(bak_close_fd) int file = -1;
	uint64_t jobs = bak_store_get_number(pg->conf, "jobs");

	if (archive_args(what, jobs, where, &args, err) < 0)
		return -1;
	if (jobs > 1 && copy_archive(what, reader, &file, err) < 0)
		return -1;
	const struct bak_process_conf conf = {.env = pg->env,
					      .argv = (const char *const *)args.v,
					      .vars = where->vars,
					      .file = file};
	if (jobs > 1)
		return told(bak_process_read(&conf, log_output, (void *)(uintptr_t)pg->env, err),
			    err);
	return told(bak_process_write(&conf, bak_payload_give, reader, err), err);
}

/* --- psql --- */

static int sql_args(const struct bak_pg_load *what, const struct bak_pg_target *where,
		    struct bak_pg_args *args, struct bak_error *err)
{
	static const char *const options[] = {"--no-psqlrc", "--quiet", "--no-password",
					      "--output=/dev/null", "--set=ON_ERROR_STOP=1",
					      /* in which no database can be dropped */
					      "--single-transaction"};

	if (bak_pg_args_add(args, err, "%s", what->tool) < 0)
		return -1;
	for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
		if (bak_pg_args_add(args, err, "%s", options[i]) < 0)
			return -1;
	}
	return bak_pg_args_add(args, err, "--dbname=%s", where->conninfo);
}

/* SQL for psql, which must not obey commands in it: they reach other databases, files and the
 * shell. So it is told to refuse them, by a command that only a key unknown to the dump would undo;
 * the dump's own two of the kind become comments. */
struct sql_input {
	struct bak_payload_reader *reader;
	struct bak_pg_sql walk;
	char fence[64];
	bool fenced;
};

static int give_sql(void *ctx, const void **out_p, size_t *out_len, struct bak_error *err)
{
	struct sql_input *in = ctx;
	uint64_t begin = in->reader->at;
	const uint8_t *last;
	int rc;

	if (!in->fenced) {
		in->fenced = true;
		*out_p = in->fence;
		*out_len = strlen(in->fence);
		return 1;
	}
	rc = bak_payload_give(in->reader, out_p, out_len, err);
	if (rc <= 0)
		return rc;
	/* whole lines, unless one is longer than all that was read: then it is none of those two */
	last = memrchr(in->reader->buffer, '\n', *out_len);
	if (last && in->reader->at < in->reader->inode->size) {
		*out_len = (size_t)(last + 1 - in->reader->buffer);
		in->reader->at = begin + *out_len;
	}
	bak_pg_sql_feed(&in->walk, in->reader->buffer, *out_len);
	if (in->walk.command_at != UINT64_MAX && in->walk.command_at >= begin)
		memcpy(in->reader->buffer + (in->walk.command_at - begin), "--", 2);
	return 1;
}

static int begin_fence(struct sql_input *in, struct bak_error *err)
{
	uint8_t key[16];
	char hex[33];

	if (bak_random(key, sizeof key, err) < 0)
		return -1;
	bak_hex(hex, key, sizeof key);
	snprintf(in->fence, sizeof in->fence, "\\restrict %s\n", hex);
	return 0;
}

static int load_sql(struct bak_pg *pg, const struct bak_pg_load *what,
		    struct bak_payload_reader *reader, const struct bak_pg_target *where,
		    struct bak_error *err)
{
	BAK_AUTO(bak_pg_args_release) struct bak_pg_args args = {.n = 0};
	struct sql_input in = {.reader = reader};

	if (sql_args(what, where, &args, err) < 0 || begin_fence(&in, err) < 0)
		return -1;
	const struct bak_process_conf conf = {
		.env = pg->env, .argv = (const char *const *)args.v, .vars = where->vars};
	return told(bak_process_write(&conf, give_sql, &in, err), err);
}

int bak_pg_load(struct bak_pg *pg, const struct bak_pg_load *what, struct bak_error *err)
{
	BAK_AUTO(bak_pg_target_release) struct bak_pg_target where = {.conninfo = NULL};
	BAK_AUTO(bak_payload_reader_release)
	struct bak_payload_reader reader = {.env = pg->env,
					    .source = bak_repo_source(what->repo),
					    .inode = what->inode,
					    .before = what->before,
					    .all = what->all};

	if (bak_pg_target(what->conn, what->db, &where, err) < 0)
		return -1;
	return (what->plain ? load_sql : load_archive)(pg, what, &reader, &where, err);
}
