/*
 * Dumps that come from outside as a snapshot of this store: a file of pg_dump -Fc or SQL, or a
 * folder of them as a mount shows one. Each is walked while it is stored; what is not whole is
 * refused.
 */
#include "stores/postgresql/dump.h"
#include "stores/postgresql/postgresql.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_LEN (1u << 20)

/* What a dump says of itself. */
struct said {
	char database[256], server[64], tool[64], tag[256], kind[32];
	size_t len; /* of the text that is coming in */
	json_t *extensions;
};

struct import {
	struct bak_pg *pg;
	struct bak_writer *writer;
	json_t *databases;
	int tools, version;
	bool globals;
};

static void take_text(void *ctx, enum bak_pg_text which, const uint8_t *p, size_t len)
{
	struct said *said = ctx;
	struct {
		char *p;
		size_t len;
	} rooms[] = {
		[BAK_PG_TEXT_DATABASE] = {said->database, sizeof said->database},
		[BAK_PG_TEXT_SERVER] = {said->server, sizeof said->server},
		[BAK_PG_TEXT_TOOL] = {said->tool, sizeof said->tool},
		[BAK_PG_TEXT_TAG] = {said->tag, sizeof said->tag},
		[BAK_PG_TEXT_KIND] = {said->kind, sizeof said->kind},
	};
	size_t room;

	if (which > BAK_PG_TEXT_KIND)
		return;
	room = rooms[which].len - 1 - said->len;
	if (len) {
		len = len < room ? len : room;
		memcpy(rooms[which].p + said->len, p, len);
		said->len += len;
		return;
	}
	rooms[which].p[said->len] = '\0';
	said->len = 0;
	if (which == BAK_PG_TEXT_KIND && strcmp(said->kind, "EXTENSION") == 0)
		json_object_set_new(said->extensions, said->tag, json_string("?"));
}

/* "15.20 (Debian ...)" as PQserverVersion has it. */
static int version_of(const char *text)
{
	long major = strtol(text, NULL, 10);

	return major > 0 && major < 1000 ? (int)major * 10000 : 0;
}

/* --- which database it is --- */

/* The one that this store is for; NULL: no single one. */
static const char *own_database(const struct bak_pg *pg)
{
	const char *first = bak_store_get_item(pg->conf, "databases", 0);

	if (!first)
		return pg->default_db;
	if (bak_store_get_item(pg->conf, "databases", 1) || strpbrk(first, "*?"))
		return NULL;
	return first;
}

/* *out: a name to be freed. suggested: by its file in a folder, or NULL. */
static int choose_name(struct import *im, const char *suggested, const struct said *said,
		       char **out, struct bak_error *err)
{
	const char *own = own_database(im->pg), *theirs = *said->database ? said->database : NULL;

	if (suggested)
		theirs = suggested;
	if (own && theirs && strcmp(own, theirs) != 0 &&
	    !bak_store_get_bool(im->pg->conf, "accept_foreign"))
		return bak_error_set(err, BAK_REFUSED,
				     "this is a dump of database %s, and the store is of %s; "
				     "accept_foreign = yes takes it",
				     theirs, own);
	own = own ? own : theirs;
	if (!own || strlen(own) > BAK_PG_NAME_MAX)
		return bak_error_set(
			err, BAK_REFUSED,
			"the dump does not say which database it is, and the store has "
			"several");
	*out = strdup(own);
	return *out ? 0 : bak_error_nomem(err);
}

/* --- one dump --- */

static int check_whole(const struct bak_pg_dump *dump, struct bak_error *err)
{
	char why[BAK_PROOF_WHY_LEN];

	switch (bak_pg_dump_verdict(dump, why)) {
	case BAK_VERDICT_WHOLE:
		return 0;
	case BAK_VERDICT_UNPROVABLE:
		if (!dump->archive)
			return 0; /* SQL of somebody's own */
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "this dump is of a newer pg_dump than bakfs knows");
	case BAK_VERDICT_EMPTY:
		return bak_error_set(err, BAK_REFUSED, "the file is empty");
	case BAK_VERDICT_CUT:
	case BAK_VERDICT_WRONG:
		break;
	}
	return bak_error_set(err, BAK_REFUSED, "%s", why);
}

