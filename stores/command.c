/*
 * The command driver: whatever a shell command writes is saved; another one gets it back.
 *
 * Consistency: what the command makes of it.
 */
#include "stores/checkup.h"
#include "stores/drivers.h"
#include "stores/files/files.h"
#include "stores/payload.h"
#include "stores/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct bak_store_option command_options[] = {
	{.name = "dump",
	 .kind = BAK_OPTION_TEXT,
	 .required = true,
	 .help = "shell command whose output is saved"},
	{.name = "restore_command",
	 .kind = BAK_OPTION_TEXT,
	 .help = "shell command that gets it back on its input; without it nothing is restored"},
	{.name = "counts",
	 .kind = BAK_OPTION_TEXT,
	 .help = "shell command that prints lines of a name and a number, to compare"},
	{.name = "filename",
	 .kind = BAK_OPTION_TEXT,
	 .fallback = "dump",
	 .help = "name of the file in the snapshot"},
	{.name = "timeout",
	 .kind = BAK_OPTION_DURATION,
	 .fallback = "0",
	 .help = "end a command that takes longer; 0: never"},
	{.name = NULL},
};

struct command {
	const struct bak_store_conf *conf;
	const struct bak_store_env *env;
	const char *filename;
	char *var; /* "BAKFS_STORE=name" */
};

static void command_close(void *store)
{
	struct command *c = store;

	if (!c)
		return;
	free(c->var);
	free(c);
}

static int command_open(const struct bak_store_conf *conf, const struct bak_store_env *env,
			void **out_store, struct bak_error *err)
{
	const char *filename = bak_store_get(conf, "filename");
	struct command *c;

	if (!*filename || strchr(filename, '/') || strcmp(filename, ".") == 0 ||
	    strcmp(filename, "..") == 0 || strlen(filename) > 255)
		return bak_error_set(err, BAK_USAGE, "filename: \"%s\" is no file name", filename);
	c = calloc(1, sizeof *c);
	if (!c)
		return bak_error_nomem(err);
	*c = (struct command){.conf = conf, .env = env, .filename = filename};
	if (asprintf(&c->var, "BAKFS_STORE=%s", conf->name) < 0) {
		c->var = NULL;
		command_close(c);
		return bak_error_nomem(err);
	}
	*out_store = c;
	return 0;
}

static int command_probe(void *store, struct bak_store_probe *out, struct bak_error *err)
{
	struct command *c = store;

	(void)err;
	/* Not the command: it may say more than a log should. */
	*out = (struct bak_store_probe){.bytes = 0};
	snprintf(out->target, sizeof out->target, "the commands of store %s", c->conf->name);
	return 0;
}

static int command_doctor(void *store, const struct bak_checkup *checkup, struct bak_error *err)
{
	static const char *const options[] = {"dump", "restore_command", "counts"};
	struct command *c = store;

	(void)err;
	for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
		const char *command = bak_store_get(c->conf, options[i]);

		if (command)
			bak_checkup_command(checkup, options[i], command);
	}
	if (!checkup->quick && !bak_store_get(c->conf, "restore_command"))
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE,
				 "set restore_command if bakfs is to put it back",
				 "without restore_command it can only be restored with --to");
	return 0;
}

static struct bak_process_conf process_conf(const struct command *c, const char *command,
					    const char *const *vars)
{
	return (struct bak_process_conf){
		.env = c->env,
		.command = command,
		.vars = vars,
		.timeout_ms = bak_store_get_duration_ms(c->conf, "timeout")};
}

/* --- counts --- */

static int take_text(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	struct bak_buf *text = ctx;

	if (text->len + len > 1 << 20)
		return bak_error_set(err, BAK_REFUSED, "counts: more than 1 MiB of output");
	return bak_buf_append(text, p, len) < 0 ? bak_error_nomem(err) : 0;
}

