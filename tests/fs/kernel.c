/* Requests without a kernel: see kernel.h. */
#include "tests/fs/kernel.h"

#include "fs/control.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define REQUEST_MAX (1u << 20)

static struct kernel *playing; /* libfuse hands over the file system, not us */

/* --- answers --- */

static ssize_t on_answer(int fd, struct iovec *v, int n, void *userdata)
{
	struct kernel *k = playing;
	size_t total = 0;
	(void)fd;
	(void)userdata;
	for (int i = 0; i < n; i++)
		total += v[i].iov_len;
	const struct fuse_out_header *head = v[0].iov_base;
	pthread_mutex_lock(&k->lock);
	if (v[0].iov_len < sizeof *head || head->len != total || head->error > 0 ||
	    head->error < -4095 || (head->error && total != sizeof *head))
		k->odd = true;
	if (head->unique == k->unique) {
		k->n_answers++;
		k->error = -head->error;
		k->answer.len = 0;
		size_t skip = sizeof *head;
		for (int i = 0; i < n; i++) {
			size_t cut = v[i].iov_len < skip ? v[i].iov_len : skip;
			bak_buf_append(&k->answer, (const char *)v[i].iov_base + cut,
				       v[i].iov_len - cut);
			skip -= cut;
		}
		pthread_cond_signal(&k->answered);
	} else if (head->unique > k->unique) {
		k->odd = true;
	}
	pthread_mutex_unlock(&k->lock);
	return (ssize_t)total;
}

static ssize_t no_read(int fd, void *p, size_t len, void *userdata)
{
	(void)fd;
	(void)p;
	(void)len;
	(void)userdata;
	errno = ENODEV;
	return -1;
}

/* --- requests --- */

static void send_request(struct kernel *k, uint32_t opcode, uint64_t ino, const struct piece *v,
			 size_t n)
{
	uint8_t *p = calloc(1, REQUEST_MAX + 4096);
	assert_non_null(p);
	size_t len = sizeof(struct fuse_in_header);
	for (size_t i = 0; i < n; i++) {
		assert_true(v[i].len <= REQUEST_MAX - len);
		if (v[i].len)
			memcpy(p + len, v[i].p, v[i].len);
		len += v[i].len;
	}
	pthread_mutex_lock(&k->lock);
	struct fuse_in_header head = {.len = (uint32_t)len,
				      .opcode = opcode,
				      .unique = k->unique += 2, /* odd ones are interrupts */
				      .nodeid = ino,
				      .uid = getuid(),
				      .gid = getgid(),
				      .pid = (uint32_t)getpid()};
	k->n_answers = 0;
	k->n_requests++;
	pthread_mutex_unlock(&k->lock);
	memcpy(p, &head, sizeof head);
	/* Exactly as long as it is, so that a read behind its end is seen. */
	uint8_t *exact = realloc(p, len);
	struct fuse_buf buf = {.mem = exact, .size = len};
	if (k->serving)
		k->serving(true);
	fuse_session_process_buf(k->session, &buf);
	if (k->serving)
		k->serving(false);
	free(exact);
}

int kernel_ask(struct kernel *k, uint32_t opcode, uint64_t ino, struct piece a, struct piece b,
	       struct piece c)
{
	send_request(k, opcode, ino, (const struct piece[]){a, b, c}, 3);
	pthread_mutex_lock(&k->lock);
	while (!k->n_answers)
		pthread_cond_wait(&k->answered, &k->lock);
	int no = k->error;
	bool good = k->n_answers == 1 && !k->odd;
	pthread_mutex_unlock(&k->lock);
	assert_true(good);
	return no;
}

void kernel_tell(struct kernel *k, uint32_t opcode, uint64_t ino, struct piece a)
{
	send_request(k, opcode, ino, &a, 1);
}

int kernel_name(struct kernel *k, uint32_t opcode, uint64_t parent, const void *in, size_t in_len,
		const char *name, uint64_t *out_ino)
{
	int no = kernel_ask(k, opcode, parent, (struct piece){in, in_len},
			    (struct piece){name, strlen(name) + 1}, (struct piece){NULL, 0});
	if (!no && out_ino) {
		struct fuse_entry_out entry;
		assert_true(k->answer.len >= sizeof entry);
		memcpy(&entry, k->answer.p, sizeof entry);
		*out_ino = entry.nodeid;
		if (!entry.nodeid)
			no = ENOENT;
	}
	return no;
}

