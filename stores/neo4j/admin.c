/* A Neo4j server's folders, and its own program neo4j-admin. */
#include "stores/neo4j/neo4j.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* neo4j-admin says its version soon or never. */
#define VERSION_TIMEOUT_MS 60000

/* --- where things are --- */

static char *join(const char *dir, const char *name)
{
	char *path;

	if (name[0] == '/')
		return strdup(name);
	return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

/* The value of a line "key = value", or NULL. Cuts the line. */
static char *setting_of(char *line, const char *key)
{
	size_t n = strlen(key);
	char *value = line + strspn(line, " \t");

	if (strncmp(value, key, n) != 0)
		return NULL;
	value += n + strspn(value + n, " \t");
	if (*value++ != '=')
		return NULL;
	value += strspn(value, " \t");
	value[strcspn(value, "\r\n")] = '\0';
	for (n = strlen(value); n && isblank((unsigned char)value[n - 1]);)
		value[--n] = '\0';
	return *value ? value : NULL;
}

struct settings {
	char *data, *logs_root; /* as they stand there; the last one counts */
};

static int take_line(struct settings *settings, char *line)
{
	static const char *const data_keys[] = {"server.directories.data", "dbms.directories.data"};
	static const char *const root_keys[] = {"server.directories.transaction.logs.root",
						"dbms.directories.transaction.logs.root"};

	for (size_t i = 0; i < 2; i++) {
		char *value = setting_of(line, data_keys[i]);
		char **to = &settings->data;

		if (!value) {
			value = setting_of(line, root_keys[i]);
			to = &settings->logs_root;
		}
		if (!value)
			continue;
		free(*to);
		*to = strdup(value);
		return *to ? 0 : -1;
	}
	return 0;
}

/* A server without neo4j.conf has none of the settings. */
static int read_settings(const char *conf_dir, struct settings *out, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *path = join(conf_dir, "neo4j.conf");
	BAK_AUTO(bak_free_ptr) char *line = NULL;
	FILE *file = path ? fopen(path, "re") : NULL;
	size_t cap = 0;
	int rc = 0;

	if (!path)
		return bak_error_nomem(err);
	if (!file)
		return errno == ENOENT ? 0 : bak_error_sys(err, errno, "%s", path);
	while (rc == 0 && getline(&line, &cap, file) >= 0)
		rc = take_line(out, line);
	fclose(file);
	return rc < 0 ? bak_error_nomem(err) : 0;
}

static char *find_conf_dir(const struct bak_neo4j *neo4j, const char *home)
{
	const char *conf = bak_store_get(neo4j->conf, "conf");
	char *own = conf ? strdup(conf) : join(home, "conf");

	if (!conf && own && access(own, F_OK) < 0 && access("/etc/neo4j", F_OK) == 0) {
		free(own);
		own = strdup("/etc/neo4j");
	}
	return own;
}

int bak_neo4j_places(const struct bak_neo4j *neo4j, struct bak_neo4j_places *out,
		     struct bak_error *err)
{
	const char *home = bak_store_get(neo4j->conf, "home");
	struct settings settings = {.data = NULL};
	int rc = 0;

	*out = (struct bak_neo4j_places){.conf_dir = find_conf_dir(neo4j, home)};
	if (!out->conf_dir)
		rc = bak_error_nomem(err);
	if (rc == 0)
		rc = read_settings(out->conf_dir, &settings, err);
	if (rc == 0) {
		out->data = join(home, settings.data ? settings.data : "data");
		if (out->data)
			out->databases = join(out->data, "databases");
		if (out->data && settings.logs_root)
			out->transactions = join(home, settings.logs_root);
		else if (out->data)
			out->transactions = join(out->data, "transactions");
		if (!out->databases || !out->transactions)
			rc = bak_error_nomem(err);
	}
	free(settings.data);
	free(settings.logs_root);
	if (rc < 0)
		bak_neo4j_places_release(out);
	return rc;
}

void bak_neo4j_places_release(struct bak_neo4j_places *places)
{
	free(places->conf_dir);
	free(places->data);
	free(places->databases);
	free(places->transactions);
	*places = (struct bak_neo4j_places){.data = NULL};
}

/* --- finding the program --- */

static char *find_in_path(const char *name)
{
	const char *path = getenv("PATH");

	while (path && *path) {
		size_t n = strcspn(path, ":");
		char *file;

		if (n && asprintf(&file, "%.*s/%s", (int)n, path, name) >= 0) {
			if (access(file, X_OK) == 0)
				return file;
			free(file);
		}
		path += n + (path[n] == ':');
	}
	return NULL;
}

int bak_neo4j_admin_path(const struct bak_neo4j *neo4j, char **out, struct bak_error *err)
{
	const char *own = bak_store_get(neo4j->conf, "neo4j_admin");
	const char *home = bak_store_get(neo4j->conf, "home");
	char *path = own ? strdup(own) : join(home, "bin/neo4j-admin");

	if (path && !own && access(path, X_OK) < 0) {
		free(path);
		path = find_in_path("neo4j-admin");
		if (!path)
			return bak_error_set(err, BAK_UNSUPPORTED,
					     "neo4j-admin is neither in %s/bin nor in PATH: set "
					     "home or neo4j_admin",
					     home);
	}
	if (!path)
		return bak_error_nomem(err);
	if (access(path, X_OK) < 0) {
		bak_error_sys(err, errno, "neo4j-admin: %s", path);
		free(path);
		return -1;
	}
	*out = path;
	return 0;
}

/* --- running it --- */

static const struct advice {
	const char *words;
	enum bak_errc code;
	const char *todo;
} advices[] = {
	{"database is in use", BAK_BUSY, "stop the server first"},
	{"Database does not exist", BAK_NOT_FOUND, "see the option database"},
	{"Active logical log detected", BAK_REFUSED,
	 "the server was not stopped cleanly: start it and stop it once"},
	{"ou do not have permission", BAK_REFUSED, "run bakfs as the server's user, or as root"},
	{"different user", BAK_REFUSED, "run bakfs as the server's user, or as root"},
	{"of a newer version than", BAK_UNSUPPORTED, "restore into a newer Neo4j"},
	{"Can not read store version", BAK_UNSUPPORTED,
	 "another edition or format wrote it, or it is damaged"},
	{"Not a valid Neo4j archive", BAK_CORRUPT, NULL},
	{"Unsupported Java", BAK_UNSUPPORTED, "see JAVA_HOME"},
	{"UnsupportedClassVersionError", BAK_UNSUPPORTED, "this Java is too old: see JAVA_HOME"},
	{"Unable to find any JVMs", BAK_UNSUPPORTED, "install Java, or set JAVA_HOME"},
	{"java: not found", BAK_UNSUPPORTED, "install Java, or set JAVA_HOME"},
	{"No space left on device", BAK_NO_SPACE, NULL},
};

/* What it logs of a failure, without what stands before and behind. */
static void cut_to_reason(struct bak_error *err)
{
	char *from = strstr(err->msg, "Failed to "), *end;

	if (!from)
		return;
	memmove(err->msg, from, strlen(from) + 1);
	end = strstr(err->msg, "; 20");
	if (!end)
		end = strstr(err->msg, ";Dump failed");
	if (!end)
		end = strstr(err->msg, ";Load failed");
	if (!end)
		end = strstr(err->msg, ";20");
	if (end)
		*end = '\0';
}

static int advise(struct bak_error *err)
{
	struct bak_error said = *err;

	if (err->code == BAK_CANCELLED || err->code == BAK_CORRUPT)
		return -1;
	cut_to_reason(&said);
	for (size_t i = 0; i < sizeof advices / sizeof *advices; i++) {
		if (!strstr(err->msg, advices[i].words))
			continue;
		return bak_error_set(err, advices[i].code, "neo4j-admin: %s%s%s", said.msg,
				     advices[i].todo ? ": " : "",
				     advices[i].todo ? advices[i].todo : "");
	}
	return bak_error_set(err, said.code, "neo4j-admin: %s", said.msg);
}

#define SETPRIV "/usr/bin/setpriv"
#define WORDS_MAX 24

/* What one run is made of. */
struct run {
	char *program, *home, *conf, *uid, *gid;
	const char *argv[WORDS_MAX], *vars[3];
	const struct bak_store_env *outer;
	struct bak_store_env env;
	struct bak_process_conf process;
};

/* Its progress is several hundred lines of nothing. */
static void log_line(void *ctx, const char *line)
{
	const struct run *run = ctx;

	if (*line && strncmp(line, "Files: ", 7) != 0)
		bak_store_log(run->outer, "neo4j-admin: %s", line);
}

static int is_cancelled(void *ctx)
{
	const struct run *run = ctx;

	return run->outer->cancelled && run->outer->cancelled(run->outer->ctx);
}

static void release_run(struct run *run)
{
	free(run->program);
	free(run->home);
	free(run->conf);
	free(run->uid);
	free(run->gid);
}

/* As root, files that it writes must be the server's own. */
static int add_user(struct run *run, const struct bak_neo4j_places *places, size_t *n,
		    struct bak_error *err)
{
	struct stat st;

	if (geteuid() != 0 || stat(places->data, &st) < 0 || st.st_uid == 0)
		return 0;
	if (asprintf(&run->uid, "--reuid=%u", st.st_uid) < 0 ||
	    asprintf(&run->gid, "--regid=%u", st.st_gid) < 0)
		return bak_error_nomem(err);
	run->argv[(*n)++] = SETPRIV;
	run->argv[(*n)++] = run->uid;
	run->argv[(*n)++] = run->gid;
	run->argv[(*n)++] = "--clear-groups";
	return 0;
}

static int make_run(const struct bak_neo4j_admin *admin, struct run *run, struct bak_error *err)
{
	const char *conf_dir = admin->conf_dir ? admin->conf_dir : admin->places->conf_dir;
	size_t n = 0;

	if (bak_neo4j_admin_path(admin->neo4j, &run->program, err) < 0 ||
	    add_user(run, admin->places, &n, err) < 0)
		return -1;
	if (asprintf(&run->home, "NEO4J_HOME=%s", bak_store_get(admin->neo4j->conf, "home")) < 0 ||
	    asprintf(&run->conf, "NEO4J_CONF=%s", conf_dir) < 0)
		return bak_error_nomem(err);
	run->vars[0] = run->home;
	run->vars[1] = run->conf;
	run->argv[n++] = run->program;
	for (size_t i = 0; admin->words[i] && n < WORDS_MAX - 1; i++)
		run->argv[n++] = admin->words[i];
	run->outer = admin->neo4j->env;
	run->env = (struct bak_store_env){.ctx = run, .log = log_line, .cancelled = is_cancelled};
	run->process = (struct bak_process_conf){
		.env = &run->env, .argv = run->argv, .vars = run->vars};
	return 0;
}

int bak_neo4j_admin_read(const struct bak_neo4j_admin *admin, bak_process_take *take, void *ctx,
			 struct bak_error *err)
{
	BAK_AUTO(release_run) struct run run = {.program = NULL};

	if (make_run(admin, &run, err) < 0)
		return -1;
	return bak_process_read(&run.process, take, ctx, err) < 0 ? advise(err) : 0;
}

int bak_neo4j_admin_write(const struct bak_neo4j_admin *admin, bak_process_give *give, void *ctx,
			  struct bak_error *err)
{
	BAK_AUTO(release_run) struct run run = {.program = NULL};

	if (make_run(admin, &run, err) < 0)
		return -1;
	return bak_process_write(&run.process, give, ctx, err) < 0 ? advise(err) : 0;
}

/* --- its version --- */

struct line {
	char text[64];
	size_t len;
};

static int take_version(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	struct line *line = ctx;
	size_t room = sizeof line->text - 1 - line->len;

	(void)err;
	len = len < room ? len : room;
	memcpy(line->text + line->len, p, len);
	line->len += len;
	line->text[line->len] = '\0';
	return 0;
}

int bak_neo4j_admin_version(struct bak_neo4j *neo4j, const struct bak_neo4j_places *places,
			    struct bak_error *err)
{
	static const char *const words[] = {"--version", NULL};
	const struct bak_neo4j_admin admin = {.neo4j = neo4j, .places = places, .words = words};
	BAK_AUTO(release_run) struct run run = {.program = NULL};
	struct line line = {.len = 0};

	if (*neo4j->admin_version)
		return 0;
	if (make_run(&admin, &run, err) < 0)
		return -1;
	run.process.timeout_ms = VERSION_TIMEOUT_MS;
	if (bak_process_read(&run.process, take_version, &line, err) < 0)
		return advise(err);
	line.text[strcspn(line.text, "\r\n")] = '\0';
	if (!bak_neo4j_version(line.text))
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "neo4j-admin says \"%s\" and not its version", line.text);
	memcpy(neo4j->admin_version, line.text, sizeof line.text);
	return 0;
}

unsigned bak_neo4j_version(const char *text)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return 0;
	unsigned long major = strtoul(text, &end, 10), minor;
	if (*end != '.' || major > 9999)
		return 0;
	minor = strtoul(end + 1, NULL, 10);
	return minor > 999 ? 0 : (unsigned)(major * 1000 + minor);
}
