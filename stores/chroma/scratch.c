/*
 * Single collections out of a saved folder: only a server can read its indexes. So the folder is
 * unpacked somewhere, a server of our own runs on it for as long as it is asked for rows, and what
 * it says is put on the live server like any other collection.
 */
#include "stores/chroma/chroma.h"

#include "stores/payload.h"
#include "stores/place.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

#define START_MS 120000
#define LOG "bakfs-server.log"

/* The server ends with us, however we end: then our end of its standard input is closed. Its own
 * end shows by the other pipe, of which descriptor 9 is the only writer left. */
static const char script[] = "%s run --path \"$1\" --host 127.0.0.1 --port \"$2\" </dev/null 9>&1 "
			     ">/dev/null 2>\"$1/" LOG "\" &\n"
			     "exec >/dev/null\n"
			     "read -r line\n"
			     "kill $!\n"
			     "wait $!\n";

struct scratch {
	struct bak_chroma *chroma;
	const struct bak_restore_from *from;
	int parent_fd, fd;
	char name[NAME_MAX + 1];
	char *path;
	pid_t pid;
	int in, out; /* its standard input and output, our ends */
	char url[64];
	struct bak_store_conf conf; /* url alone is another */
	struct bak_store_pair *pairs;
	struct bak_http *http;
	struct bak_chroma_list list;
	struct bak_chroma_collection *chosen; /* borrowed from the list */
	size_t n_chosen;

	/* The one that is read. */
	const struct bak_chroma_collection *reading;
	uint64_t rows;
	struct bak_chroma_fetch *fetch;
	const struct bak_chroma_page *page;
	size_t at;
	struct bak_buf line;
};

/* --- the folder --- */

static int unpack(struct scratch *s, struct bak_error *err)
{
	const char *parent = getenv("TMPDIR");
	const struct bak_extract_conf conf = {.verify = true};
	struct bak_extract_result result;
	uint64_t need, room;

	if (!parent || parent[0] != '/')
		parent = "/var/tmp";
	s->parent_fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->parent_fd < 0)
		return bak_error_sys(err, errno, "%s", parent);
	if (bak_payload_room(s->from, s->parent_fd, &need, &room, err) < 0)
		return bak_error_wrap(err, "%s", parent);
	if (need > room)
		return bak_error_set(err, BAK_NO_SPACE,
				     "%s has no room to unpack the snapshot for a while; let "
				     "TMPDIR name another folder",
				     parent);
	if (bak_place_make_fresh(s->parent_fd, "chroma", s->name, &s->fd, err) < 0)
		return bak_error_wrap(err, "%s", parent);
	if (asprintf(&s->path, "%s/%s", parent, s->name) < 0) {
		s->path = NULL;
		return bak_error_nomem(err);
	}
	if (bak_extract(s->from->repo, s->from->snapshot, s->fd, &conf, &result, err) < 0)
		return -1;
	if (fchmod(s->fd, 0700) < 0)
		return bak_error_sys(err, errno, "%s", s->path);
	return result.damaged ? bak_error_set(err, BAK_CORRUPT, "the snapshot is damaged") : 0;
}

/* --- the server --- */

/* One that nobody listens on. */
static int free_port(unsigned *out, struct bak_error *err)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	BAK_AUTO(bak_close_fd) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof addr;

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, len) < 0 ||
	    getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		return bak_error_sys(err, errno, "looking for a free port");
	*out = ntohs(addr.sin_port);
	return 0;
}

static int spawn(struct scratch *s, const char *text, const char *port, int in, int out,
		 struct bak_error *err)
{
	const char *argv[] = {"sh", "-c", text, "sh", s->path, port, NULL};
	posix_spawn_file_actions_t actions;
	int rc = posix_spawn_file_actions_init(&actions);

	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	if (rc == 0)
		rc = posix_spawn(&s->pid, "/bin/sh", &actions, NULL, (char *const *)(uintptr_t)argv,
				 environ);
	posix_spawn_file_actions_destroy(&actions);
	if (rc == 0)
		return 0;
	s->pid = 0;
	return bak_error_sys(err, rc, "starting a server");
}

