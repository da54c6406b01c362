/*
 * Requests without sense, as no kernel of ours sends them: any operation on any inode number, bodies
 * of random bytes, names of all kinds, interrupts for requests that are over. Each gets one answer of
 * the right length; and what is under it, a snapshot, reads as before.
 *
 * test_noise [REQUESTS [SEED]]
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

#define BIG 600000u
#define KNOWN 256
#define OPEN 8

struct noise {
	struct kernel k;
	uint64_t random;
	uint64_t known[KNOWN]; /* inode numbers that were given out */
	size_t n_known;
	struct {
		uint64_t ino, fh;
	} open[OPEN];
	size_t n_open;
	unsigned long answered, refused;
};

static const struct piece nothing = {NULL, 0};

static uint64_t draw(struct noise *n, uint64_t below)
{
	n->random = n->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (n->random >> 33) % below;
}

static uint64_t any_bits(struct noise *n)
{
	uint64_t bits = draw(n, UINT32_MAX) << 32 | draw(n, UINT32_MAX);
	return bits >> draw(n, 64);
}

static uint64_t any_ino(struct noise *n)
{
	return draw(n, 20) ? n->known[draw(n, n->n_known)] : any_bits(n);
}

static const char *any_name(struct noise *n)
{
	static const char *const names[] = {"a",
					    "b.part",
					    ".c",
					    "latest",
					    "rollback",
					    "status",
					    "wait",
					    "log",
					    "..",
					    ".",
					    "20200101T000000Z",
					    "app",
					    "restore",
					    "by-date",
					    "by-store",
					    "big",
					    "sub",
					    "metrics",
					    "\xff\xfe",
					    "new\nline",
					    "odd\\name\n",
					    "app.json",
					    "app.sha256",
					    "%s%n"};
	static char text[300];
	size_t i = draw(n, sizeof names / sizeof *names + 2);
	if (i < sizeof names / sizeof *names)
		return names[i];
	memset(text, 'n', sizeof text - 1);
	text[i % 2 ? 255 : 254] = '\0';
	return text;
}

static void remember(struct noise *n, uint64_t ino)
{
	if (ino)
		n->known[n->n_known < KNOWN ? n->n_known++ : draw(n, KNOWN)] = ino;
}

static int send(struct noise *n, uint32_t op, uint64_t ino, const void *in, size_t len,
		struct piece b, struct piece c)
{
	int no = kernel_ask(&n->k, op, ino, (struct piece){in, len}, b, c);
	n->answered++;
	n->refused += no != 0;
	return no;
}

/* --- requests --- */

static void name_request(struct noise *n)
{
	static const uint32_t ops[] = {FUSE_LOOKUP, FUSE_LOOKUP, FUSE_LOOKUP,
				       FUSE_UNLINK, FUSE_RMDIR,  FUSE_REMOVEXATTR};
	const char *name = any_name(n);
	uint32_t op = ops[draw(n, 6)];
	uint64_t ino = 0;
	int no = send(n, op, any_ino(n), name, strlen(name) + 1, nothing, nothing);
	if (!no && op == FUSE_LOOKUP) {
		memcpy(&ino, n->k.answer.p, sizeof ino);
		remember(n, ino);
	}
}

/* What starts with numbers and ends with a name or two. */
static void make_request(struct noise *n)
{
	static const uint32_t ops[] = {FUSE_MKDIR, FUSE_MKNOD, FUSE_LINK, FUSE_SYMLINK,
				       FUSE_RENAME2};
	const size_t lens[] = {sizeof(struct fuse_mkdir_in), sizeof(struct fuse_mknod_in),
			       sizeof(struct fuse_link_in), 0, sizeof(struct fuse_rename2_in)};
	size_t i = draw(n, 5);
	uint64_t in[4] = {any_ino(n), draw(n, 2) ? 0 : any_bits(n), 0, 0};
	const char *name = any_name(n);
	char copy[300];
	snprintf(copy, sizeof copy, "%s", name);
	const char *second = i >= 3 ? any_name(n) : "";
	uint64_t ino;
	if (i < 2)
		in[0] = (i ? (draw(n, 2) ? S_IFREG : draw(n, 0xffff)) : 0) | 0600;
	int no = send(n, ops[i], any_ino(n), in, lens[i], (struct piece){copy, strlen(copy) + 1},
		      i >= 3 ? (struct piece){second, strlen(second) + 1} : nothing);
	if (!no && i < 4) {
		memcpy(&ino, n->k.answer.p, sizeof ino);
		remember(n, ino);
	}
}

static void plain_request(struct noise *n)
{
	static const uint32_t ops[] = {FUSE_GETATTR, FUSE_READLINK,    FUSE_STATFS,    FUSE_OPENDIR,
				       FUSE_READDIR, FUSE_READDIRPLUS, FUSE_ACCESS,    FUSE_BMAP,
				       FUSE_FSYNC,   FUSE_FSYNCDIR,    FUSE_FALLOCATE, FUSE_SYNCFS,
				       FUSE_IOCTL,   FUSE_RELEASEDIR,  FUSE_TMPFILE};
	uint64_t in[8];
	uint32_t op = ops[draw(n, sizeof ops / sizeof *ops)];
	for (size_t i = 0; i < 8; i++)
		in[i] = draw(n, 2) ? any_bits(n) : draw(n, 10);
	if (op == FUSE_READDIR || op == FUSE_READDIRPLUS) /* the size: the kernel's is bounded */
		in[2] = draw(n, 70000);
	if (op == FUSE_IOCTL)
		in[3] = 0; /* the lengths of what follows */
	send(n, op, any_ino(n), in, sizeof in, nothing, nothing);
}

