/* PostgreSQL's own programs: finding those of the right version, and what they need to connect. */
#include "stores/postgresql/postgresql.h"

#include "engine/base/hash.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How many versions newer than the server a tool may be. */
#define NEWER_MAX 10

/* --- arguments --- */

int bak_pg_args_add(struct bak_pg_args *args, struct bak_error *err, const char *fmt, ...)
{
	va_list ap;
	char *text;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		return bak_error_nomem(err);
	if (bak_grow(&args->v, &args->cap, args->n + 1, sizeof *args->v) < 0) {
		free(text);
		return bak_error_nomem(err);
	}
	args->v[args->n++] = text;
	args->v[args->n] = NULL;
	return 0;
}

void bak_pg_args_release(struct bak_pg_args *args)
{
	for (size_t i = 0; i < args->n; i++)
		free(args->v[i]);
	free(args->v);
	*args = (struct bak_pg_args){.n = 0};
}

/* --- finding --- */

struct said {
	char text[200];
	size_t len;
};

static int take(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	struct said *said = ctx;
	size_t room = sizeof said->text - 1 - said->len;

	(void)err;
	len = len < room ? len : room;
	memcpy(said->text + said->len, p, len);
	said->len += len;
	said->text[said->len] = '\0';
	return 0;
}

/* "pg_dump (PostgreSQL) 15.20 (Debian ...)": 15; 0 when it says nothing of the kind. */
static int major_of(const struct bak_store_env *env, const char *path)
{
	const char *argv[] = {path, "--version", NULL};
	const struct bak_process_conf conf = {.env = env, .argv = argv, .timeout_ms = 30000};
	struct bak_error scratch = BAK_ERROR_INIT;
	struct said said = {.len = 0};

	if (access(path, X_OK) < 0 || bak_process_read(&conf, take, &said, &scratch) < 0)
		return 0;
	const char *at = strstr(said.text, "(PostgreSQL) ");
	long major = at ? strtol(at + strlen("(PostgreSQL) "), NULL, 10) : 0;
	return major > 0 && major < 1000 ? (int)major : 0;
}

struct search {
	const struct bak_pg *pg;
	const char *name;
	int want;   /* major version */
	char *path; /* found */
	int major;
	int other; /* found, but of no use */
	char other_dir[200];
};

/* True: it will do. */
static bool try_dir(struct search *s, const char *dir, int least, int most)
{
	char *path;
	int major;

	if (asprintf(&path, "%s/%s", dir, s->name) < 0)
		return false;
	major = major_of(s->pg->env, path);
	if (major >= least && major <= most) {
		s->path = path;
		s->major = major;
		return true;
	}
	if (major > s->other && (s->other < s->want)) {
		s->other = major;
		snprintf(s->other_dir, sizeof s->other_dir, "%s", dir);
	}
	free(path);
	return false;
}

/* Where distributions put each major version's programs. */
static bool try_version_dirs(struct search *s, int major)
{
	static const char *const places[] = {"/usr/lib/postgresql/%d/bin", "/usr/pgsql-%d/bin",
					     "/usr/libexec/postgresql%d",
					     "/usr/local/opt/postgresql@%d/bin"};

	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		const char *mark = strstr(places[i], "%d");
		char dir[100];

		snprintf(dir, sizeof dir, "%.*s%d%s", (int)(mark - places[i]), places[i], major,
			 mark + 2);
		if (try_dir(s, dir, major, major))
			return true;
	}
	return false;
}

static bool try_path(struct search *s, int least, int most)
{
	const char *path = getenv("PATH");

	while (path && *path) {
		size_t n = strcspn(path, ":");
		char dir[500];

		snprintf(dir, sizeof dir, "%.*s", (int)n, path);
		if (n && n < sizeof dir && try_dir(s, dir, least, most))
			return true;
		path += n + (path[n] == ':');
	}
	return false;
}