static int copy(struct import *im, int fd, const char *name, struct bak_pg_dump *dump,
		struct said *said, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) uint8_t *buffer = malloc(READ_LEN);
	struct bak_source_inode file;
	ssize_t n;

	if (!buffer)
		return bak_error_nomem(err);
	bak_payload_inode(&file, BAK_TYPE_FILE, 0600);
	if (bak_writer_file(im->writer, name, &file, BAK_HINT_NONE, err) < 0)
		return -1;
	while ((n = read(fd, buffer, READ_LEN)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return bak_error_sys(err, errno, "reading it");
		bak_pg_dump_feed(dump, buffer, (size_t)n, take_text, said);
		if (bak_store_check_cancelled(im->pg->env, err) < 0 ||
		    bak_writer_data(im->writer, buffer, (size_t)n, err) < 0)
			return -1;
	}
	return bak_writer_file_end(im->writer, NULL, err);
}

/* Name and format are needed before the first byte is stored: the beginning is read twice. */
static int peek(int fd, struct said *said, bool *out_archive, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) uint8_t *buffer = malloc(READ_LEN);
	struct bak_pg_dump dump = {.fed = 0};
	ssize_t n;

	if (!buffer)
		return bak_error_nomem(err);
	n = pread(fd, buffer, READ_LEN, 0);
	if (n < 0)
		return bak_error_sys(err, errno, "reading it");
	if (n == 0)
		return bak_error_set(err, BAK_REFUSED, "the file is empty");
	bak_pg_dump_feed(&dump, buffer, (size_t)n, take_text, said);
	*out_archive = dump.archive;
	return 0;
}

static int note_database(struct import *im, const char *name, const char *file, struct said *said,
			 struct bak_error *err)
{
	int tools = version_of(said->tool), version = version_of(said->server);

	im->tools = tools > im->tools ? tools : im->tools;
	im->version = version > im->version ? version : im->version;
	if (json_array_append_new(im->databases, json_pack("{s:s, s:s, s:O}", "name", name, "file",
							   file, "extensions", said->extensions)) <
	    0)
		return bak_error_set(err, BAK_REFUSED, "the database's name is not UTF-8");
	return 0;
}

static int import_file(struct import *im, int fd, const char *suggested, struct bak_error *err)
{
	struct said first = {.extensions = json_object()}, said = {.extensions = json_object()};
	BAK_AUTO(bak_free_ptr) char *name = NULL;
	BAK_AUTO(bak_free_ptr) char *file = NULL;
	struct bak_pg_dump dump = {.fed = 0};
	bool archive = false;
	int rc = first.extensions && said.extensions ? 0 : bak_error_nomem(err);

	if (rc == 0)
		rc = peek(fd, &first, &archive, err);
	if (rc == 0)
		rc = choose_name(im, suggested, &first, &name, err);
	if (rc == 0) {
		file = bak_pg_file_name(name, archive ? ".dump" : ".sql");
		rc = file ? copy(im, fd, file, &dump, &said, err) : bak_error_nomem(err);
	}
	if (rc == 0)
		rc = check_whole(&dump, err);
	if (rc == 0)
		rc = note_database(im, name, file, &said, err);
	json_decref(first.extensions);
	json_decref(said.extensions);
	return rc;
}

/* --- a folder of them --- */