static void xattr_request(struct noise *n)
{
	static const char *const names[] = {"user.bakfs.sha256", "user.x",
					    "system.posix_acl_access", "security.capability", ""};
	const char *name = names[draw(n, 5)];
	uint8_t value[64];
	for (size_t i = 0; i < sizeof value; i++)
		value[i] = (uint8_t)draw(n, 256);
	uint32_t in[2] = {(uint32_t)draw(n, sizeof value), (uint32_t)draw(n, 3)};
	switch (draw(n, 3)) {
	case 0:
		send(n, FUSE_SETXATTR, any_ino(n), in, sizeof in,
		     (struct piece){name, strlen(name) + 1}, (struct piece){value, in[0]});
		break;
	case 1:
		send(n, FUSE_GETXATTR, any_ino(n), in, sizeof in,
		     (struct piece){name, strlen(name) + 1}, nothing);
		break;
	default:
		send(n, FUSE_LISTXATTR, any_ino(n), in, sizeof in, nothing, nothing);
		break;
	}
}

static void setattr_request(struct noise *n)
{
	struct fuse_setattr_in in = {.valid = (uint32_t)any_bits(n) & 0x7ff & ~(uint32_t)FATTR_FH,
				     .size = draw(n, 3) ? draw(n, 1000000) : any_bits(n),
				     .mode = (uint32_t)any_bits(n)};
	if (draw(n, 300)) /* a touch starts a job, which is a process */
		in.valid &= ~(uint32_t)FATTR_MTIME_NOW;
	send(n, FUSE_SETATTR, any_ino(n), &in, sizeof in, nothing, nothing);
}

static void keep_open(struct noise *n, uint64_t ino, const uint8_t *p)
{
	struct fuse_open_out out;
	memcpy(&out, p, sizeof out);
	n->open[n->n_open].ino = ino;
	n->open[n->n_open++].fh = out.fh;
}

static void open_request(struct noise *n)
{
	uint64_t ino = any_ino(n);
	/* Explicit flags: the kernel knows no others. */
	struct fuse_open_in in = {.flags = (uint32_t)draw(n, 3) | (draw(n, 4) ? 0 : O_TRUNC)};
	if (n->n_open < OPEN && send(n, FUSE_OPEN, ino, &in, sizeof in, nothing, nothing) == 0)
		keep_open(n, ino, n->k.answer.p);
}

static void create_request(struct noise *n)
{
	const char *name = any_name(n);
	struct fuse_create_in in = {.flags = O_RDWR | O_CREAT | (draw(n, 3) ? 0 : O_EXCL),
				    .mode = S_IFREG | 0600};
	uint64_t ino;
	if (n->n_open == OPEN || send(n, FUSE_CREATE, any_ino(n), &in, sizeof in,
				      (struct piece){name, strlen(name) + 1}, nothing) != 0)
		return;
	memcpy(&ino, n->k.answer.p, sizeof ino);
	remember(n, ino);
	keep_open(n, ino, n->k.answer.p + sizeof(struct fuse_entry_out));
}

static void io_request(struct noise *n)
{
	static const uint8_t bytes[70000];
	size_t at = n->n_open ? draw(n, n->n_open) : 0;
	if (!n->n_open)
		return;
	uint64_t ino = n->open[at].ino, fh = n->open[at].fh;
	uint64_t off = draw(n, 4) ? draw(n, 1000000) : any_bits(n);
	struct fuse_read_in in = {.fh = fh, .offset = off, .size = (uint32_t)draw(n, 70000)};
	struct fuse_copy_file_range_in copy = {.nodeid_out = ino,
					       .fh_out = fh,
					       .off_in = draw(n, 3) ? draw(n, BIG) : any_bits(n),
					       .off_out = off,
					       .len = any_bits(n)};
	struct fuse_lseek_in seek = {.fh = fh, .offset = off, .whence = (uint32_t)draw(n, 6)};
	struct fuse_flush_in flush = {.fh = fh};
	struct fuse_poll_in poll = {.fh = fh, .kh = fh};
	switch (draw(n, 8)) {
	case 0:
	case 1:
		send(n, FUSE_READ, ino, &in, sizeof in, nothing, nothing);
		break;
	case 2:
		send(n, FUSE_WRITE, ino, &in, sizeof in, (struct piece){bytes, in.size}, nothing);
		break;
	case 3:
		send(n, FUSE_COPY_FILE_RANGE, any_ino(n), &copy, sizeof copy, nothing, nothing);
		break;
	case 4:
		send(n, FUSE_LSEEK, ino, &seek, sizeof seek, nothing, nothing);
		break;
	case 5:
		send(n, FUSE_POLL, ino, &poll, sizeof poll, nothing, nothing);
		break;
	case 6:
		send(n, FUSE_FLUSH, ino, &flush, sizeof flush, nothing, nothing);
		break;
	default:
		send(n, FUSE_RELEASE, ino, &(struct fuse_release_in){.fh = fh},
		     sizeof(struct fuse_release_in), nothing, nothing);
		n->open[at] = n->open[--n->n_open];
		break;
	}
}