static int start(struct scratch *s, struct bak_error *err)
{
	const char *command = bak_store_get(s->chroma->conf, "server_command");
	BAK_AUTO(bak_free_ptr) char *text = NULL;
	int in[2] = {-1, -1}, out[2] = {-1, -1}, rc;
	char port[16];
	unsigned number = 0;

	if (free_port(&number, err) < 0)
		return -1;
	snprintf(port, sizeof port, "%u", number);
	snprintf(s->url, sizeof s->url, "http://127.0.0.1:%u", number);
	if (asprintf(&text, script, command) < 0) {
		text = NULL;
		return bak_error_nomem(err);
	}
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		rc = bak_error_sys(err, errno, "starting a server");
	else
		rc = spawn(s, text, port, in[0], out[1], err);
	s->in = in[1];
	s->out = out[0];
	bak_close_fd(&in[0]);
	bak_close_fd(&out[1]);
	return rc;
}

static bool has_ended(struct scratch *s)
{
	struct pollfd fd = {.fd = s->out, .events = POLLIN};

	return poll(&fd, 1, 0) > 0;
}

/* The last line that it wrote. */
static int explain(struct scratch *s, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = openat(s->fd, LOG, O_RDONLY | O_CLOEXEC);
	char text[300] = "";
	off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	off_t from = end > (off_t)sizeof text - 1 ? end - ((off_t)sizeof text - 1) : 0;
	ssize_t n = fd < 0 ? 0 : pread(fd, text, sizeof text - 1, from);
	char *line;

	text[n > 0 ? n : 0] = '\0';
	while (n > 0 && text[n - 1] == '\n')
		text[--n] = '\0';
	line = strrchr(text, '\n');
	return bak_error_set(err, BAK_UNAVAILABLE,
			     "server_command %s: it ended%s%s: a collection out of a saved folder "
			     "takes Chroma's program here",
			     bak_store_get(s->chroma->conf, "server_command"), *text ? ": " : "",
			     line ? line + 1 : text);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* The store's options with another address, and nobody's password. */
static int connect_to(struct scratch *s, struct bak_error *err)
{
	const struct bak_store_conf *conf = s->chroma->conf;
	static const char *const left_out[] = {
		"url",    "user",   "password", "password_file", "password_command",
		"tls_ca", "tls_pin"};

	s->pairs = calloc(conf->n + 1, sizeof *s->pairs);
	if (!s->pairs)
		return bak_error_nomem(err);
	s->conf = (struct bak_store_conf){
		.name = conf->name, .driver = conf->driver, .pairs = s->pairs};
	s->pairs[s->conf.n++] = (struct bak_store_pair){(char *)(uintptr_t) "url", s->url};
	for (size_t i = 0; i < conf->n; i++) {
		bool copied = true;

		for (size_t j = 0; j < sizeof left_out / sizeof *left_out; j++)
			copied = copied && strcmp(conf->pairs[i].key, left_out[j]) != 0;
		if (copied)
			s->pairs[s->conf.n++] = conf->pairs[i];
	}
	return bak_http_open(&s->conf, s->chroma->env, &bak_chroma_server, &s->http, err);
}

static int wait_ready(struct scratch *s, struct bak_error *err)
{
	int64_t until = now_ms() + START_MS;
	unsigned round = 0;

	while (bak_http_json(s->http, "GET", "/api/v2/heartbeat", NULL, NULL, err) < 0) {
		if (err->code == BAK_CANCELLED)
			return -1;
		*err = (struct bak_error)BAK_ERROR_INIT;
		if (has_ended(s))
			return explain(s, err);
		if (now_ms() > until)
			return bak_error_set(err, BAK_UNAVAILABLE,
					     "the server on the unpacked folder does not answer");
		if (bak_http_wait(s->http, &round, err) < 0)
			return -1;
	}
	return 0;
}

/* --- its rows --- */

static int begin_rows(void *ctx, struct bak_error *err)
{
	struct scratch *s = ctx;
	const struct bak_chroma_fetch_conf conf = {
		.chroma = s->chroma, .url = s->url, .collection = s->reading, .rows = s->rows};

	bak_chroma_fetch_free(s->fetch);
	s->fetch = NULL;
	s->page = NULL;
	s->at = 0;
	return bak_chroma_fetch_new(&conf, &s->fetch, err);
}

static int next_row(void *ctx, struct bak_text *out, struct bak_error *err)
{
	struct scratch *s = ctx;

	while (!s->page || s->at == s->page->n) {
		int rc = bak_chroma_fetch_next(s->fetch, &s->page, err);

		if (rc <= 0)
			return rc;
		s->at = 0;
	}
	s->line.len = 0;
	if (bak_chroma_page_line(s->page, s->at++, &s->line, err) < 0)
		return -1;
	*out = (struct bak_text){(const char *)s->line.p, s->line.len};
	return 1;
}

static int open_rows(void *ctx, size_t i, struct bak_chroma_rows *out, struct bak_error *err)
{
	struct scratch *s = ctx;

	*out = (struct bak_chroma_rows){next_row, begin_rows, s};
	s->reading = &s->chosen[i];
	if (bak_chroma_count(s->http, s->reading, &s->rows, err) < 0)
		return -1;
	return begin_rows(s, err);
}

static void close_rows(void *ctx, struct bak_chroma_rows *rows)
{
	struct scratch *s = ctx;

	(void)rows;
	bak_chroma_fetch_free(s->fetch);
	s->fetch = NULL;
}

/* --- the whole --- */

static int choose(struct scratch *s, struct bak_error *err)
{
	if (bak_chroma_list(s->chroma, s->http, &s->list, err) < 0)
		return -1;
	s->chosen = calloc(s->list.n + 1, sizeof *s->chosen);
	if (!s->chosen)
		return bak_error_nomem(err);
	for (size_t i = 0; i < s->list.n; i++) {
		if (bak_chroma_is_wished(s->from, &s->list.v[i]))
			s->chosen[s->n_chosen++] = s->list.v[i];
	}
	return s->n_chosen ? 0
			   : bak_error_set(err, BAK_NOT_FOUND,
					   "no collection of the snapshot is what was asked for");
}

static void release(struct scratch *s)
{
	struct bak_error scratch = BAK_ERROR_INIT;

	bak_chroma_fetch_free(s->fetch);
	bak_http_close(s->http);
	bak_close_fd(&s->in);
	while (s->pid > 0 && waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	bak_close_fd(&s->out);
	if (s->fd >= 0 && bak_place_remove(s->parent_fd, s->name, &scratch) < 0)
		bak_store_warn(s->chroma->env, "%s is left over: %s", s->path, scratch.msg);
	bak_close_fd(&s->fd);
	bak_close_fd(&s->parent_fd);
	bak_chroma_list_release(&s->list);
	bak_buf_release(&s->line);
	free(s->chosen);
	free(s->pairs);
	free(s->path);
}

int bak_chroma_scratch_restore(struct bak_chroma *chroma, const struct bak_restore_from *from,
			       json_t *state, struct bak_error *err)
{
	struct scratch s = {
		.chroma = chroma, .from = from, .parent_fd = -1, .fd = -1, .in = -1, .out = -1};
	struct bak_chroma_facts facts;
	int rc;

	/* First of all whether there is a live server to put it on. */
	rc = bak_chroma_ask(chroma->http, &facts, err) < 0 || unpack(&s, err) < 0 ||
			     start(&s, err) < 0 || connect_to(&s, err) < 0 ||
			     wait_ready(&s, err) < 0 || choose(&s, err) < 0
		     ? -1
		     : 0;
	if (rc == 0) {
		const struct bak_chroma_source source = {.n = s.n_chosen,
							 .collections = s.chosen,
							 .open = open_rows,
							 .close = close_rows,
							 .ctx = &s};

		rc = bak_chroma_restore_source(chroma, &source, state, err);
	}
	release(&s);
	return rc;
}
