/*
 * describe [-b] DIR: every attribute of a tree, one line a name, sorted: for comparing a source
 * with what a mount shows of it. Knows nothing of bakfs. Goes by descriptors, so paths may be as
 * deep as they like.
 *
 * A line: path, type and mode, owner, group, mtime, size and data ranges (files), target
 * (symlinks), device number, link count, which name is the first of the same inode, attributes.
 * -b: also checks what only we promise: st_blocks as the ranges say, and d_ino as st_ino.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

struct seen {
	ino_t ino;
	char *path;
};

struct walk {
	bool strict;
	struct seen *seen; /* inodes with several names */
	size_t n_seen;
	char *path; /* escaped, of the current folder, with a '/' behind it */
	int status;
};

static void die(const char *what, const char *path)
{
	fprintf(stderr, "describe: %s: %s: %s\n", path, what, strerror(errno));
	exit(2);
}

static void *must(void *p)
{
	if (!p)
		die("memory", "");
	return p;
}

static void complain(struct walk *w, const char *path, const char *what)
{
	fprintf(stderr, "describe: %s: %s\n", path, what);
	w->status = 1;
}

static char *escape(const char *name, size_t len)
{
	char *out = must(malloc(len * 4 + 1)), *to = out;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)name[i];
		if (c > ' ' && c < 0x7f && c != '\\')
			*to++ = (char)c;
		else
			to += sprintf(to, "\\x%02x", c);
	}
	*to = '\0';
	return out;
}

/* The first path with this inode number. */
static const char *first_name(struct walk *w, ino_t ino, const char *path)
{
	for (size_t i = 0; i < w->n_seen; i++)
		if (w->seen[i].ino == ino)
			return w->seen[i].path;
	w->seen = must(realloc(w->seen, (w->n_seen + 1) * sizeof *w->seen));
	w->seen[w->n_seen++] = (struct seen){ino, must(strdup(path))};
	return path;
}

/* Where there is data; a source's file system may round holes to its blocks. */
static void print_ranges(struct walk *w, int dir, const char *name, const char *path,
			 const struct stat *st)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NOATIME);
	off_t at = 0, data = 0;
	if (fd < 0)
		die("open", path);
	printf(" size=%lld data=", (long long)st->st_size);
	while (at < st->st_size) {
		off_t from = lseek(fd, at, SEEK_DATA);
		if (from < 0)
			break;
		at = lseek(fd, from, SEEK_HOLE);
		if (at <= from)
			die("lseek", path);
		printf("%lld-%lld,", (long long)from, (long long)at);
		data += at - from;
	}
	if (w->strict && (data + 511) / 512 != st->st_blocks)
		complain(w, path, "st_blocks is not what the data ranges say");
	close(fd);
}

static int cmp_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* By /proc, so that links themselves and unreadable files can be asked. */
static void print_xattrs(int dir, const char *name, const char *path)
{
	int fd = openat(dir, name, O_PATH | O_NOFOLLOW);
	char proc[64], list[65536], *lines[512];
	size_t n = 0;
	if (fd < 0)
		die("open", path);
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
	ssize_t len = listxattr(proc, list, sizeof list);
	if (len < 0 && errno != ENOTSUP && errno != EPERM && errno != ELOOP)
		die("listxattr", path);
	for (char *p = list; len > 0 && p < list + len && n < 512; p += strlen(p) + 1) {
		static char value[65536];
		ssize_t value_len = getxattr(proc, p, value, sizeof value);
		if (value_len < 0)
			die(p, path);
		char *shown = escape(value, (size_t)value_len);
		if (asprintf(&lines[n++], " %s=%s", p, shown) < 0)
			die("memory", path);
		free(shown);
	}
	qsort(lines, n, sizeof *lines, cmp_text);
	for (size_t i = 0; i < n; i++) {
		fputs(lines[i], stdout);
		free(lines[i]);
	}
	close(fd);
}

