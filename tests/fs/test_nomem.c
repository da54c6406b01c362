/*
 * The n-th allocation fails while the file system serves a request: one answer, an errno that says
 * so or a right result, and afterwards everything works as if nothing had been.
 *
 * test_nomem [long]: all n instead of so many evenly spread
 */
#include "tests/fs/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define TURNS 60
#define BIG 600000u

void *__real_malloc(size_t len);
void *__real_calloc(size_t n, size_t len);
void *__real_realloc(void *p, size_t len);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t len);
void *__wrap_calloc(size_t n, size_t len);
void *__wrap_realloc(void *p, size_t len);
char *__wrap_strdup(const char *s);

static _Thread_local bool serving; /* only what a request asks for counts */
static unsigned long calls, fail_at;

static bool denied(void)
{
	return serving && ++calls == fail_at;
}

void *__wrap_malloc(size_t len)
{
	return denied() ? NULL : __real_malloc(len);
}

void *__wrap_calloc(size_t n, size_t len)
{
	return denied() ? NULL : __real_calloc(n, len);
}

void *__wrap_realloc(void *p, size_t len)
{
	return denied() ? NULL : __real_realloc(p, len);
}

char *__wrap_strdup(const char *s)
{
	return denied() ? NULL : __real_strdup(s);
}

static void set_serving(bool on)
{
	serving = on;
}

/* --- a little of everything --- */

struct script {
	struct kernel *k;
	bool strict; /* all must work */
	unsigned failed;
	uint8_t *big;
};

static const struct piece nothing = {NULL, 0};

static bool check(struct script *s, int no)
{
	if (!no)
		return true;
	/* An upload of which a write failed is gone, as when there is no room. */
	bool follows = s->failed && (no == ESTALE || no == ENOENT);
	if (s->strict || (no != ENOMEM && no != EIO && !follows))
		fail_msg("errno %d at request %llu, allocation %lu", no,
			 (unsigned long long)s->k->n_requests, fail_at);
	s->failed++;
	return false;
}

static bool ask(struct script *s, uint32_t op, uint64_t ino, const void *in, size_t len)
{
	return check(s, kernel_ask(s->k, op, ino, (struct piece){in, len}, nothing, nothing));
}

static bool walk(struct script *s, const char *const *names, uint64_t *out)
{
	*out = FUSE_ROOT_ID;
	for (; *names; names++)
		if (!check(s, kernel_lookup(s->k, *out, *names, out)))
			return false;
	return true;
}

static void list(struct script *s, uint64_t ino)
{
	struct fuse_read_in in = {.size = 4096};
	struct fuse_getattr_in attr = {.getattr_flags = 0};
	ask(s, FUSE_OPENDIR, ino, &(struct fuse_open_in){.flags = O_RDONLY},
	    sizeof(struct fuse_open_in));
	ask(s, FUSE_READDIRPLUS, ino, &in, sizeof in);
	ask(s, FUSE_READDIR, ino, &in, sizeof in);
	ask(s, FUSE_GETATTR, ino, &attr, sizeof attr);
}

static void read_whole(struct script *s, uint64_t ino, uint64_t fh, const uint8_t *want, size_t len)
{
	for (size_t off = 0; off < len; off += 131072) {
		struct fuse_read_in in = {.fh = fh, .offset = off, .size = 131072};
		if (!ask(s, FUSE_READ, ino, &in, sizeof in))
			continue;
		size_t n = len - off < 131072 ? len - off : 131072;
		assert_int_equal(s->k->answer.len, n);
		assert_memory_equal(s->k->answer.p, want + off, n);
	}
}

static void look_at_snapshot(struct script *s)
{
	static const char *const paths[][5] = {{"latest", NULL},
					       {"latest", "app", NULL},
					       {"by-store", "app", NULL},
					       {"by-date", NULL},
					       {"restore", "app", NULL}};
	uint64_t ino;
	for (size_t i = 0; i < 5; i++)
		if (walk(s, paths[i], &ino))
			list(s, ino);
	if (walk(s, (const char *const[]){"latest", "app", "big", NULL}, &ino)) {
		struct fuse_getxattr_in get = {.size = 100};
		check(s, kernel_ask(s->k, FUSE_GETXATTR, ino, (struct piece){&get, sizeof get},
				    (struct piece){"user.bakfs.sha256", 18}, nothing));
		read_whole(s, ino, 0, s->big, BIG);
	}
	for (size_t i = 0; i < 3; i++) {
		static const char *const texts[] = {"status", "metrics", "latest"};
		if (i < 2 ? walk(s, (const char *const[]){texts[i], NULL}, &ino)
			  : walk(s, (const char *const[]){"latest", "app.json", NULL}, &ino))
			ask(s, FUSE_READ, ino, &(struct fuse_read_in){.size = 4096},
			    sizeof(struct fuse_read_in));
	}
}

static void read_control(struct script *s, const char *name)
{
	uint64_t ino;
	struct fuse_open_in in = {.flags = O_RDONLY};
	struct fuse_open_out open;
	if (!walk(s, (const char *const[]){"restore", "app", name, NULL}, &ino) ||
	    !ask(s, FUSE_OPEN, ino, &in, sizeof in))
		return;
	memcpy(&open, s->k->answer.p, sizeof open);
	ask(s, FUSE_READ, ino, &(struct fuse_read_in){.fh = open.fh, .size = 4096},
	    sizeof(struct fuse_read_in));
	ask(s, FUSE_RELEASE, ino, &(struct fuse_release_in){.fh = open.fh},
	    sizeof(struct fuse_release_in));
}

