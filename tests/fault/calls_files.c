/* The functions that stand before the C library's: see calls.h. */
#undef _FILE_OFFSET_BITS /* both names of each function are ours: open and open64 */
#include "tests/fault/calls_private.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* The C library's function behind ours. */
#define REAL(fn)                     \
	static __typeof__(fn) *real; \
	if (!real)                   \
	real = (__typeof__(fn) *)(uintptr_t)dlsym(RTLD_NEXT, #fn)

#define ALSO(alias, fn)                                              \
	__asm__(".globl " #alias "\n\t.type " #alias ", @function\n" \
		"\t.set " #alias ", " #fn "\n")

/* Refuses by -1 and errno, or goes on. */
#define JUDGE(kind, name)                                  \
	do {                                               \
		int judged = call_verdict((kind), (name)); \
		if (judged > 0) {                          \
			errno = judged;                    \
			return -1;                         \
		}                                          \
	} while (0)

/* Half of len when the call is to be cut short. */
#define JUDGE_LEN(kind, name, len)                         \
	do {                                               \
		int judged = call_verdict((kind), (name)); \
		if (judged > 0) {                          \
			errno = judged;                    \
			return -1;                         \
		}                                          \
		if (judged == CALL_SHORT && (len) > 1)     \
			(len) /= 2;                        \
	} while (0)

static uint64_t ino_of(int fd)
{
	REAL(fstat);
	struct stat st;
	return real(fd, &st) == 0 ? st.st_ino : 0;
}

/* --- files --- */

static mode_t mode_arg(int flags, va_list args)
{
	return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(args, int) : 0;
}

static int open_at(int dir, const char *path, int flags, mode_t mode)
{
	REAL(openat);
	char name[CALL_NAME];
	call_absolute(dir, path, name);
	bool makes = flags & O_CREAT && access(name, F_OK) != 0;
	JUDGE(makes ? CALL_MAKE : CALL_OPEN, name);
	bool watching = call_watch(name);
	struct call call = {.kind = CALL_OPEN, .name = name};
	call.created = makes;
	int fd = real(dir, path, flags, mode);
	call_set_name(fd, name);
	call.ino = watching && fd >= 0 ? ino_of(fd) : 0;
	call_tell(watching, fd >= 0, &call);
	if (flags & O_TRUNC && !call.created && watching && fd >= 0) {
		call = (struct call){.kind = CALL_TRUNCATE, .name = name, .ino = call.ino};
		call_tell(call_watch(name), true, &call);
	}
	return fd;
}

int openat(int dir, const char *path, int flags, ...)
{
	va_list args;
	va_start(args, flags);
	mode_t mode = mode_arg(flags, args);
	va_end(args);
	return open_at(dir, path, flags, mode);
}
ALSO(openat64, openat);

int open(const char *path, int flags, ...)
{
	va_list args;
	va_start(args, flags);
	mode_t mode = mode_arg(flags, args);
	va_end(args);
	return open_at(AT_FDCWD, path, flags, mode);
}
ALSO(open64, open);

int close(int fd)
{
	REAL(close);
	char name[CALL_NAME];
	snprintf(name, sizeof name, "%s", call_name_of(fd));
	call_set_name(fd, "");
	int rc = real(fd);
	JUDGE(CALL_CLOSE, name);
	return rc;
}

int closedir(DIR *dir)
{
	REAL(closedir);
	call_set_name(dirfd(dir), "");
	return real(dir);
}

ssize_t read(int fd, void *p, size_t len)
{
	REAL(read);
	JUDGE_LEN(CALL_READ, call_name_of(fd), len);
	return real(fd, p, len);
}

ssize_t pread(int fd, void *p, size_t len, off_t off)
{
	REAL(pread);
	JUDGE_LEN(CALL_READ, call_name_of(fd), len);
	return real(fd, p, len, off);
}
ALSO(pread64, pread);

struct dirent *readdir(DIR *dir)
{
	REAL(readdir);
	int judged = call_verdict(CALL_LIST, call_name_of(dirfd(dir)));
	if (judged > 0) {
		errno = judged;
		return NULL;
	}
	return real(dir);
}
ALSO(readdir64, readdir);

ssize_t getdents64(int fd, void *p, size_t len)
{
	REAL(getdents64);
	JUDGE(CALL_LIST, call_name_of(fd));
	return real(fd, p, len);
}

static ssize_t told_write(int fd, const void *p, ssize_t n, off_t off)
{
	struct call call = {.kind = CALL_WRITE,
			    .name = call_name_of(fd),
			    .ino = ino_of(fd),
			    .data = p,
			    .off = (uint64_t)off,
			    .len = n > 0 ? (uint64_t)n : 0};
	call_tell(true, n > 0, &call);
	return n;
}

ssize_t write(int fd, const void *p, size_t len)
{
	REAL(write);
	JUDGE_LEN(CALL_WRITE, call_name_of(fd), len);
	if (!call_watch(call_name_of(fd)))
		return real(fd, p, len);
	off_t off = lseek(fd, 0, SEEK_CUR);
	return told_write(fd, p, real(fd, p, len), off);
}

ssize_t pwrite(int fd, const void *p, size_t len, off_t off)
{
	REAL(pwrite);
	JUDGE_LEN(CALL_WRITE, call_name_of(fd), len);
	if (!call_watch(call_name_of(fd)))
		return real(fd, p, len, off);
	return told_write(fd, p, real(fd, p, len, off), off);
}
ALSO(pwrite64, pwrite);

/* The first piece alone: both may write less than was asked. */
ssize_t writev(int fd, const struct iovec *v, int n)
{
	while (n > 1 && v->iov_len == 0) {
		v++;
		n--;
	}
	return n > 0 ? write(fd, v->iov_base, v->iov_len) : 0;
}

ssize_t pwritev(int fd, const struct iovec *v, int n, off_t off)
{
	while (n > 1 && v->iov_len == 0) {
		v++;
		n--;
	}
	return n > 0 ? pwrite(fd, v->iov_base, v->iov_len, off) : 0;
}
ALSO(pwritev64, pwritev);

int ftruncate(int fd, off_t len)
{
	REAL(ftruncate);
	JUDGE(CALL_TRUNCATE, call_name_of(fd));
	bool watching = call_watch(call_name_of(fd));
	struct call call = {.kind = CALL_TRUNCATE, .name = call_name_of(fd), .len = (uint64_t)len};
	int rc = real(fd, len);
	call.ino = watching ? ino_of(fd) : 0;
	call_tell(watching, rc == 0, &call);
	return rc;
}
ALSO(ftruncate64, ftruncate);

static int told_sync(int fd, int (*real)(int))
{
	JUDGE(CALL_SYNC, call_name_of(fd));
	bool watching = call_watch(call_name_of(fd));
	struct call call = {.kind = CALL_SYNC, .name = call_name_of(fd)};
	int rc = real(fd);
	call.ino = watching ? ino_of(fd) : 0;
	call_tell(watching, rc == 0, &call);
	return rc;
}

int fsync(int fd)
{
	REAL(fsync);
	return told_sync(fd, real);
}

int fdatasync(int fd)
{
	REAL(fdatasync);
	return told_sync(fd, real);
}

int syncfs(int fd)
{
	REAL(syncfs);
	JUDGE(CALL_SYNC, call_name_of(fd));
	bool watching = call_watch(call_name_of(fd));
	struct call call = {.kind = CALL_SYNC, .name = call_name_of(fd), .all = true};
	int rc = real(fd);
	call_tell(watching, rc == 0, &call);
	return rc;
}

/* --- names of files --- */

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	REAL(renameat2);
	char name[CALL_NAME], new_name[CALL_NAME];
	call_absolute(from_dir, from, name);
	call_absolute(to_dir, to, new_name);
	JUDGE(CALL_RENAME, new_name);
	bool watching = call_watch(new_name);
	struct call call = {.kind = CALL_RENAME, .name = name, .to = new_name};
	int rc = real(from_dir, from, to_dir, to, flags);
	call_tell(watching, rc == 0, &call);
	return rc;
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	return renameat2(from_dir, from, to_dir, to, 0);
}

int rename(const char *from, const char *to)
{
	return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	REAL(linkat);
	char name[CALL_NAME], new_name[CALL_NAME];
	call_absolute(from_dir, from, name);
	call_absolute(to_dir, to, new_name);
	JUDGE(CALL_RENAME, new_name);
	bool watching = call_watch(new_name);
	struct call call = {.kind = CALL_RENAME, .name = name, .to = new_name, .link = true};
	int rc = real(from_dir, from, to_dir, to, flags);
	call_tell(watching, rc == 0, &call);
	return rc;
}

int unlinkat(int dir, const char *path, int flags)
{
	REAL(unlinkat);
	char name[CALL_NAME];
	call_absolute(dir, path, name);
	JUDGE(CALL_UNLINK, name);
	bool watching = call_watch(name);
	struct call call = {.kind = CALL_UNLINK, .name = name};
	int rc = real(dir, path, flags);
	call_tell(watching, rc == 0, &call);
	return rc;
}

int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path)
{
	return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int mkdirat(int dir, const char *path, mode_t mode)
{
	REAL(mkdirat);
	char name[CALL_NAME];
	call_absolute(dir, path, name);
	if (access(name, F_OK) != 0)
		JUDGE(CALL_MAKE, name);
	bool watching = call_watch(name);
	struct call call = {.kind = CALL_MAKE, .name = name};
	int rc = real(dir, path, mode);
	call_tell(watching, rc == 0, &call);
	return rc;
}

int mkdir(const char *path, mode_t mode)
{
	return mkdirat(AT_FDCWD, path, mode);
}

int symlinkat(const char *target, int dir, const char *path)
{
	REAL(symlinkat);
	char name[CALL_NAME];
	JUDGE(CALL_MAKE, call_absolute(dir, path, name));
	return real(target, dir, path);
}

/* --- what they are --- */

int fstat(int fd, struct stat *st)
{
	REAL(fstat);
	JUDGE(CALL_STAT, call_name_of(fd));
	return real(fd, st);
}
ALSO(fstat64, fstat);

int fstatat(int dir, const char *path, struct stat *st, int flags)
{
	REAL(fstatat);
	char name[CALL_NAME];
	JUDGE(CALL_STAT, call_absolute(dir, path, name));
	return real(dir, path, st, flags);
}
ALSO(fstatat64, fstatat);

int stat(const char *path, struct stat *st)
{
	return fstatat(AT_FDCWD, path, st, 0);
}
ALSO(stat64, stat);

int lstat(const char *path, struct stat *st)
{
	return fstatat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}
ALSO(lstat64, lstat);

int statx(int dir, const char *path, int flags, unsigned mask, struct statx *st)
{
	REAL(statx);
	char name[CALL_NAME];
	JUDGE(CALL_STAT, call_absolute(dir, path, name));
	return real(dir, path, flags, mask, st);
}

int fcntl(int fd, int command, ...)
{
	REAL(fcntl);
	va_list args;
	va_start(args, command);
	void *arg = va_arg(args, void *);
	va_end(args);
	if (command == F_SETLK || command == F_SETLKW)
		JUDGE(CALL_LOCK, call_name_of(fd));
	int rc = real(fd, command, arg);
	if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)
		call_set_name(rc, call_name_of(fd));
	return rc;
}
ALSO(fcntl64, fcntl);

