/* A disk that loses its power: see disk.h. */
#include "tests/fault/disk.h"

#include "engine/base/buf.h"
#include "tests/fault/calls.h"
#include "tests/fault/folders.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SECTOR 512u

struct event {
	enum call_kind kind;
	char *name, *to; /* absolute */
	uint8_t *data;
	uint64_t ino, off, len;
	bool link, all;
};

struct disk {
	const char *folder, *base;
	struct event *events;
	size_t n, cap;
};

/* --- recording --- */

static void keep(void *ctx, const struct call *call)
{
	struct disk *disk = ctx;
	struct event e = {.kind = call->kind,
			  .ino = call->ino,
			  .off = call->off,
			  .len = call->len,
			  .link = call->link,
			  .all = call->all};
	if (call->kind == CALL_OPEN && !call->created)
		return;
	e.name = strdup(call->name);
	e.to = call->to ? strdup(call->to) : NULL;
	e.data = call->data ? malloc(call->len) : NULL;
	if (bak_grow(&disk->events, &disk->cap, disk->n, sizeof e) < 0 || !e.name ||
	    (call->data && !e.data))
		abort(); /* not the thread of the test: no assertion */
	if (e.data)
		memcpy(e.data, call->data, call->len);
	disk->events[disk->n++] = e;
}

struct disk *disk_record(const char *folder, const char *base)
{
	struct disk *disk = calloc(1, sizeof *disk);
	assert_non_null(disk);
	disk->folder = folder;
	disk->base = base;
	calls_observe(folder, keep, disk);
	return disk;
}

size_t disk_now(const struct disk *disk)
{
	return disk->n;
}

void disk_stop(struct disk *disk)
{
	(void)disk;
	calls_observe(NULL, NULL, NULL);
}

void disk_free(struct disk *disk)
{
	for (size_t i = 0; disk && i < disk->n; i++) {
		free(disk->events[i].name);
		free(disk->events[i].to);
		free(disk->events[i].data);
	}
	if (disk)
		free(disk->events);
	free(disk);
}

const char *disk_last(const struct disk *disk, size_t moment, char *out, size_t out_len)
{
	if (moment == 0)
		return "the beginning";
	const struct event *e = &disk->events[moment - 1];
	snprintf(out, out_len, "%c %s%s%s, %llu bytes", CALL_LETTERS[e->kind],
		 e->name + strlen(disk->folder), e->to ? " to " : "",
		 e->to ? e->to + strlen(disk->folder) : "", (unsigned long long)e->len);
	return out;
}

/* --- a cut: what the disk holds --- */

/* Of one file: what is sure, and the events that may have reached the disk since. */
struct file {
	uint64_t ino; /* 0 once another file has it */
	struct bak_buf sure;
	const struct event **since;
	size_t n, cap;
};

#define NO_FILE (-1)
#define A_FOLDER (-2)

/* One name: which file it was when its folder was synced last, and which ones since. */
struct name {
	const char *name;
	long *values; /* the first one is sure */
	size_t n, cap;
};

struct cut {
	const struct disk *disk;
	struct file *files;
	size_t n_files, files_cap;
	struct name *names;
	size_t n_names, names_cap;
	uint64_t seed, state;
};

static void *grown(void *p, size_t *cap, size_t n, size_t size)
{
	if (bak_grow((void **)p, cap, n, size) < 0)
		fail_msg("out of memory");
	return p;
}

static long new_file(struct cut *cut, uint64_t ino)
{
	grown(&cut->files, &cut->files_cap, cut->n_files, sizeof *cut->files);
	for (size_t i = 0; i < cut->n_files; i++)
		if (cut->files[i].ino == ino)
			cut->files[i].ino = 0;
	cut->files[cut->n_files] = (struct file){.ino = ino};
	return (long)cut->n_files++;
}

/* The file that lay at name in the beginning. */
static long base_file(struct cut *cut, const char *name, uint64_t ino)
{
	char path[512];
	uint8_t part[65536];
	ssize_t n;
	snprintf(path, sizeof path, "%s%s", cut->disk->base, name + strlen(cut->disk->folder));
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NO_FILE;
	long file = new_file(cut, ino);
	while ((n = read(fd, part, sizeof part)) > 0)
		if (bak_buf_append(&cut->files[file].sure, part, (size_t)n) < 0)
			fail_msg("out of memory");
	close(fd);
	return file;
}