static void fill(struct script *s, uint64_t ino, uint64_t fh)
{
	uint64_t big;
	struct fuse_write_in write = {.fh = fh, .size = 70000};
	bool whole = check(s,
			   kernel_ask(s->k, FUSE_WRITE, ino, (struct piece){&write, sizeof write},
				      (struct piece){s->big, 70000}, nothing));
	if (walk(s, (const char *const[]){"latest", "app", "big", NULL}, &big)) {
		struct fuse_copy_file_range_in copy = {.nodeid_out = ino,
						       .fh_out = fh,
						       .off_in = 70000,
						       .off_out = 70000,
						       .len = BIG};
		whole &= ask(s, FUSE_COPY_FILE_RANGE, big, &copy, sizeof copy);
	} else {
		whole = false;
	}
	if (whole)
		read_whole(s, ino, fh, s->big, BIG);
	ask(s, FUSE_SETATTR, ino,
	    &(struct fuse_setattr_in){.valid = FATTR_SIZE | FATTR_FH, .fh = fh, .size = 100},
	    sizeof(struct fuse_setattr_in));
	uint32_t in[2] = {3, 0};
	check(s, kernel_ask(s->k, FUSE_SETXATTR, ino, (struct piece){in, sizeof in},
			    (struct piece){"user.x", 7}, (struct piece){"abc", 3}));
	ask(s, FUSE_LISTXATTR, ino, &(struct fuse_getxattr_in){.size = 100},
	    sizeof(struct fuse_getxattr_in));
}

static void copy_in(struct script *s, uint64_t folder, const char *name)
{
	struct fuse_create_in in = {.flags = O_RDWR | O_CREAT, .mode = S_IFREG | 0600};
	struct fuse_open_out open;
	uint64_t ino, linked;
	if (!check(s, kernel_name(s->k, FUSE_CREATE, folder, &in, sizeof in, name, &ino)))
		return;
	memcpy(&open, s->k->answer.p + sizeof(struct fuse_entry_out), sizeof open);
	fill(s, ino, open.fh);
	check(s, kernel_name(s->k, FUSE_LINK, folder, &(struct fuse_link_in){.oldnodeid = ino},
			     sizeof(struct fuse_link_in), "linked", &linked));
	ask(s, FUSE_FLUSH, ino, &(struct fuse_flush_in){.fh = open.fh},
	    sizeof(struct fuse_flush_in));
	ask(s, FUSE_RELEASE, ino, &(struct fuse_release_in){.fh = open.fh},
	    sizeof(struct fuse_release_in));
}

/* Whatever is below it, gone: what failed before left who knows what. */
static void remove_all(struct kernel *k, uint64_t room)
{
	static const char *const names[] = {"file", "linked", "other", "pointer"};
	uint64_t tree;
	if (kernel_lookup(k, room, "tree", &tree) == 0)
		for (size_t i = 0; i < 4; i++)
			kernel_name(k, FUSE_UNLINK, tree, NULL, 0, names[i], NULL);
	kernel_name(k, FUSE_RMDIR, room, NULL, 0, "tree", NULL);
	assert_int_equal(kernel_lookup(k, room, "tree", &tree), ENOENT);
}

static void use_restore(struct script *s)
{
	uint64_t room, tree;
	struct fuse_mkdir_in mkdir = {.mode = 0700};
	if (!walk(s, (const char *const[]){"restore", "app", NULL}, &room))
		return;
	if (!check(s, kernel_name(s->k, FUSE_MKDIR, room, &mkdir, sizeof mkdir, "tree", &tree)))
		return;
	copy_in(s, tree, "file");
	check(s, kernel_ask(s->k, FUSE_SYMLINK, tree, (struct piece){"pointer", 8},
			    (struct piece){"file", 5}, nothing));
	list(s, tree);
	/* "linked" may be missing, and then its new name. */
	struct fuse_rename2_in rename = {.newdir = tree};
	int no = kernel_ask(s->k, FUSE_RENAME2, tree, (struct piece){&rename, sizeof rename},
			    (struct piece){"linked", 7}, (struct piece){"other", 6});
	if (no != ENOENT)
		check(s, no);
	for (size_t i = 0; i < 3; i++)
		read_control(s, (const char *const[]){"status", "wait", "log"}[i]);
}

static void run(struct script *s)
{
	look_at_snapshot(s);
	use_restore(s);
}

static bool every_one;

static void test_nth_allocation(void **state)
{
	struct kernel k;
	struct script s = {.k = &k, .big = malloc(BIG)};
	(void)state;
	kernel_start(&k, 0);
	bak_fill_text(s.big, BIG, 7);
	uint64_t room = kernel_path(&k, "restore/app");
	k.serving = set_serving;
	s.strict = true;
	run(&s);
	remove_all(&k, room);
	/* Again, now that all is known, counted. */
	calls = 0;
	run(&s);
	unsigned long n = calls, turns = 0, with_failure = 0;
	remove_all(&k, room);
	assert_true(n > 50);
	unsigned long stride = every_one || n < TURNS ? 1 : n / TURNS;
	for (unsigned long at = 1; at <= n; at += stride, turns++) {
		calls = 0;
		fail_at = at;
		s.strict = false;
		s.failed = 0;
		run(&s);
		with_failure += s.failed > 0;
		fail_at = 0;
		remove_all(&k, room);
		s.strict = true;
		run(&s);
		remove_all(&k, room);
	}
	print_message("%lu of %lu allocations failed, %lu seen by who asked\n", turns, n,
		      with_failure);
	assert_true(with_failure > 0);
	k.serving = NULL;
	kernel_stop(&k);
	free(s.big);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nth_allocation),
	};
	every_one = argc > 1 && strcmp(argv[1], "long") == 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