void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	REAL(mmap);
	int judged = fd >= 0 ? call_verdict(CALL_MAP, call_name_of(fd)) : 0;
	if (judged > 0) {
		errno = judged;
		return MAP_FAILED;
	}
	return real(at, len, prot, flags, fd, off);
}
ALSO(mmap64, mmap);

int fchownat(int dir, const char *path, uid_t uid, gid_t gid, int flags)
{
	REAL(fchownat);
	char name[CALL_NAME];
	JUDGE(CALL_ATTRIBUTE, call_absolute(dir, path, name));
	return real(dir, path, uid, gid, flags);
}

int fchmodat(int dir, const char *path, mode_t mode, int flags)
{
	REAL(fchmodat);
	char name[CALL_NAME];
	JUDGE(CALL_ATTRIBUTE, call_absolute(dir, path, name));
	return real(dir, path, mode, flags);
}

int fchmod(int fd, mode_t mode)
{
	REAL(fchmod);
	JUDGE(CALL_ATTRIBUTE, call_name_of(fd));
	return real(fd, mode);
}

int utimensat(int dir, const char *path, const struct timespec times[2], int flags)
{
	REAL(utimensat);
	char name[CALL_NAME];
	JUDGE(CALL_ATTRIBUTE, call_absolute(dir, path, name));
	return real(dir, path, times, flags);
}

int futimens(int fd, const struct timespec times[2])
{
	REAL(futimens);
	JUDGE(CALL_ATTRIBUTE, call_name_of(fd));
	return real(fd, times);
}

/* --- the time of day --- */

int clock_gettime(clockid_t id, struct timespec *out)
{
	REAL(clock_gettime);
	int rc = real(id, out);
	if (rc == 0 && id == CLOCK_REALTIME)
		out->tv_sec += calls_clock;
	return rc;
}

time_t time(time_t *out)
{
	struct timespec now = {.tv_sec = 0};
	clock_gettime(CLOCK_REALTIME, &now);
	if (out)
		*out = now.tv_sec;
	return now.tv_sec;
}