static struct file *file_of(struct cut *cut, const struct event *e)
{
	for (size_t i = 0; i < cut->n_files; i++)
		if (cut->files[i].ino == e->ino)
			return &cut->files[i];
	long file = base_file(cut, e->name, e->ino);
	return file < 0 ? NULL : &cut->files[file];
}

/* A name that was touched; what it was in the beginning is sure. */
static struct name *name_of(struct cut *cut, const char *name)
{
	struct stat st;
	char path[512];
	long first = NO_FILE;
	for (size_t i = 0; i < cut->n_names; i++)
		if (strcmp(cut->names[i].name, name) == 0)
			return &cut->names[i];
	snprintf(path, sizeof path, "%s%s", cut->disk->base, name + strlen(cut->disk->folder));
	if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
		first = A_FOLDER;
	else if (lstat(path, &st) == 0)
		first = base_file(cut, name, 0);
	grown(&cut->names, &cut->names_cap, cut->n_names, sizeof *cut->names);
	struct name *new = &cut->names[cut->n_names++];
	*new = (struct name){.name = name};
	grown(&new->values, &new->cap, 0, sizeof *new->values);
	new->values[new->n++] = first;
	return new;
}

static void becomes(struct cut *cut, const char *name, long value)
{
	struct name *n = name_of(cut, name);
	grown(&n->values, &n->cap, n->n, sizeof *n->values);
	n->values[n->n++] = value;
}

static long value_of(struct cut *cut, const char *name)
{
	struct name *n = name_of(cut, name);
	return n->values[n->n - 1];
}

/* A file that was there in the beginning and is written to under its name, not as a new one. */
static void adopt(struct cut *cut, const struct event *e)
{
	struct name *n = name_of(cut, e->name);
	long value = n->values[n->n - 1];
	if (value >= 0 && cut->files[value].ino == 0 && n->n == 1)
		cut->files[value].ino = e->ino;
}

static void apply(struct bak_buf *content, const struct event *e, uint64_t from, uint64_t to)
{
	uint64_t end = e->kind == CALL_TRUNCATE ? e->len : e->off + to;
	if (end > content->len) {
		if (bak_buf_reserve(content, end - content->len) < 0)
			fail_msg("out of memory");
		memset(content->p + content->len, 0, end - content->len);
		content->len = end;
	}
	if (e->kind == CALL_TRUNCATE)
		content->len = e->len;
	else
		memcpy(content->p + e->off + from, e->data + from, to - from);
}

/* folder NULL: in any. */
static bool is_in(const char *name, const char *folder)
{
	if (!folder)
		return true;

	size_t len = strlen(folder);
	return strncmp(name, folder, len) == 0 && name[len] == '/' && !strchr(name + len + 1, '/');
}

static void sync_names(struct cut *cut, const char *folder)
{
	for (size_t i = 0; i < cut->n_names; i++) {
		struct name *n = &cut->names[i];
		if (!is_in(n->name, folder))
			continue;
		n->values[0] = n->values[n->n - 1];
		n->n = 1;
	}
}

static void sync_file(struct file *file)
{
	for (size_t i = 0; i < file->n; i++)
		apply(&file->sure, file->since[i], 0, file->since[i]->len);
	file->n = 0;
}

static void happen(struct cut *cut, const struct event *e)
{
	struct file *file = NULL;
	switch (e->kind) {
	case CALL_OPEN:
		becomes(cut, e->name, new_file(cut, e->ino));
		break;
	case CALL_WRITE:
	case CALL_TRUNCATE:
		adopt(cut, e);
		file = file_of(cut, e);
		if (!file)
			break;
		grown(&file->since, &file->cap, file->n, sizeof *file->since);
		file->since[file->n++] = e;
		break;
	case CALL_SYNC:
		sync_names(cut, e->all ? NULL : e->name);
		for (size_t i = 0; i < cut->n_files; i++)
			if (e->all || (e->ino && cut->files[i].ino == e->ino))
				sync_file(&cut->files[i]);
		break;
	case CALL_RENAME:
		becomes(cut, e->to, value_of(cut, e->name));
		if (!e->link)
			becomes(cut, e->name, NO_FILE);
		break;
	case CALL_UNLINK:
		becomes(cut, e->name, NO_FILE);
		break;
	case CALL_MAKE:
		becomes(cut, e->name, A_FOLDER);
		break;
	default:
		break;
	}
}

