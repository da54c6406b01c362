/*
 * The configuration: where it is, and what it owns. config_parse.c reads it.
 */
#include "tools/config_private.h"

#include "engine/base/hash.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

char *bak_config_absolute(const char *folder, const char *path)
{
	char *out;

	if (path[0] == '/')
		return strdup(path);
	if (path[0] == '~' && (path[1] == '/' || !path[1]))
		return asprintf(&out, "%s%s", home_folder(), path + 1) < 0 ? NULL : out;
	return asprintf(&out, "%s/%s", strcmp(folder, "/") ? folder : "", path) < 0 ? NULL : out;
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

/* ---- the file ---- */

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

void bak_config_init(struct bak_config *config)
{
	*config = (struct bak_config){.restore_delay_s = BAK_CONFIG_RESTORE_DELAY_S,
				      .restore_queue = BAK_CONFIG_RESTORE_QUEUE};
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
		bak_keep_release(&config->stores[s].keep);
	}
	free(config->stores);
	bak_keep_release(&config->keep);
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
	*out_path = bak_config_absolute(cwd, path);
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
