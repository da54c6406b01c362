/*
 * The configuration, read with libinih.
 *
 * libinih sees one line at a time from our own reader, which counts them and leaves indentation
 * out: otherwise an indented key would silently continue the value above it. The reader also
 * handles "[section]" lines itself, since libinih cuts section names at 49 characters, calls nobody
 * for an empty section and takes what stands behind the bracket.
 */
#include "tools/config.h"

#include "engine/base/hash.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const struct bak_config_key bak_config_keys[] = {
	{"repository", "path", "folder of the repository"},
	{"repository", "key_file", "key file that opens it, made by init"},
	{"repository", "password_file", "file with the password in its first line"},
	{"repository", "password_command", "shell command that prints the password"},
	{"repository", "host", "name of this host, instead of the system's"},
	{"repository", "cache", "memory for decoded segments, such as 256M"},
	{"repository", "workers", "threads that compress and seal; 0 is one a core"},
	{"mount", "restore_delay", "seconds in which rm still stops a restore"},
	{"mount", "spool", "folder for uploads, instead of the repository's tmp"},
	{NULL, NULL, NULL},
};
#define N_KEYS (sizeof(bak_config_keys) / sizeof(bak_config_keys[0]) - 1)

enum section { SECTION_NONE, SECTION_REPOSITORY, SECTION_MOUNT, SECTION_STORE };

struct parser {
	struct bak_config *config;
	const char *file;
	char *folder; /* of file: relative paths start here */
	const char *at, *end;
	unsigned line;
	enum section section;
	bool seen[N_KEYS];
	bool failed;
	struct bak_error *err;
};