static int unhex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* "odd%2Fname.dump": the database, into out; false when it is no dump by its name. */
static bool name_of(const char *file, char out[256])
{
	const char *dot = strrchr(file, '.');
	size_t n = 0;

	if (!dot || (strcmp(dot, ".dump") != 0 && strcmp(dot, ".sql") != 0))
		return false;
	for (const char *p = file; p < dot && n < 255; p++) {
		int high = *p == '%' ? unhex(p[1]) : -1, low = high >= 0 ? unhex(p[2]) : -1;

		out[n++] = low >= 0 ? (char)(high << 4 | low) : *p;
		p += low >= 0 ? 2 : 0;
	}
	out[n] = '\0';
	return n > 0;
}

static int import_globals(struct import *im, int fd, struct bak_error *err)
{
	struct said said = {.extensions = json_object()};
	struct bak_pg_dump dump = {.fed = 0};
	int rc = said.extensions ? copy(im, fd, BAK_PG_GLOBALS, &dump, &said, err)
				 : bak_error_nomem(err);

	json_decref(said.extensions);
	im->globals = true;
	return rc;
}

static int import_entry(struct import *im, int dir_fd, const char *file, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd)
	int fd = openat(dir_fd, file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	char name[256];
	struct stat st;
	int rc;

	if (fd < 0 || fstat(fd, &st) < 0)
		return bak_error_sys(err, errno, "%s", file);
	if (!S_ISREG(st.st_mode) || !name_of(file, name))
		return bak_error_set(
			err, BAK_REFUSED,
			"%s: a folder must hold files NAME.dump or NAME.sql, and nothing "
			"else",
			file);
	if (strcmp(file, BAK_PG_GLOBALS) == 0)
		rc = import_globals(im, fd, err);
	else
		rc = import_file(im, fd, name, err);
	return rc < 0 ? bak_error_wrap(err, "%s", file) : 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return bak_name_cmp((*a)->d_name, strlen((*a)->d_name), (*b)->d_name, strlen((*b)->d_name));
}

static int is_shown(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static int import_folder(struct import *im, int dir_fd, const char *path, struct bak_error *err)
{
	struct dirent **names = NULL;
	int n = scandir(path, &names, is_shown, by_name), rc = 0;

	if (n < 0)
		return bak_error_sys(err, errno, "%s", path);
	for (int i = 0; i < n; i++) {
		if (rc == 0)
			rc = import_entry(im, dir_fd, names[i]->d_name, err);
		free(names[i]);
	}
	free(names);
	if (rc == 0 && !json_array_size(im->databases))
		return bak_error_set(err, BAK_REFUSED, "the folder has no dump of a database");
	return rc;
}

/* --- the whole --- */

static int note_facts(const struct import *im, json_t *facts, struct bak_error *err)
{
	int rc = json_object_set(facts, "databases", im->databases);

	rc |= json_object_set_new(facts, "mode", json_string("logical"));
	rc |= json_object_set_new(facts, "imported", json_true());
	rc |= json_object_set_new(facts, "tools", json_integer(im->tools / 10000));
	rc |= json_object_set_new(facts, "version", json_integer(im->version));
	return rc ? bak_error_nomem(err) : 0;
}

int bak_pg_import(struct bak_pg *pg, const char *path, struct bak_writer *writer, json_t *facts,
		  struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct import im = {.pg = pg, .writer = writer, .databases = json_array()};
	struct bak_source_inode root;
	struct stat st;
	int rc;

	bak_payload_inode(&root, BAK_TYPE_DIR, 0700);
	if (fd < 0 || fstat(fd, &st) < 0)
		rc = bak_error_sys(err, errno, "%s", path);
	else if (!im.databases)
		rc = bak_error_nomem(err);
	else if (pg->by_service && !pg->default_db && bak_pg_main(pg, err) < 0)
		rc = -1;
	else
		rc = bak_writer_root(writer, &root, err);
	if (rc == 0 && S_ISDIR(st.st_mode))
		rc = import_folder(&im, fd, path, err);
	else if (rc == 0)
		rc = import_file(&im, fd, NULL, err);
	if (rc == 0)
		rc = note_facts(&im, facts, err);
	json_decref(im.databases);
	return rc;
}