/* --- what is seen afterwards --- */

static uint64_t dice(struct cut *cut, uint64_t sides)
{
	cut->state ^= cut->state << 13;
	cut->state ^= cut->state >> 7;
	cut->state ^= cut->state << 17;
	return (cut->state >> 11) % sides;
}

/* Whole, not at all, or a part of its sectors; what is lost may still have made the file longer. */
static void perhaps(struct cut *cut, struct bak_buf *content, const struct event *e)
{
	uint64_t how = dice(cut, 4);
	if (how == 0)
		return;
	if (how == 1 || e->kind == CALL_TRUNCATE) {
		apply(content, e, 0, e->len);
		return;
	}
	if (how == 2)
		apply(content, e, e->len, e->len);
	for (uint64_t at = 0; at < e->len; at += SECTOR)
		if (dice(cut, 2))
			apply(content, e, at, at + SECTOR < e->len ? at + SECTOR : e->len);
}

static void put_file(struct cut *cut, const struct file *file, const char *path)
{
	BAK_AUTO(bak_buf_release) struct bak_buf content = BAK_BUF_INIT;
	if (bak_buf_append(&content, file->sure.p, file->sure.len) < 0)
		fail_msg("out of memory");
	for (size_t i = 0; i < file->n && cut->seed; i++)
		if (cut->seed == UINT64_MAX)
			apply(&content, file->since[i], 0, file->since[i]->len);
		else
			perhaps(cut, &content, file->since[i]);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, content.p, content.len) != (ssize_t)content.len)
		fail_msg("cannot write %s: %s", path, strerror(errno));
	close(fd);
}

static void put_name(struct cut *cut, const struct name *n)
{
	struct stat st;
	size_t which = n->n - 1;
	if (cut->seed == 0)
		which = 0;
	else if (cut->seed != UINT64_MAX)
		which = dice(cut, n->n);
	long value = n->values[which];
	if (lstat(n->name, &st) == 0 && S_ISDIR(st.st_mode) && value == A_FOLDER)
		return;
	folder_remove(n->name);
	/* Its folder may be lost too; then so is what is in it. */
	char parent[512];
	snprintf(parent, sizeof parent, "%.*s", (int)(strrchr(n->name, '/') - n->name), n->name);
	if (value == NO_FILE || access(parent, F_OK) != 0)
		return;
	if (value == A_FOLDER && mkdir(n->name, 0700) < 0)
		fail_msg("cannot make %s: %s", n->name, strerror(errno));
	if (value >= 0)
		put_file(cut, &cut->files[value], n->name);
}

static void cut_release(struct cut *cut)
{
	for (size_t i = 0; i < cut->n_files; i++) {
		bak_buf_release(&cut->files[i].sure);
		free(cut->files[i].since);
	}
	for (size_t i = 0; i < cut->n_names; i++)
		free(cut->names[i].values);
	free(cut->files);
	free(cut->names);
}

void disk_crash(const struct disk *disk, size_t moment, uint64_t seed)
{
	struct cut cut = {.disk = disk,
			  .seed = seed,
			  .state = seed * 0x9e3779b97f4a7c15u + 88172645463325252u};
	for (size_t i = 0; i < moment && i < disk->n; i++)
		happen(&cut, &disk->events[i]);
	folder_remove(disk->folder);
	folder_copy(disk->base, disk->folder);
	/* In the order in which they came up: folders before what is in them. */
	for (size_t i = 0; i < cut.n_names; i++)
		put_name(&cut, &cut.names[i]);
	cut_release(&cut);
}