int kernel_lookup(struct kernel *k, uint64_t parent, const char *name, uint64_t *out_ino)
{
	return kernel_name(k, FUSE_LOOKUP, parent, NULL, 0, name, out_ino);
}

uint64_t kernel_path(struct kernel *k, const char *path)
{
	uint64_t ino = FUSE_ROOT_ID;
	char name[256];
	while (*path) {
		size_t len = strcspn(path, "/");
		snprintf(name, sizeof name, "%.*s", (int)len, path);
		assert_int_equal(kernel_lookup(k, ino, name, &ino), 0);
		path += len + (path[len] == '/');
	}
	return ino;
}

/* --- life --- */

static void open_session(struct kernel *k)
{
	static const struct fuse_custom_io io = {.writev = on_answer, .read = no_read};
	char *argv[] = {(char[]){"test"}};
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	struct fuse_init_in init = {.major = FUSE_KERNEL_VERSION,
				    .minor = FUSE_KERNEL_MINOR_VERSION,
				    .max_readahead = 1 << 20,
				    .flags = FUSE_DO_READDIRPLUS | FUSE_ATOMIC_O_TRUNC |
					     FUSE_BIG_WRITES | FUSE_PARALLEL_DIROPS |
					     FUSE_MAX_PAGES | FUSE_ASYNC_DIO};
	k->session = fuse_session_new(&args, &bak_fs_ops, sizeof bak_fs_ops, &k->fs);
	fuse_opt_free_args(&args);
	assert_non_null(k->session);
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(fuse_session_custom_io(k->session, &io, fd), 0);
	k->fs.session = k->session;
	assert_int_equal(kernel_ask(k, FUSE_INIT, 0, (struct piece){&init, sizeof init},
				    (struct piece){NULL, 0}, (struct piece){NULL, 0}),
			 0);
}

/* A job that does nothing, and says nothing. */
static void write_job(struct kernel *k)
{
	snprintf(k->job, sizeof k->job, "%s/job", k->dir);
	FILE *f = fopen(k->job, "we");
	assert_non_null(f);
	fputs("#!/bin/sh\nexit 0\n", f);
	fchmod(fileno(f), 0700);
	fclose(f);
	k->job_argv[0] = k->job;
}

void kernel_start(struct kernel *k, size_t prefetch)
{
	struct bak_error err = BAK_ERROR_INIT;
	*k = (struct kernel){.unique = 0, .answer = BAK_BUF_INIT};
	playing = k;
	pthread_mutex_init(&k->lock, NULL);
	pthread_cond_init(&k->answered, NULL);
	snprintf(k->dir, sizeof k->dir, "/tmp/bakfs-kernel-XXXXXX");
	assert_non_null(mkdtemp(k->dir));
	bak_world_setup(&k->world);
	k->snapshot = bak_world_backup(&k->world, "app", "manual", 7);
	/* Once more, with a state folder: jobs are kept there. */
	struct bak_repo_conf repo_conf = bak_world_conf(&k->world);
	repo_conf.index_in_memory = false;
	repo_conf.cache_dir = repo_conf.state_dir = k->dir;
	bak_repo_close(k->world.repo);
	bak_must(bak_repo_open(&repo_conf, &k->world.secret, &k->world.repo, &err), &err);
	assert_int_equal(bak_buf_reserve(&k->answer, 2 * REQUEST_MAX), 0);
	write_job(k);
	k->store = (struct bak_mount_store){.name = "app", .restore = true};
	k->conf = (struct bak_mount_conf){.repo = k->world.repo,
					  .mount_point = "/nowhere",
					  .stores = &k->store,
					  .n_stores = 1,
					  .job_argv = k->job_argv,
					  .spool_dir = k->dir,
					  .prefetch = prefetch,
					  .uid = -1,
					  .gid = -1,
					  .umask = -1,
					  .restore_gid = -1,
					  .restore_queue = 4};
	k->fs = (struct bak_fs){.conf = &k->conf, .mount_point = k->conf.mount_point};
	bak_must(bak_fs_init(&k->fs, &err), &err);
	open_session(k);
}

void kernel_stop(struct kernel *k)
{
	char command[128];
	bak_control_answer_all(k->fs.control);
	bak_fs_release(&k->fs);
	fuse_session_destroy(k->session);
	bak_world_teardown(&k->world);
	bak_buf_release(&k->answer);
	assert_false(k->odd);
	snprintf(command, sizeof command, "rm -r %s", k->dir);
	assert_int_equal(system(command), 0);
	pthread_mutex_destroy(&k->lock);
	pthread_cond_destroy(&k->answered);
}
