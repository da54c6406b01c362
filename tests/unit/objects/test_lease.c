/* Leases: written, listed, judged alive or dead. */
#include "engine/objects/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define NOW 1795269732
#define RUN "0123456789abcdef"

static struct bak_master masters[1] = {{.number = 7, .key = {1}}};
static const struct bak_keyring ring = {
	.repo_id = "repository-id-1", .n_masters = 1, .masters = masters};

static void make(struct bak_lease *lease)
{
	struct bak_error err = BAK_ERROR_INIT;
	assert_int_equal(bak_lease_self(lease, "backup", RUN, "host \"1\"", NOW, &err), 0);
	lease->n_stores = 2;
	lease->stores = calloc(2, sizeof *lease->stores);
	lease->stores[0] = strdup("a");
	lease->stores[1] = strdup("b");
}

struct seen {
	size_t n;
	struct bak_lease want;
};

static int see(void *ctx, const char *name, const struct bak_lease *lease)
{
	struct seen *seen = ctx;
	seen->n++;
	if (strcmp(name, "running/" RUN "-3") != 0)
		return 42;
	assert_string_equal(lease->run, seen->want.run);
	assert_string_equal(lease->kind, seen->want.kind);
	assert_string_equal(lease->boot, seen->want.boot);
	assert_string_equal(lease->host, seen->want.host);
	assert_int_equal(lease->pid, getpid());
	assert_int_equal(lease->pid_ns, seen->want.pid_ns);
	assert_int_equal(lease->pid_start, seen->want.pid_start);
	assert_int_equal(lease->start, NOW);
	assert_int_equal(lease->time, NOW + 300);
	assert_int_equal(lease->n_stores, 2);
	assert_string_equal(lease->stores[1], "b");
	return 0;
}

static void test_put_list_remove(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_backend *be;
	struct seen seen = {.n = 0};
	make(&seen.want);
	seen.want.time += 300;
	assert_int_equal(bak_backend_mem_new(&be, &err), 0);
	assert_int_equal(bak_lease_put(be, &ring, &seen.want, 3, &err), 0);
	assert_int_equal(bak_lease_put(be, &ring, &seen.want, 3, &err), -1);
	assert_int_equal(err.code, BAK_EXISTS);
	/* What does not open, or opens to something else, is passed over. */
	assert_int_equal(bak_backend_put(be, "t", "running/junk", "junk", 4, &err), 1);
	assert_int_equal(bak_record_put(be, &ring, "running/" RUN "-9", "{\"run\":7}", &err), 1);
	assert_int_equal(bak_lease_each(be, &ring, see, &seen, &err), 0);
	assert_int_equal(seen.n, 1);
	assert_int_equal(bak_lease_put(be, &ring, &seen.want, 4, &err), 0);
	assert_int_equal(bak_lease_each(be, &ring, see, &seen, &err), 42);
	assert_int_equal(bak_lease_remove(be, RUN, 4, &err), 0);
	assert_int_equal(bak_lease_remove(be, RUN, 4, &err), 0);
	assert_int_equal(bak_lease_remove(be, RUN, 3, &err), 0);
	seen.n = 0;
	assert_int_equal(bak_lease_each(be, &ring, see, &seen, &err), 0);
	assert_int_equal(seen.n, 0);
	bak_lease_release(&seen.want);
	bak_backend_close(be);
}

static void test_dead(void **state)
{
	(void)state;
	struct bak_lease lease;
	make(&lease);
	assert_false(bak_lease_dead(&lease, NOW));
	assert_false(bak_lease_dead(&lease, NOW + 24 * 3600));
	assert_true(bak_lease_dead(&lease, NOW + 25 * 3600 + 1));
	assert_false(bak_lease_dead(&lease, NOW - 100000));

	/* A process that has gone, collected or not. */
	pid_t child = fork();
	if (child == 0)
		_exit(0);
	siginfo_t info;
	assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
	lease.pid = child;
	assert_true(bak_lease_dead(&lease, NOW));
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_true(bak_lease_dead(&lease, NOW));
	/* The same number on another boot or in another namespace says nothing. */
	lease.pid_ns++;
	assert_false(bak_lease_dead(&lease, NOW));
	lease.pid_ns--;
	lease.boot[0] ^= 1;
	assert_false(bak_lease_dead(&lease, NOW));
	bak_lease_release(&lease);
}

/* A process that has the number of the lease's, but is another one. */
static void test_number_used_again(void **state)
{
	(void)state;
	struct bak_lease lease;
	make(&lease);
	assert_true(lease.pid_start > 0);
	assert_false(bak_lease_dead(&lease, NOW));
	lease.pid_start--;
	assert_true(bak_lease_dead(&lease, NOW));
	/* On another boot it says nothing; nor does a lease without it. */
	lease.boot[0] ^= 1;
	assert_false(bak_lease_dead(&lease, NOW));
	lease.boot[0] ^= 1;
	lease.pid_start = 0;
	assert_false(bak_lease_dead(&lease, NOW));
	bak_lease_release(&lease);
}

/* One of an older bakfs, without pid_start. */
static int see_old(void *ctx, const char *name, const struct bak_lease *lease)
{
	(void)name;
	*(int *)ctx += lease->pid == 4242 && lease->pid_start == 0;
	return 0;
}

static void test_without_start(void **state)
{
	static const char text[] =
		"{\"boot\":\"b\",\"host\":\"h\",\"kind\":\"backup\",\"pid\":4242,\"pid_ns\":1,"
		"\"run\":\"" RUN "\",\"start\":\"2026-11-21T14:02:12Z\",\"stores\":[],"
		"\"time\":\"2026-11-21T14:02:12Z\"}";
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_backend *be;
	int seen = 0;
	(void)state;
	assert_int_equal(bak_backend_mem_new(&be, &err), 0);
	assert_int_equal(bak_record_put(be, &ring, "running/" RUN "-0", text, &err), 1);
	assert_int_equal(bak_lease_each(be, &ring, see_old, &seen, &err), 0);
	assert_int_equal(seen, 1);
	bak_backend_close(be);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_list_remove),
		cmocka_unit_test(test_dead),
		cmocka_unit_test(test_number_used_again),
		cmocka_unit_test(test_without_start),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