static void untimely_request(struct noise *n)
{
	struct fuse_interrupt_in in = {.unique = n->k.unique - 2 * draw(n, 5)};
	struct fuse_forget_in forget = {.nlookup = draw(n, 3)};
	if (draw(n, 2))
		kernel_tell(&n->k, FUSE_INTERRUPT, 0, (struct piece){&in, sizeof in});
	else
		kernel_tell(&n->k, FUSE_FORGET, any_ino(n), (struct piece){&forget, sizeof forget});
}

static void step(struct noise *n)
{
	static void (*const requests[])(struct noise *) = {
		name_request,  name_request,    make_request,    plain_request, plain_request,
		xattr_request, setattr_request, create_request,  open_request,  io_request,
		io_request,    io_request,      untimely_request};
	requests[draw(n, sizeof requests / sizeof *requests)](n);
}

static void check_snapshot(struct noise *n, const uint8_t *big)
{
	uint64_t ino = kernel_path(&n->k, "latest/app/big");
	for (size_t off = 0; off < BIG; off += 100000) {
		struct fuse_read_in in = {.offset = off, .size = 100000};
		assert_int_equal(kernel_ask(&n->k, FUSE_READ, ino, (struct piece){&in, sizeof in},
					    nothing, nothing),
				 0);
		assert_int_equal(n->k.answer.len, 100000);
		assert_memory_equal(n->k.answer.p, big + off, 100000);
	}
}

/* Jobs that do nothing leave their files, which real ones tidy up. */
static void remove_jobs(struct noise *n)
{
	char command[256];
	snprintf(command, sizeof command, "rm -f %s/jobs/*", bak_repo_state_dir(n->k.world.repo));
	assert_int_equal(system(command), 0);
}

static unsigned long requests = 30000;
static uint64_t seed = 1;

static void test_noise(void **state)
{
	struct noise *n = calloc(1, sizeof *n);
	uint8_t *big = malloc(BIG);
	(void)state;
	bak_fill_text(big, BIG, 7);
	n->random = seed;
	kernel_start(&n->k, 0);
	static const char *const paths[] = {"",
					    "by-date",
					    "by-store",
					    "by-store/app",
					    "latest",
					    "latest/app",
					    "latest/app/big",
					    "latest/app/sub",
					    "latest/app.json",
					    "status",
					    "restore",
					    "restore/app",
					    "restore/app",
					    "restore/app",
					    "restore/app/status",
					    "restore/app/wait",
					    "restore/app/log"};
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
		remember(n, kernel_path(&n->k, paths[i]));
	for (unsigned long i = 0; i < requests; i++) {
		step(n);
		if (i % 5000 == 0) {
			check_snapshot(n, big);
			remove_jobs(n);
		}
	}
	check_snapshot(n, big);
	while (n->n_open) {
		n->n_open--;
		kernel_ask(&n->k, FUSE_RELEASE, n->open[n->n_open].ino,
			   (struct piece){&(struct fuse_release_in){.fh = n->open[n->n_open].fh},
					  sizeof(struct fuse_release_in)},
			   nothing, nothing);
	}
	print_message("%lu requests, %lu refused\n", n->answered, n->refused);
	free(big);
	kernel_stop(&n->k);
	free(n);
}

/* A folder in itself has no end: neither a link nor a new name brings it there. */
static void test_folder_in_itself(void **state)
{
	struct kernel *k = calloc(1, sizeof *k);
	struct fuse_mkdir_in mkdir = {.mode = 0700};
	uint64_t room, inos[3], ino;
	(void)state;
	kernel_start(k, 0);
	room = kernel_path(k, "restore/app");
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(kernel_name(k, FUSE_MKDIR, i ? inos[i - 1] : room, &mkdir,
					     sizeof mkdir, "a", &inos[i]),
				 0);
	for (size_t i = 1; i < 3; i++) {
		struct fuse_rename2_in to = {.newdir = inos[i]};
		assert_int_equal(kernel_ask(k, FUSE_RENAME2, inos[0],
					    (struct piece){&to, sizeof to}, (struct piece){"a", 2},
					    (struct piece){"b", 2}),
				 EINVAL);
		struct fuse_link_in link = {.oldnodeid = inos[1]};
		assert_int_equal(kernel_name(k, FUSE_LINK, inos[i], &link, sizeof link, "b", &ino),
				 EPERM);
	}
	kernel_stop(k);
	free(k);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_folder_in_itself),
		cmocka_unit_test(test_noise),
	};
	if (argc > 1)
		requests = strtoul(argv[1], NULL, 10);
	if (argc > 2)
		seed = strtoull(argv[2], NULL, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
