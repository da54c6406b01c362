/*
 * The configuration, read with libinih.
 *
 * libinih sees one line at a time from our own reader, which counts them and leaves indentation
 * out: otherwise an indented key would silently continue the value above it. The reader also
 * handles "[section]" lines itself, since libinih cuts section names at 49 characters, calls nobody
 * for an empty section and takes what stands behind the bracket.
 */
#include "tools/config_private.h"

#include "engine/objects/parity.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct bak_config_key bak_config_keys[] = {
	{"repository", "path", "folder of the repository"},
	{"repository", "key_file", "key file that opens it, made by init"},
	{"repository", "password_file", "file with the password in its first line"},
	{"repository", "password_command", "shell command that prints the password"},
	{"repository", "host", "name of this host, instead of the system's"},
	{"repository", "cache", "memory for decoded segments, such as 256M"},
	{"repository", "memory", "bound of what a backup holds, such as 128M"},
	{"repository", "workers", "threads that compress and seal; 0 is one a core"},
	{"repository", "parity", "parity written behind packs, such as 5%"},
	{"repository", "keep_last", "forget keeps so many snapshots of a store"},
	{"repository", "keep_within", "and all not older than this, such as 30d"},
	{"repository", "keep_hourly", "and the last of each of so many hours"},
	{"repository", "keep_daily", "... days"},
	{"repository", "keep_weekly", "... weeks"},
	{"repository", "keep_monthly", "... months"},
	{"repository", "keep_yearly", "... years"},
	{"repository", "keep_tag", "and all that have one of these tags"},
	{"mount", "restore_delay", "seconds in which rm still stops a restore"},
	{"mount", "restore_deadline", "time after which a restore that has not begun fails"},
	{"mount", "restore_queue", "restores of one store that may be on their way"},
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

static bool parse_number(const char *text, uint64_t max, uint64_t *out)
{
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	*out = strtoull(text, &end, 10);
	return !errno && !*end && *out <= max;
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
	*slot = bak_config_absolute(p->folder, value);
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

/* "5%" or "5". */
static int set_parity(struct parser *p, unsigned *slot, const char *value)
{
	char number[8];
	size_t len = strcspn(value, "%");
	uint64_t n;

	snprintf(number, sizeof(number), "%.*s", len < sizeof(number) ? (int)len : 0, value);
	if (!parse_number(number, BAK_PARITY_MAX_PERCENT, &n) || strlen(value) - len > 1)
		return fail_at(p, p->line, "\"%s\" is not a share from 0%% to %u%%", value,
			       BAK_PARITY_MAX_PERCENT);
	*slot = (unsigned)n;
	return 0;
}

/* The place of "keep_..." among the rules, or SIZE_MAX. */
static size_t keep_rule(const char *key)
{
	const char *name;
	size_t i;

	for (i = 0; !strncmp(key, "keep_", 5) && (name = bak_keep_rule_name(i)); i++) {
		if (!strcmp(key + 5, name))
			return i;
	}
	return SIZE_MAX;
}

static int set_keep(struct parser *p, struct bak_keep *keep, const char *key, const char *value)
{
	unsigned before = keep->given;
	struct bak_error err = BAK_ERROR_INIT;
	int rc = bak_keep_set(keep, keep_rule(key), value, &err);

	if (rc < 0)
		return err.code == BAK_NO_MEMORY ? fail_nomem(p)
						 : fail_at(p, p->line, "%s", err.msg);
	return keep->given == before ? fail_at(p, p->line, "%s is given twice", key) : 0;
}

static int set_size(struct parser *p, uint64_t *out, const char *value)
{
	if (!bak_parse_size(value, out))
		return fail_at(p, p->line, "\"%s\" is not a size such as 256M or 1G", value);
	return 0;
}

/* Less would not hold one segment at each stage. */
#define MEMORY_MIN ((uint64_t)32 << 20)

static int set_memory(struct parser *p, uint64_t *out, const char *value)
{
	if (set_size(p, out, value) < 0)
		return -1;
	if (*out < MEMORY_MIN)
		return fail_at(p, p->line, "memory is at least 32M");
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
	if (keep_rule(key) != SIZE_MAX)
		return set_keep(p, &config->keep, key, value);
	if (!strcmp(key, "workers"))
		return set_unsigned(p, &config->workers, value, 1024);
	if (!strcmp(key, "parity"))
		return set_parity(p, &config->parity, value);
	if (!strcmp(key, "memory"))
		return set_memory(p, &config->memory, value);
	assert(!strcmp(key, "cache"));
	return set_size(p, &config->cache_bytes, value);
}

static int set_mount(struct parser *p, const char *key, const char *value)
{
	if (!strcmp(key, "restore_delay"))
		return set_seconds(p, &p->config->restore_delay_s, value);
	if (!strcmp(key, "restore_deadline"))
		return set_seconds(p, &p->config->restore_deadline_s, value);
	if (!strcmp(key, "restore_queue"))
		return set_unsigned(p, &p->config->restore_queue, value, 1000);
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

static int settle_stores(struct parser *p)
{
	size_t s, pair;

	for (s = 0; s < p->config->n_stores; s++) {
		struct bak_config_store *store = &p->config->stores[s];
		struct bak_error err = BAK_ERROR_INIT;

		if (bak_config_settle(store, p->folder, &pair, &err) == 0)
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
	return bak_config_add_store(p->config, name, p->line) ? 0 : fail_nomem(p);
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

static int set_store(struct parser *p, struct bak_config_store *store, const char *key,
		     const char *value)
{
	if (keep_rule(key) != SIZE_MAX)
		return set_keep(p, &store->keep, key, value);
	return bak_config_add_pair(store, key, value, p->line) < 0 ? fail_nomem(p) : 0;
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
	else
		rc = set_store(p, &config->stores[config->n_stores - 1], key, value);
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
