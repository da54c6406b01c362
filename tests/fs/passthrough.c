/*
 * A folder seen through FUSE, read-only: a disk that a test can make fail.
 *
 * passthrough SOURCE MOUNT_POINT: in the foreground; prints "ready".
 *   SIGUSR1: from now on all that is asked fails with EIO; SIGUSR2: nothing does.
 *   SIGSTOP: it hangs; SIGCONT. SIGKILL: it is gone, as a network disk whose server is.
 * Nothing is cached, so that what fails is seen to fail.
 */
#define FUSE_USE_VERSION 312
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_bool broken; /* lock-free: a signal sets it */
static int root;           /* of what is shown */

static void on_signal(int signal)
{
	broken = signal == SIGUSR1;
}

static const char *below(const char *path)
{
	return path[1] ? path + 1 : ".";
}

static int do_getattr(const char *path, struct stat *out, struct fuse_file_info *fi)
{
	(void)fi;
	if (broken)
		return -EIO;
	return fstatat(root, below(path), out, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int do_open(const char *path, struct fuse_file_info *fi)
{
	int fd = broken ? (errno = EIO, -1) : openat(root, below(path), O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	fi->fh = (uint64_t)fd;
	fi->direct_io = 1;
	return 0;
}

static int do_read(const char *path, char *p, size_t len, off_t off, struct fuse_file_info *fi)
{
	(void)path;
	if (broken)
		return -EIO;
	ssize_t n = pread((int)fi->fh, p, len, off);
	return n < 0 ? -errno : (int)n;
}

static int do_release(const char *path, struct fuse_file_info *fi)
{
	(void)path;
	close((int)fi->fh);
	return 0;
}

static int do_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t off,
		      struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
	(void)off;
	(void)fi;
	(void)flags;
	int fd = broken ? (errno = EIO, -1) : openat(root, below(path), O_RDONLY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return -errno;
	const struct dirent *entry;
	while ((entry = readdir(dir)))
		fill(buf, entry->d_name, NULL, 0, 0);
	closedir(dir);
	return 0;
}

static void *do_init(struct fuse_conn_info *conn, struct fuse_config *config)
{
	(void)conn;
	config->entry_timeout = config->attr_timeout = config->negative_timeout = 0;
	puts("ready");
	fclose(stdout);
	return NULL;
}

int main(int argc, char **argv)
{
	static const struct fuse_operations operations = {.init = do_init,
							  .getattr = do_getattr,
							  .open = do_open,
							  .read = do_read,
							  .release = do_release,
							  .readdir = do_readdir};
	char *args[] = {argv[0], (char[]){"-f"}, argc == 3 ? argv[2] : NULL, NULL};
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	root = argc == 3 ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (root < 0) {
		perror("passthrough SOURCE MOUNT_POINT");
		return 2;
	}
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGUSR2, &action, NULL);
	return fuse_main(3, args, &operations, NULL);
}