/* "name number": the number is the last word. */
static int parse_count(char *line, json_t *counts, struct bak_error *err)
{
	size_t len = strlen(line);
	char *space, *end;

	while (len && strchr(" \t\r", line[len - 1]))
		line[--len] = '\0';
	if (!len)
		return 0;
	space = strrchr(line, ' ');
	if (!space)
		space = strrchr(line, '\t');
	errno = 0;
	long long n = space ? strtoll(space + 1, &end, 10) : 0;
	if (!space || space == line || errno || end == space + 1 || *end)
		return bak_error_set(err, BAK_REFUSED,
				     "counts: \"%.100s\" is not a name and a number", line);
	while (space > line && strchr(" \t", space[-1]))
		space--;
	*space = '\0';
	if (json_object_set_new(counts, line, json_integer(n)) < 0)
		return bak_error_set(err, BAK_REFUSED, "counts: a name is not UTF-8");
	return 0;
}

static int command_counts(void *store, json_t *counts, struct bak_error *err)
{
	struct command *c = store;
	const char *command = bak_store_get(c->conf, "counts");
	const char *vars[] = {c->var, NULL};
	const struct bak_process_conf conf = process_conf(c, command, vars);
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	char *save = NULL;

	if (!command)
		return 0;
	if (bak_process_read(&conf, take_text, &text, err) < 0)
		return bak_error_wrap(err, "counts");
	if (bak_buf_append(&text, "", 1) < 0)
		return bak_error_nomem(err);
	for (char *line = strtok_r((char *)text.p, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (parse_count(line, counts, err) < 0)
			return -1;
	}
	return 0;
}

/* --- backup --- */

struct dump {
	struct bak_writer *writer;
	uint64_t bytes;
};

static int take_dump(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	struct dump *dump = ctx;

	dump->bytes += len;
	return bak_writer_data(dump->writer, p, len, err);
}

static int begin_payload(struct command *c, struct bak_writer *writer, struct bak_error *err)
{
	struct bak_source_inode root, file;

	bak_payload_inode(&root, BAK_TYPE_DIR, 0700);
	bak_payload_inode(&file, BAK_TYPE_FILE, 0600);
	if (bak_writer_root(writer, &root, err) < 0)
		return -1;
	return bak_writer_file(writer, c->filename, &file, BAK_HINT_NONE, err);
}

static int run_dump(struct command *c, struct bak_writer *writer, uint64_t *out_bytes,
		    struct bak_error *err)
{
	const char *vars[] = {c->var, NULL};
	const struct bak_process_conf conf = process_conf(c, bak_store_get(c->conf, "dump"), vars);
	struct dump dump = {.writer = writer};

	if (begin_payload(c, writer, err) < 0)
		return -1;
	if (bak_process_read(&conf, take_dump, &dump, err) < 0)
		return bak_error_wrap(err, "dump");
	*out_bytes = dump.bytes;
	return bak_writer_file_end(writer, NULL, err);
}

/* Counts belong to the dump only if they are the same before and after it. */
static int command_backup(void *store, struct bak_writer *writer, json_t *facts,
			  struct bak_error *err)
{
	struct command *c = store;
	json_t *before = json_object(), *after = json_object();
	uint64_t bytes = 0;
	int rc = before && after ? 0 : bak_error_nomem(err);

	if (rc == 0)
		rc = command_counts(c, before, err);
	if (rc == 0)
		rc = run_dump(c, writer, &bytes, err);
	if (rc == 0)
		rc = command_counts(c, after, err);
	if (rc == 0 && bytes == 0)
		bak_store_warn(c->env, "dump: the command wrote nothing");
	if (rc == 0 && json_object_size(before) && !json_equal(before, after))
		bak_store_log(c->env, "the counts changed during the dump and are not recorded");
	else if (rc == 0 && json_object_size(before) &&
		 json_object_set(facts, "counts", before) < 0)
		rc = bak_error_nomem(err);
	if (rc == 0 && (json_object_set_new(facts, "filename", json_string(c->filename)) < 0 ||
			json_object_set_new(facts, "bytes", json_integer((json_int_t)bytes)) < 0))
		rc = bak_error_set(err, BAK_USAGE, "filename is not UTF-8");
	json_decref(before);
	json_decref(after);
	return rc;
}

/* --- restore --- */

static int feed(struct command *c, struct bak_payload_reader *in, struct bak_error *err)
{
	const char *vars[] = {c->var, NULL};
	const struct bak_process_conf conf = process_conf(
		c, bak_store_get(c->conf, "restore_command"), vars);

	/* A damaged snapshot must not reach the store half-way. */
	if (bak_payload_check(in, err) < 0 || bak_store_no_return(c->env, err) < 0)
		return -1;
	if (bak_process_write(&conf, bak_payload_give, in, err) < 0)
		return bak_error_wrap(err, "restore_command");
	return 0;
}

static int command_restore(void *store, const struct bak_restore_from *from, json_t *state,
			   struct bak_error *err)
{
	struct command *c = store;
	struct bak_tree tree = {bak_repo_source(from->repo), from->snapshot};
	BAK_AUTO(bak_found_release) struct bak_found found = BAK_FOUND_INIT;
	BAK_AUTO(bak_payload_reader_release)
	struct bak_payload_reader in = {.env = c->env, .source = tree.source};

	(void)state;
	if (!bak_store_get(c->conf, "restore_command"))
		return bak_error_set(err, BAK_REFUSED,
				     "store %s has no restore_command; restore it with --to and do "
				     "the rest by hand",
				     c->conf->name);
	if (from->snapshot->root.totals.entries != 1 ||
	    bak_folder_at(&tree, &from->snapshot->root.dir, 1, &found, err) != 1 ||
	    found.entry.inode.type != BAK_TYPE_FILE)
		return bak_error_set(err, BAK_CORRUPT, "the snapshot should hold a single file");
	in.inode = &found.entry.inode;
	return feed(c, &in, err);
}

/* --- import --- */

#define READ_LEN (1u << 20)

static int copy_in(struct command *c, int fd, struct bak_writer *writer, uint64_t *out_bytes,
		   struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) uint8_t *buffer = malloc(READ_LEN);
	ssize_t n;

	if (!buffer)
		return bak_error_nomem(err);
	if (begin_payload(c, writer, err) < 0)
		return -1;
	while ((n = read(fd, buffer, READ_LEN)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return bak_error_sys(err, errno, "reading it");
		if (bak_store_check_cancelled(c->env, err) < 0 ||
		    bak_writer_data(writer, buffer, (size_t)n, err) < 0)
			return -1;
		*out_bytes += (uint64_t)n;
	}
	return bak_writer_file_end(writer, NULL, err);
}

static int command_import(void *store, const char *path, struct bak_writer *writer, json_t *facts,
			  struct bak_error *err)
{
	struct command *c = store;
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	uint64_t bytes = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return bak_error_sys(err, errno, "%s", path);
	if (!S_ISREG(st.st_mode))
		return bak_error_set(err, BAK_REFUSED, "%s is not a regular file", path);
	if (copy_in(c, fd, writer, &bytes, err) < 0)
		return -1;
	if (json_object_set_new(facts, "filename", json_string(c->filename)) < 0 ||
	    json_object_set_new(facts, "bytes", json_integer((json_int_t)bytes)) < 0)
		return bak_error_nomem(err);
	return 0;
}

const struct bak_store_driver bak_store_command = {
	.name = "command",
	.summary = "what a shell command writes",
	.features = BAK_STORE_COUNTS,
	.options = command_options,
	.address_option = "dump",
	.open = command_open,
	.probe = command_probe,
	.doctor = command_doctor,
	.backup = command_backup,
	.restore = command_restore,
	.counts = command_counts,
	.import = command_import,
	.close = command_close,
};