static void print_entry(struct walk *w, int dir, const char *name, const char *path,
			const struct stat *st)
{
	char target[PATH_MAX + 1];
	ssize_t n;
	printf("%s %06o %u:%u %lld.%09ld nlink=%llu", path, st->st_mode, st->st_uid, st->st_gid,
	       (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec,
	       (unsigned long long)st->st_nlink);
	if (!S_ISDIR(st->st_mode) && st->st_nlink > 1)
		printf(" same=%s", first_name(w, st->st_ino, path));
	if (S_ISREG(st->st_mode))
		print_ranges(w, dir, name, path, st);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		printf(" device=%u:%u", major(st->st_rdev), minor(st->st_rdev));
	if (S_ISLNK(st->st_mode)) {
		n = readlinkat(dir, name, target, PATH_MAX);
		if (n < 0)
			die("readlink", path);
		if (n != st->st_size)
			complain(w, path, "size is not the target's length");
		char *shown = escape(target, (size_t)n);
		printf(" -> %s", shown);
		free(shown);
	}
	print_xattrs(dir, name, path);
	putchar('\n');
}

struct names {
	char **v;
	ino_t *inos;
	size_t n;
};

static void read_names(int fd, struct names *out)
{
	DIR *folder = must(fdopendir(dup(fd)));
	struct dirent *entry;
	*out = (struct names){.n = 0};
	rewinddir(folder);
	while ((errno = 0, entry = readdir(folder))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		/* The inode number goes in front, so that both are sorted together. */
		out->v = must(realloc(out->v, (out->n + 1) * sizeof *out->v));
		if (asprintf(&out->v[out->n++], "%s%c%llu", entry->d_name, '/',
			     (unsigned long long)entry->d_ino) < 0)
			die("memory", entry->d_name);
	}
	if (errno)
		die("readdir", "");
	closedir(folder);
	if (out->n)
		qsort(out->v, out->n, sizeof *out->v, cmp_text);
}

static void walk(struct walk *w, int dir);

static void visit(struct walk *w, int dir, char *name, ino_t d_ino)
{
	struct stat st;
	char *shown = escape(name, strlen(name)), *path;
	if (asprintf(&path, "%s%s", w->path, shown) < 0)
		die("memory", shown);
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		die("stat", path);
	if (w->strict && d_ino != st.st_ino)
		complain(w, path, "d_ino is not st_ino");
	print_entry(w, dir, name, path, &st);
	if (S_ISDIR(st.st_mode)) {
		char *above = w->path;
		int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME);
		if (fd < 0)
			die("open", path);
		if (asprintf(&w->path, "%s/", path) < 0)
			die("memory", path);
		walk(w, fd);
		free(w->path);
		w->path = above;
		close(fd);
	}
	free(path);
	free(shown);
}

static void walk(struct walk *w, int dir)
{
	struct names names;
	read_names(dir, &names);
	for (size_t i = 0; i < names.n; i++) {
		char *slash = strrchr(names.v[i], '/');
		*slash = '\0';
		visit(w, dir, names.v[i], (ino_t)strtoull(slash + 1, NULL, 10));
		free(names.v[i]);
	}
	free(names.v);
}

int main(int argc, char **argv)
{
	struct walk w = {.path = must(strdup(""))};
	struct stat st;
	if (argc == 3 && strcmp(argv[1], "-b") == 0) {
		w.strict = true;
		argv++;
		argc--;
	}
	int fd = argc == 2 ? open(argv[1], O_RDONLY | O_DIRECTORY) : -1;
	if (fd < 0 || fstat(fd, &st) < 0)
		die("open", argc == 2 ? argv[1] : "usage: describe [-b] DIR");
	print_entry(&w, fd, ".", ".", &st);
	walk(&w, fd);
	for (size_t i = 0; i < w.n_seen; i++)
		free(w.seen[i].path);
	free(w.seen);
	free(w.path);
	close(fd);
	return w.status;
}
