/* A server's password: see password.h. */
#include "stores/password.h"

#include "engine/base/hash.h"
#include "stores/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PASSWORD_MAX 4096

struct line {
	char text[PASSWORD_MAX + 1];
	size_t len;
};

static int take(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	struct line *line = ctx;

	(void)err;
	if (len > PASSWORD_MAX - line->len)
		len = PASSWORD_MAX - line->len;
	memcpy(line->text + line->len, p, len);
	line->len += len;
	return 0;
}

static int read_file(const char *path, struct line *line, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return bak_error_sys(err, errno, "password_file %s", path);
	do
		n = read(fd, line->text, PASSWORD_MAX);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return bak_error_sys(err, errno, "password_file %s", path);
	line->len = (size_t)n;
	return 0;
}

static int first_line(struct line *line, const char *option, char **out, struct bak_error *err)
{
	line->text[line->len] = '\0';
	line->text[strcspn(line->text, "\r\n")] = '\0';
	if (!*line->text)
		return bak_error_set(err, BAK_USAGE, "%s gives no password", option);
	*out = strdup(line->text);
	return *out ? 0 : bak_error_nomem(err);
}

int bak_store_password(const struct bak_store_conf *conf, const struct bak_store_env *env,
		       char **out, struct bak_error *err)
{
	const char *password = bak_store_get(conf, "password");
	const char *file = bak_store_get(conf, "password_file");
	const char *command = bak_store_get(conf, "password_command");
	struct line line = {.len = 0};
	int rc;

	*out = NULL;
	if (!!password + !!file + !!command > 1)
		return bak_error_set(err, BAK_USAGE,
				     "password, password_file and password_command exclude each "
				     "other");
	if (!password && !file && !command)
		return 0;
	if (password) {
		*out = strdup(password);
		return *out ? 0 : bak_error_nomem(err);
	}
	if (file)
		rc = read_file(file, &line, err);
	else
		rc = bak_process_read(&(struct bak_process_conf){.env = env, .command = command},
				      take, &line, err);
	if (rc < 0 && command)
		bak_error_wrap(err, "password_command");
	if (rc == 0)
		rc = first_line(&line, file ? "password_file" : "password_command", out, err);
	bak_wipe(&line, sizeof line);
	return rc;
}

void bak_store_password_free(char **password)
{
	if (*password)
		bak_wipe(*password, strlen(*password));
	free(*password);
	*password = NULL;
}