static bool search(struct search *s)
{
	const char *bin_dir = bak_store_get(s->pg->conf, "bin_dir");
	int most = s->want + NEWER_MAX;

	if (bin_dir)
		return try_dir(s, bin_dir, s->want, most);
	if (try_version_dirs(s, s->want) || try_path(s, s->want, s->want))
		return true;
	for (int major = s->want + 1; major <= most; major++) {
		if (try_version_dirs(s, major))
			return true;
	}
	return try_path(s, s->want, most);
}

int bak_pg_tool(const struct bak_pg *pg, const char *name, int server_version, char **out,
		int *out_major, struct bak_error *err)
{
	struct search s = {.pg = pg, .name = name, .want = server_version / 10000};

	if (search(&s)) {
		*out = s.path;
		*out_major = s.major;
		return 0;
	}
	if (s.other)
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "the server is PostgreSQL %d, and the %s in %s is %d: install "
				     "postgresql-client-%d, or set bin_dir",
				     s.want, name, s.other_dir, s.other, s.want);
	return bak_error_set(err, BAK_UNSUPPORTED,
			     "%s is not here: install postgresql-client-%d, or set bin_dir", name,
			     s.want);
}

/* --- connecting --- */

/* key='value', with \ before \ and ' */
static int add_setting(struct bak_buf *text, const char *key, const char *value)
{
	if (bak_buf_printf(text, "%s%s='", text->len ? " " : "", key) < 0)
		return -1;
	for (; *value; value++) {
		if (strchr("\\'", *value) && bak_buf_append(text, "\\", 1) < 0)
			return -1;
		if (bak_buf_append(text, value, 1) < 0)
			return -1;
	}
	return bak_buf_append(text, "'", 1);
}

static bool is_passed(const PQconninfoOption *option)
{
	static const char *const ours[] = {"dbname", "client_encoding", "fallback_application_name",
					   "replication", "options"};

	if (!option->val || !*option->val || *option->dispchar)
		return false;
	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
		if (strcmp(option->keyword, ours[i]) == 0)
			return false;
	}
	return true;
}

static int fill_target(PGconn *conn, const char *db, struct bak_pg_target *out,
		       const PQconninfoOption *options, struct bak_error *err)
{
	struct bak_buf text = BAK_BUF_INIT;
	int rc = 0;

	for (; options->keyword; options++) {
		if (strcmp(options->keyword, "sslpassword") == 0 && options->val && *options->val)
			rc = bak_error_set(err, BAK_UNSUPPORTED,
					   "sslpassword cannot be given to pg_dump without showing "
					   "it: use a key without a password");
		else if (is_passed(options) && add_setting(&text, options->keyword, options->val))
			rc = bak_error_nomem(err);
	}
	if (rc == 0 && (add_setting(&text, "dbname", db) < 0 || bak_buf_append(&text, "", 1) < 0))
		rc = bak_error_nomem(err);
	out->conninfo = (char *)text.p;
	if (rc == 0 && PQconnectionUsedPassword(conn) &&
	    asprintf(&out->password, "PGPASSWORD=%s", PQpass(conn)) < 0) {
		out->password = NULL;
		rc = bak_error_nomem(err);
	}
	return rc;
}

int bak_pg_target(PGconn *conn, const char *db, struct bak_pg_target *out, struct bak_error *err)
{
	PQconninfoOption *options = PQconninfo(conn);
	size_t n = 0;
	int rc;

	*out = (struct bak_pg_target){.conninfo = NULL};
	if (!options)
		return bak_error_nomem(err);
	rc = fill_target(conn, db, out, options, err);
	PQconninfoFree(options);
	if (rc < 0)
		bak_pg_target_release(out);
	/* Limits that were set for applications must not end it; and words as we know them. */
	out->vars[n++] =
		"PGOPTIONS=-c statement_timeout=0 -c idle_in_transaction_session_timeout=0";
	out->vars[n++] = "LC_ALL=C.UTF-8";
	out->vars[n++] = "PGCLIENTENCODING=UTF8";
	if (out->password)
		out->vars[n++] = out->password;
	return rc;
}

void bak_pg_target_release(struct bak_pg_target *target)
{
	free(target->conninfo);
	if (target->password)
		bak_wipe(target->password, strlen(target->password));
	free(target->password);
	*target = (struct bak_pg_target){.conninfo = NULL};
}