/* Remembers the first error only; the reader then gives libinih no more lines. Returns -1. */
static int fail_at(struct parser *p, unsigned line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static int fail_at(struct parser *p, unsigned line, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	if (p->failed)
		return -1;
	p->failed = true;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return bak_error_set(p->err, BAK_USAGE, "%s:%u: %s", p->file, line, text);
}

static int fail_nomem(struct parser *p)
{
	if (!p->failed)
		bak_error_nomem(p->err);
	p->failed = true;
	return -1;
}

/* ---- values ---- */

static const char *home_folder(void)
{
	const char *home = getenv("HOME");
	const struct passwd *pw;

	if (home && home[0] == '/')
		return home;
	pw = getpwuid(getuid());
	return pw ? pw->pw_dir : "/";
}

/* "~/x" below the home folder, a relative path below folder; to free, NULL for lack of memory. */
static char *absolute_path(const char *folder, const char *path)
{
	char *out;

	if (path[0] == '/')
		return strdup(path);
	if (path[0] == '~' && (path[1] == '/' || !path[1]))
		return asprintf(&out, "%s%s", home_folder(), path + 1) < 0 ? NULL : out;
	return asprintf(&out, "%s/%s", strcmp(folder, "/") ? folder : "", path) < 0 ? NULL : out;
}

static bool parse_number(const char *text, uint64_t max, uint64_t *out)
{
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	*out = strtoull(text, &end, 10);
	return !errno && !*end && *out <= max;
}

bool bak_parse_size(const char *text, uint64_t *out)
{
	static const char units[] = "KMGT";
	const char *unit;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	*out = strtoull(text, &end, 10);
	if (errno)
		return false;
	unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
	if (unit) {
		unsigned shift = 10 * (unsigned)(unit - units + 1);

		if (*out > (UINT64_MAX >> shift))
			return false;
		*out <<= shift;
		end++;
	}
	return !*end || !strcmp(end, "B") || (unit && !strcmp(end, "iB"));
}

static int set_text(struct parser *p, char **slot, const char *value)
{
	if (!*value)
		return fail_at(p, p->line, "a value is missing");
	*slot = strdup(value);
	return *slot ? 0 : fail_nomem(p);
}

static int set_path(struct parser *p, char **slot, const char *value)
{
	if (!*value)
		return fail_at(p, p->line, "a path is missing");
	*slot = absolute_path(p->folder, value);
	return *slot ? 0 : fail_nomem(p);
}

static int set_unsigned(struct parser *p, unsigned *slot, const char *value, uint64_t max)
{
	uint64_t n;

	if (!parse_number(value, max, &n))
		return fail_at(p, p->line, "\"%s\" is not a number from 0 to %llu", value,
			       (unsigned long long)max);
	*slot = (unsigned)n;
	return 0;
}

static int set_seconds(struct parser *p, unsigned *slot, const char *value)
{
	uint64_t ms;

	if (!bak_duration_parse(value, &ms) || ms > 86400000)
		return fail_at(p, p->line, "\"%s\" is not a time from 0 to one day (5, 90s, 2m)",
			       value);
	*slot = (unsigned)(ms / 1000);
	return 0;
}

static int set_repository(struct parser *p, const char *key, const char *value)
{
	struct bak_config *config = p->config;

	if (!strcmp(key, "path"))
		return strstr(value, "://") ? set_text(p, &config->path, value)
					    : set_path(p, &config->path, value);
	if (!strcmp(key, "key_file"))
		return set_path(p, &config->key_file, value);
	if (!strcmp(key, "password_file"))
		return set_path(p, &config->password_file, value);
	if (!strcmp(key, "password_command"))
		return set_text(p, &config->password_command, value);
	if (!strcmp(key, "host"))
		return set_text(p, &config->host, value);
	if (!strcmp(key, "workers"))
		return set_unsigned(p, &config->workers, value, 1024);
	assert(!strcmp(key, "cache"));
	if (!bak_parse_size(value, &config->cache_bytes))
		return fail_at(p, p->line, "\"%s\" is not a size such as 256M or 1G", value);
	return 0;
}

static int set_mount(struct parser *p, const char *key, const char *value)
{
	if (!strcmp(key, "restore_delay"))
		return set_seconds(p, &p->config->restore_delay_s, value);
	assert(!strcmp(key, "spool"));
	return set_path(p, &p->config->spool, value);
}

static int set_known(struct parser *p, const char *section, const char *key, const char *value)
{
	size_t i;

	for (i = 0; i < N_KEYS; i++) {
		if (strcmp(bak_config_keys[i].section, section) ||
		    strcmp(bak_config_keys[i].key, key))
			continue;
		if (p->seen[i])
			return fail_at(p, p->line, "%s is given twice", key);
		p->seen[i] = true;
		return p->section == SECTION_REPOSITORY ? set_repository(p, key, value)
							: set_mount(p, key, value);
	}
	return fail_at(p, p->line, "unknown key \"%s\" in [%s]", key, section);
}

/* ---- stores ---- */

static int add_pair(struct bak_config_store *store, const char *key, const char *value,
		    unsigned line)
{
	struct bak_store_conf *conf = &store->conf;
	struct bak_store_pair *pairs = realloc(conf->pairs, (conf->n + 1) * sizeof(*pairs));
	unsigned *lines;

	if (!pairs)
		return -1;
	conf->pairs = pairs;
	lines = realloc(store->lines, (conf->n + 1) * sizeof(*lines));
	if (!lines)
		return -1;
	store->lines = lines;
	pairs[conf->n] = (struct bak_store_pair){.key = strdup(key), .value = strdup(value)};
	lines[conf->n] = line;
	conf->n++;
	return pairs[conf->n - 1].key && pairs[conf->n - 1].value ? 0 : -1;
}

static struct bak_config_store *add_store(struct bak_config *config, const char *name,
					  unsigned line)
{
	struct bak_config_store *stores = realloc(config->stores,
						  (config->n_stores + 1) * sizeof(*stores));
	struct bak_config_store *store;

	if (!stores)
		return NULL;
	config->stores = stores;
	store = &stores[config->n_stores++];
	*store = (struct bak_config_store){.conf.name = strdup(name), .line = line};
	return store->conf.name ? store : NULL;
}

static const struct bak_store_option *find_option(const struct bak_store_option *options,
						  const char *key)
{
	for (; options && options->name; options++) {
		if (!strcmp(options->name, key))
			return options;
	}
	return NULL;
}

/* An option of the driver, or one that every store has; NULL for none. */
static const struct bak_store_option *option_of(const struct bak_store_driver *driver,
						const char *key)
{
	const struct bak_store_option *option = find_option(driver->options, key);

	return option ? option : find_option(bak_store_common_options, key);
}

/* What only the configuration knows: keys given twice, paths relative to folder. *out_pair as in
 * bak_store_conf_check. */
static int settle_pairs(struct bak_store_conf *conf, const struct bak_store_driver *driver,
			const char *folder, size_t *out_pair, struct bak_error *err)
{
	size_t i, j;

	for (i = 0; i < conf->n; i++) {
		const struct bak_store_option *option = option_of(driver, conf->pairs[i].key);
		char *path;

		*out_pair = i;
		for (j = 0; option && option->kind != BAK_OPTION_LIST && j < i; j++) {
			if (!strcmp(conf->pairs[j].key, conf->pairs[i].key))
				return bak_error_set(err, BAK_USAGE, "%s is given twice",
						     conf->pairs[i].key);
		}
		if (!option || option->kind != BAK_OPTION_PATH || !*conf->pairs[i].value)
			continue;
		path = absolute_path(folder, conf->pairs[i].value);
		if (!path)
			return bak_error_nomem(err);
		free(conf->pairs[i].value);
		conf->pairs[i].value = path;
	}
	*out_pair = SIZE_MAX;
	return 0;
}

/* Finds the driver and checks the whole section. */
static int settle_store(struct bak_config_store *store, const char *folder, size_t *out_pair,
			struct bak_error *err)
{
	struct bak_store_conf *conf = &store->conf;
	const struct bak_store_driver *driver;
	size_t i;

	*out_pair = SIZE_MAX;
	for (i = 0; i < conf->n && strcmp(conf->pairs[i].key, "type"); i++)
		;
	if (i == conf->n)
		return bak_error_set(err, BAK_USAGE, "store %s has no type", conf->name);
	driver = bak_store_driver_find(conf->pairs[i].value);
	if (!driver) {
		*out_pair = i;
		return bak_error_set(err, BAK_USAGE,
				     "unknown type \"%s\" (bakfs --version lists what is in)",
				     conf->pairs[i].value);
	}
	conf->driver = strdup(driver->name);
	if (!conf->driver)
		return bak_error_nomem(err);
	if (settle_pairs(conf, driver, folder, out_pair, err) < 0)
		return -1;
	return bak_store_conf_check(conf, out_pair, err);
}

static int settle_stores(struct parser *p)
{
	size_t s, pair;

	for (s = 0; s < p->config->n_stores; s++) {
		struct bak_config_store *store = &p->config->stores[s];
		struct bak_error err = BAK_ERROR_INIT;

		if (settle_store(store, p->folder, &pair, &err) == 0)
			continue;
		if (err.code == BAK_NO_MEMORY)
			return fail_nomem(p);
		return fail_at(p, pair < store->conf.n ? store->lines[pair] : store->line, "%s",
			       err.msg);
	}
	return 0;
}

/* ---- the file, line by line ---- */

static int begin_store(struct parser *p, const char *name)
{
	if (!bak_store_name_ok(name))
		return fail_at(p, p->line,
			       "\"%s\" is no store name (1 to %d letters, digits, _ and -)", name,
			       BAK_STORE_NAME_MAX);
	if (bak_config_store(p->config, name))
		return fail_at(p, p->line, "store %s is there twice", name);
	p->section = SECTION_STORE;
	return add_store(p->config, name, p->line) ? 0 : fail_nomem(p);
}

/* line begins with '[' and is not terminated; what may follow the bracket is a comment. */
static int begin_section(struct parser *p, const char *line, size_t len)
{
	const char *close = memchr(line, ']', len), *rest;
	char name[128];

	if (!close)
		return fail_at(p, p->line, "the section's ']' is missing");
	for (rest = close + 1; rest < line + len && isspace((unsigned char)*rest); rest++)
		;
	if (rest < line + len && *rest != ';' && *rest != '#')
		return fail_at(p, p->line, "nothing may follow the section's ']'");
	if ((size_t)(close - line) > sizeof(name))
		return fail_at(p, p->line, "the section's name is too long");
	snprintf(name, sizeof(name), "%.*s", (int)(close - line - 1), line + 1);
	if (!strcmp(name, "repository"))
		p->section = SECTION_REPOSITORY;
	else if (!strcmp(name, "mount"))
		p->section = SECTION_MOUNT;
	else if (!strncmp(name, "store ", 6))
		return begin_store(p, name + 6 + strspn(name + 6, " \t"));
	else
		return fail_at(p, p->line, "unknown section [%s]", name);
	return 0;
}

/* libinih's reader: one line, as fgets would give it. Section lines become empty ones. */
static char *next_line(char *buf, int size, void *ctx)
{
	struct parser *p = ctx;
	const char *line = p->at, *end;
	size_t len;

	if (p->failed || p->at == p->end)
		return NULL;
	end = memchr(line, '\n', (size_t)(p->end - line));
	end = end ? end : p->end;
	p->at = end < p->end ? end + 1 : end;
	p->line++;
	while (line < end && isspace((unsigned char)*line))
		line++;
	len = (size_t)(end - line);
	if (len + 2 > (size_t)size) {
		fail_at(p, p->line, "the line is too long (%d bytes at most)", size - 2);
		return NULL;
	}
	if (memchr(line, 0, len)) {
		fail_at(p, p->line, "a NUL byte: this is not a text file");
		return NULL;
	}
	if (len && *line == '[') {
		if (begin_section(p, line, len) < 0)
			return NULL;
		len = 0;
	}
	memcpy(buf, line, len);
	memcpy(buf + len, "\n", 2);
	return buf;
}

/* libinih's handler: 1 is success. */
static int take_pair(void *ctx, const char *section, const char *key, const char *value)
{
	struct parser *p = ctx;
	struct bak_config *config = p->config;
	int rc;

	(void)section; /* cut at 49 characters: p->section knows better */
	if (!*key)
		rc = fail_at(p, p->line, "a key is missing");
	else if (p->section == SECTION_NONE)
		rc = fail_at(p, p->line, "\"%s\" stands before the first section", key);
	else if (p->section == SECTION_REPOSITORY)
		rc = set_known(p, "repository", key, value);
	else if (p->section == SECTION_MOUNT)
		rc = set_known(p, "mount", key, value);
	else if (add_pair(&config->stores[config->n_stores - 1], key, value, p->line) < 0)
		rc = fail_nomem(p);
	else
		rc = 0;
	return rc == 0;
}

static int check_whole(struct parser *p)
{
	const struct bak_config *config = p->config;

	if (!!config->key_file + !!config->password_file + !!config->password_command > 1)
		return fail_at(p, p->line,
			       "give one of key_file, password_file and password_command");
	return settle_stores(p);
}

/* Where the library lets us, lines may be as long as a path; else it says 200. */
static void widen_lines(void)
{
#ifdef BAKFS_INIH_OPTIONS
	ini_use_stack = false;
	ini_max_line = BAK_CONFIG_LINE_MAX + 2;
	ini_initial_alloc = BAK_CONFIG_LINE_MAX + 2;
	ini_stop_on_first_error = true;
#endif
}

static char *folder_of(const char *file)
{
	const char *slash = strrchr(file, '/');

	if (!slash)
		return getcwd(NULL, 0);
	return slash == file ? strdup("/") : strndup(file, (size_t)(slash - file));
}

int bak_config_parse(struct bak_config *config, const char *file, const char *text, size_t len,
		     struct bak_error *err)
{
	struct parser p = {.config = config, .file = file, .err = err};
	int line;

	if (len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {
		text += 3;
		len -= 3;
	}
	p.at = text;
	p.end = text + len;
	p.folder = folder_of(file);
	if (!p.folder)
		return bak_error_nomem(err);
	widen_lines();
	line = ini_parse_stream(next_line, &p, take_pair, &p);
	if (line == -2)
		fail_nomem(&p);
	else if (line)
		fail_at(&p, (unsigned)line, "neither a [section] nor key = value");
	if (!p.failed)
		check_whole(&p);
	free(p.folder);
	if (p.failed)
		bak_config_release(config);
	return p.failed ? -1 : 0;
}

static int read_all(int fd, const char *path, struct bak_buf *out, struct bak_error *err)
{
	for (;;) {
		ssize_t n;

		if (bak_buf_reserve(out, 65536) < 0)
			return bak_error_nomem(err);
		n = read(fd, out->p + out->len, 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return bak_error_sys(err, errno, "%s", path);
		if (n == 0)
			return 0;
		out->len += (size_t)n;
		if (out->len > BAK_CONFIG_FILE_MAX)
			return bak_error_set(err, BAK_USAGE, "%s: larger than %u bytes", path,
					     BAK_CONFIG_FILE_MAX);
	}
}

int bak_config_read(struct bak_config *config, const char *path, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct bak_buf text = BAK_BUF_INIT;
	int rc;

	if (fd < 0)
		return bak_error_sys(err, errno, "%s", path);
	rc = read_all(fd, path, &text, err);
	if (rc == 0)
		rc = bak_config_parse(config, path, text.p ? (const char *)text.p : "", text.len,
				      err);
	if (text.p)
		bak_wipe(text.p, text.len); /* it may hold a store's password */
	bak_buf_release(&text);
	if (rc < 0)
		return -1;
	config->file = strdup(path);
	if (config->file)
		return 0;
	bak_config_release(config);
	return bak_error_nomem(err);
}

/* ---- from outside ---- */

void bak_config_init(struct bak_config *config)
{
	*config = (struct bak_config){.restore_delay_s = BAK_CONFIG_RESTORE_DELAY_S};
}

void bak_config_release(struct bak_config *config)
{
	size_t s, i;

	for (s = 0; s < config->n_stores; s++) {
		struct bak_store_conf *conf = &config->stores[s].conf;

		for (i = 0; i < conf->n; i++) {
			if (conf->pairs[i].value)
				bak_wipe(conf->pairs[i].value, strlen(conf->pairs[i].value));
		}
		bak_store_conf_release(conf);
		free(config->stores[s].lines);
	}
	free(config->stores);
	free(config->file);
	free(config->path);
	free(config->key_file);
	free(config->password_file);
	free(config->password_command);
	free(config->host);
	free(config->spool);
	bak_config_init(config);
}

static int found(const char *path, char **out_path, struct bak_error *err)
{
	char *cwd;

	if (path[0] == '/') {
		*out_path = strdup(path);
		return *out_path ? 1 : bak_error_nomem(err);
	}
	cwd = getcwd(NULL, 0);
	if (!cwd)
		return bak_error_sys(err, errno, "the current folder");
	*out_path = absolute_path(cwd, path);
	free(cwd);
	return *out_path ? 1 : bak_error_nomem(err);
}

int bak_config_find(const char *explicit_path, bool with_defaults, char **out_path,
		    struct bak_error *err)
{
	const char *env = getenv("BAKFS_CONFIG"), *xdg = getenv("XDG_CONFIG_HOME");
	char *own;

	*out_path = NULL;
	if (explicit_path)
		return found(explicit_path, out_path, err);
	if (env && *env)
		return found(env, out_path, err);
	if (!with_defaults)
		return 0;
	if (asprintf(&own, "%s%s/bakfs/bakfs.conf", xdg && xdg[0] == '/' ? xdg : home_folder(),
		     xdg && xdg[0] == '/' ? "" : "/.config") < 0)
		return bak_error_nomem(err);
	if (access(own, F_OK) == 0) {
		*out_path = own;
		return 1;
	}
	free(own);
	return access("/etc/bakfs/bakfs.conf", F_OK) == 0
		       ? found("/etc/bakfs/bakfs.conf", out_path, err)
		       : 0;
}

const struct bak_config_store *bak_config_store(const struct bak_config *config, const char *name)
{
	size_t i;

	for (i = 0; i < config->n_stores; i++) {
		if (!strcmp(config->stores[i].conf.name, name))
			return &config->stores[i];
	}
	return NULL;
}

/* "/var/lib/app.db" is "app", "/" is fallback. */
static void name_after(const char *address, const char *fallback, char out[BAK_STORE_NAME_MAX + 1])
{
	size_t end = strlen(address), begin, len, i;
	const char *dot;

	while (end && address[end - 1] == '/')
		end--;
	for (begin = end; begin && address[begin - 1] != '/'; begin--)
		;
	dot = memrchr(address + begin, '.', end - begin);
	if (dot && dot > address + begin)
		end = (size_t)(dot - address);
	len = end - begin < BAK_STORE_NAME_MAX ? end - begin : BAK_STORE_NAME_MAX;
	for (i = 0; i < len; i++) {
		char c = address[begin + i];

		out[i] = isalnum((unsigned char)c) || c == '-' ? c : '_';
	}
	out[len] = 0;
	if (!len)
		snprintf(out, BAK_STORE_NAME_MAX + 1, "%s", fallback);
}

/* The driver of "DRIVER:ADDRESS", NULL with err filled. */
static const struct bak_store_driver *adhoc_driver(const char *spec, struct bak_error *err)
{
	const char *colon = strchr(spec, ':');
	const struct bak_store_driver *driver;
	char *type;

	assert(colon);
	type = strndup(spec, (size_t)(colon - spec));
	if (!type) {
		bak_error_nomem(err);
		return NULL;
	}
	driver = bak_store_driver_find(type);
	if (!driver)
		bak_error_set(err, BAK_USAGE, "%s: unknown type \"%s\"", spec, type);
	else if (!driver->address_option)
		bak_error_set(err, BAK_USAGE, "%s: a store of type %s needs a configuration", spec,
			      type);
	else if (!colon[1])
		bak_error_set(err, BAK_USAGE, "%s: say what to back up behind the colon", spec);
	free(type);
	return driver && driver->address_option && colon[1] ? driver : NULL;
}

int bak_config_add_adhoc(struct bak_config *config, const char *spec, const char *name,
			 size_t *out_index, struct bak_error *err)
{
	const struct bak_store_driver *driver = adhoc_driver(spec, err);
	const char *address = strchr(spec, ':') + 1;
	char own_name[BAK_STORE_NAME_MAX + 1];
	struct bak_config_store *store;
	size_t pair;
	char *cwd;
	int rc;

	if (!driver)
		return -1;
	name_after(address, driver->name, own_name);
	name = name ? name : own_name;
	if (!bak_store_name_ok(name))
		return bak_error_set(err, BAK_USAGE,
				     "\"%s\" is no store name (1 to %d letters, digits, _ and -)",
				     name, BAK_STORE_NAME_MAX);
	if (bak_config_store(config, name))
		return bak_error_set(err, BAK_USAGE,
				     "%s: there is a store %s already; choose a name with --name",
				     spec, name);
	store = add_store(config, name, 0);
	if (!store || add_pair(store, "type", driver->name, 0) < 0 ||
	    add_pair(store, driver->address_option, address, 0) < 0)
		return bak_error_nomem(err);
	cwd = getcwd(NULL, 0);
	if (!cwd)
		return bak_error_sys(err, errno, "the current folder");
	rc = settle_store(store, cwd, &pair, err);
	free(cwd);
	*out_index = config->n_stores - 1;
	return rc < 0 ? bak_error_wrap(err, "%s", spec) : 0;
}
