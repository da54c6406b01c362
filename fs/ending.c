/* Signals, and an end that comes: see ending.h. */
#include "fs/ending.h"

#include "fs/mounts.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <syslog.h>
#include <unistd.h>

/* Far longer than a request takes on a disk that answers, shorter than whoever sent the signal has
 * patience. */
#define GRACE_S 5

struct bak_ending {
	struct bak_fs *fs;
	pthread_t thread;
	bool running;
	sigset_t was;
	int signals, ended, over;
	pthread_mutex_t lock; /* guards mounted, and is held while it is unmounted */
	bool mounted;
};

static void tell(int fd)
{
	uint64_t one = 1;
	if (write(fd, &one, sizeof one) < 0)
		return; /* the counter is full: it was told */
}

/* After an abort of the connection the mount stays behind, dead: it goes too. */
static void unmount(struct bak_fs *fs)
{
	struct bak_error ignored = BAK_ERROR_INIT;
	BAK_AUTO(bak_mount_info_release) struct bak_mount_info mount = {.point = NULL};
	fuse_session_unmount(fs->session);
	if (bak_mounts_at(fs->mount_point, &mount, &ignored) > 0 &&
	    strcmp(mount.type, "fuse.bakfs") == 0)
		umount2(fs->mount_point, MNT_DETACH | UMOUNT_NOFOLLOW);
}

/* The mount first: a log may lie on the same disk. The end of the process closes the connection, and
 * with it each request that is under way. */
static void give_up(struct bak_ending *e)
{
	pthread_mutex_lock(&e->lock);
	bool mounted = e->mounted;
	if (mounted)
		unmount(e->fs);
	bak_fs_log(e->fs, LOG_WARNING,
		   "ended without what was under way: it did not end within %d s, "
		   "the disk of the repository or of the spool may not answer",
		   GRACE_S);
	_exit(mounted ? EXIT_SUCCESS : EXIT_FAILURE);
}

static void *ending_main(void *arg)
{
	struct bak_ending *e = arg;
	struct pollfd fds[2] = {{.fd = e->signals, .events = POLLIN},
				{.fd = e->ended, .events = POLLIN}};
	struct pollfd over = {.fd = e->over, .events = POLLIN};
	struct signalfd_siginfo info;
	int n;
	while (poll(fds, 2, -1) < 0 && errno == EINTR)
		;
	if (fds[0].revents && read(e->signals, &info, sizeof info) == sizeof info)
		bak_fs_log(e->fs, LOG_INFO, "%s: ending", strsignal((int)info.ssi_signo));
	tell(e->ended);
	do
		n = poll(&over, 1, GRACE_S * 1000);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		give_up(e);
	return NULL;
}

int bak_ending_new(struct bak_fs *fs, struct bak_ending **out, struct bak_error *err)
{
	struct bak_ending *e = calloc(1, sizeof *e);
	sigset_t ours;
	if (!e)
		return bak_error_nomem(err);
	e->fs = fs;
	pthread_mutex_init(&e->lock, NULL);
	sigemptyset(&ours);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, SIGHUP);
	e->signals = signalfd(-1, &ours, SFD_CLOEXEC);
	e->ended = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	e->over = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	sigaddset(&ours, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &ours, &e->was);
	int no = e->signals < 0 || e->ended < 0 || e->over < 0
			 ? errno
			 : pthread_create(&e->thread, NULL, ending_main, e);
	e->running = !no;
	if (no) {
		bak_ending_free(e);
		return bak_error_sys(err, no, "take signals");
	}
	*out = e;
	return 0;
}

int bak_ending_fd(const struct bak_ending *e)
{
	return e->ended;
}

void bak_ending_mounted(struct bak_ending *e)
{
	pthread_mutex_lock(&e->lock);
	e->mounted = true;
	pthread_mutex_unlock(&e->lock);
}

void bak_ending_unmount(struct bak_ending *e)
{
	pthread_mutex_lock(&e->lock);
	unmount(e->fs);
	e->mounted = false;
	pthread_mutex_unlock(&e->lock);
}

void bak_ending_free(struct bak_ending *e)
{
	if (!e)
		return;
	if (e->running) {
		tell(e->over);
		tell(e->ended);
		pthread_join(e->thread, NULL);
	}
	const int fds[] = {e->signals, e->ended, e->over};
	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	pthread_mutex_destroy(&e->lock);
	pthread_sigmask(SIG_SETMASK, &e->was, NULL);
	free(e);
}
