/*
 * A database's pages, in order, without a temporary copy.
 *
 * SQLite's backup copies the pages of a pinned moment, wherever they lie (file or WAL), into
 * another database. Ours is one whose file is a sink: a VFS that hands each page written to a
 * function. With a small cache and no journal, pages come in ascending order, but for page 1,
 * which the transaction holds until its end, changed in the fields below. So the source is opened
 * through a VFS as well, the usual one with a tap on reading: a fresh connection reads page 1 when
 * it is pinned, and that is what goes out first. At the end both are compared.
 */
#include "stores/sqlite/sqlite.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE_MAX 65536
#define STEP_PAGES 512
#define WAL_HEADER 32
#define WAL_FRAME_HEADER 24
/* The page with this offset holds locks and no data; SQLite never copies it. */
#define LOCK_BYTE 0x40000000u

/* --- the tap: the usual VFS, watched for page 1 --- */

struct bak_sqlite_tap {
	sqlite3_vfs vfs; /* first: SQLite hands it back */
	sqlite3_vfs *real;
	char name[40];
	uint8_t page1[PAGE_MAX];
	size_t page1_len;
};

/* Followed by the real VFS's own file. */
struct tap_file {
	sqlite3_file base;
	struct bak_sqlite_tap *tap;
	bool is_wal;
	sqlite3_file *real;
};

static sqlite3_file *real_of(sqlite3_file *file)
{
	return ((struct tap_file *)file)->real;
}

static int tap_close(sqlite3_file *file)
{
	sqlite3_file *real = real_of(file);

	return real->pMethods ? real->pMethods->xClose(real) : SQLITE_OK;
}

/* A read of a whole page that is page 1: at 0 of the database, or a frame of the WAL that says so.
 */
static bool is_page1(struct tap_file *file, int n, sqlite3_int64 off)
{
	uint8_t number[4];

	if (n < 512 || n > PAGE_MAX)
		return false;
	if (!file->is_wal)
		return off == 0;
	if (off < WAL_HEADER + WAL_FRAME_HEADER ||
	    (off - WAL_HEADER - WAL_FRAME_HEADER) % (n + WAL_FRAME_HEADER) != 0)
		return false;
	return file->real->pMethods->xRead(file->real, number, sizeof number,
					   off - WAL_FRAME_HEADER) == SQLITE_OK &&
	       memcmp(number, "\0\0\0\1", 4) == 0;
}

static int tap_read(sqlite3_file *base, void *p, int n, sqlite3_int64 off)
{
	struct tap_file *file = (struct tap_file *)base;
	int rc = file->real->pMethods->xRead(file->real, p, n, off);

	if (rc == SQLITE_OK && is_page1(file, n, off)) {
		memcpy(file->tap->page1, p, (size_t)n);
		file->tap->page1_len = (size_t)n;
	}
	return rc;
}

static int tap_write(sqlite3_file *file, const void *p, int n, sqlite3_int64 off)
{
	return real_of(file)->pMethods->xWrite(real_of(file), p, n, off);
}

static int tap_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	return real_of(file)->pMethods->xTruncate(real_of(file), size);
}

static int tap_sync(sqlite3_file *file, int flags)
{
	return real_of(file)->pMethods->xSync(real_of(file), flags);
}

static int tap_size(sqlite3_file *file, sqlite3_int64 *out)
{
	return real_of(file)->pMethods->xFileSize(real_of(file), out);
}

static int tap_lock(sqlite3_file *file, int level)
{
	return real_of(file)->pMethods->xLock(real_of(file), level);
}

static int tap_unlock(sqlite3_file *file, int level)
{
	return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int tap_check_lock(sqlite3_file *file, int *out)
{
	return real_of(file)->pMethods->xCheckReservedLock(real_of(file), out);
}

static int tap_control(sqlite3_file *file, int op, void *arg)
{
	return real_of(file)->pMethods->xFileControl(real_of(file), op, arg);
}

static int tap_sector(sqlite3_file *file)
{
	return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int tap_device(sqlite3_file *file)
{
	return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

static int tap_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **out)
{
	return real_of(file)->pMethods->xShmMap(real_of(file), page, size, extend, out);
}

static int tap_shm_lock(sqlite3_file *file, int off, int n, int flags)
{
	return real_of(file)->pMethods->xShmLock(real_of(file), off, n, flags);
}

static void tap_shm_barrier(sqlite3_file *file)
{
	real_of(file)->pMethods->xShmBarrier(real_of(file));
}

static int tap_shm_unmap(sqlite3_file *file, int remove_it)
{
	return real_of(file)->pMethods->xShmUnmap(real_of(file), remove_it);
}

/* Version 2: shared memory, but no memory mapping of the database, which would pass the tap. */
static const sqlite3_io_methods tap_methods = {
	.iVersion = 2,
	.xClose = tap_close,
	.xRead = tap_read,
	.xWrite = tap_write,
	.xTruncate = tap_truncate,
	.xSync = tap_sync,
	.xFileSize = tap_size,
	.xLock = tap_lock,
	.xUnlock = tap_unlock,
	.xCheckReservedLock = tap_check_lock,
	.xFileControl = tap_control,
	.xSectorSize = tap_sector,
	.xDeviceCharacteristics = tap_device,
	.xShmMap = tap_shm_map,
	.xShmLock = tap_shm_lock,
	.xShmBarrier = tap_shm_barrier,
	.xShmUnmap = tap_shm_unmap,
};

static int tap_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags,
		    int *out_flags)
{
	struct bak_sqlite_tap *tap = (struct bak_sqlite_tap *)vfs;
	struct tap_file *file = (struct tap_file *)base;
	int rc;

	*file = (struct tap_file){.tap = tap,
				  .is_wal = (flags & SQLITE_OPEN_WAL) != 0,
				  .real = (sqlite3_file *)(file + 1)};
	rc = tap->real->xOpen(tap->real, name, file->real, flags, out_flags);
	if (file->real->pMethods)
		file->base.pMethods = &tap_methods;
	return rc;
}

static struct bak_sqlite_tap *tap_new(void)
{
	struct bak_sqlite_tap *tap = calloc(1, sizeof *tap);

	if (!tap)
		return NULL;
	tap->real = sqlite3_vfs_find(NULL);
	tap->vfs = *tap->real;
	snprintf(tap->name, sizeof tap->name, "bakfs-tap-%p", (void *)tap);
	tap->vfs.zName = tap->name;
	tap->vfs.pNext = NULL;
	tap->vfs.szOsFile = (int)sizeof(struct tap_file) + tap->real->szOsFile;
	tap->vfs.xOpen = tap_open;
	if (sqlite3_vfs_register(&tap->vfs, 0) == SQLITE_OK)
		return tap;
	free(tap);
	return NULL;
}

int bak_sqlite_source_open(const char *path, enum bak_sqlite_open how,
			   struct bak_sqlite_source *out, struct bak_error *err)
{
	*out = (struct bak_sqlite_source){.path = path, .tap = tap_new()};
	if (!out->tap)
		return bak_error_nomem(err);
	if (bak_sqlite_open(path, how, out->tap->name, &out->db, err) == 0)
		return 0;
	bak_sqlite_source_close(out);
	return -1;
}

void bak_sqlite_source_close(struct bak_sqlite_source *source)
{
	bak_sqlite_close(&source->db);
	if (source->tap)
		sqlite3_vfs_unregister(&source->tap->vfs);
	free(source->tap);
	*source = (struct bak_sqlite_source){.db = NULL};
}

/* --- the sink: a database file that only takes pages --- */

struct sink {
	sqlite3_vfs vfs;
	char name[40];
	bak_sqlite_sink *fn;
	void *ctx;
	struct bak_error *err;
	bool failed; /* err is filled */
	size_t page_len;
	uint64_t next;        /* offset of the page that should come */
	const uint8_t *page1; /* what was sent as page 1 */
	bool page1_came, page1_differs;
};

struct sink_file {
	sqlite3_file base;
	struct sink *sink;
};

static int send(struct sink *sink, const void *p, size_t len)
{
	if (sink->failed || sink->fn(sink->ctx, p, len, sink->err) < 0) {
		sink->failed = true;
		return SQLITE_IOERR_WRITE;
	}
	sink->next += len;
	return SQLITE_OK;
}

/* All but what a commit writes there: journal mode, counters, size, schema cookie, version. */
static bool same_page1(const uint8_t *a, const uint8_t *b, size_t len)
{
	static const struct {
		size_t from, to;
	} kept[] = {{0, 18}, {20, 24}, {32, 40}, {44, 92}};

	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
		if (memcmp(a + kept[i].from, b + kept[i].from, kept[i].to - kept[i].from) != 0)
			return false;
	}
	return memcmp(a + 100, b + 100, len - 100) == 0;
}

static int sink_write(sqlite3_file *base, const void *p, int n, sqlite3_int64 off)
{
	struct sink *sink = ((struct sink_file *)base)->sink;

	if ((size_t)n != sink->page_len || off < 0)
		return SQLITE_IOERR_WRITE;
	if (off == 0) {
		sink->page1_came = true;
		sink->page1_differs = !same_page1(sink->page1, p, sink->page_len);
		return SQLITE_OK;
	}
	if (sink->next == LOCK_BYTE && (uint64_t)off == LOCK_BYTE + sink->page_len) {
		uint8_t *zeros = calloc(1, sink->page_len);
		int rc = zeros ? send(sink, zeros, sink->page_len) : SQLITE_NOMEM;

		free(zeros);
		if (rc != SQLITE_OK)
			return rc;
	}
	/* SQLite writes in this order in fact, but promises it nowhere. */
	if ((uint64_t)off != sink->next)
		return SQLITE_IOERR_WRITE;
	return send(sink, p, (size_t)n);
}

static int sink_read(sqlite3_file *file, void *p, int n, sqlite3_int64 off)
{
	(void)file;
	(void)off;
	memset(p, 0, (size_t)n);
	return SQLITE_IOERR_SHORT_READ;
}

static int sink_close(sqlite3_file *file)
{
	(void)file;
	return SQLITE_OK;
}

static int sink_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	(void)file;
	(void)size;
	return SQLITE_OK;
}

static int sink_number(sqlite3_file *file, int number)
{
	(void)file;
	(void)number;
	return SQLITE_OK;
}

static int sink_size(sqlite3_file *file, sqlite3_int64 *out)
{
	(void)file;
	*out = 0;
	return SQLITE_OK;
}

static int sink_check_lock(sqlite3_file *file, int *out)
{
	(void)file;
	*out = 0;
	return SQLITE_OK;
}

static int sink_control(sqlite3_file *file, int op, void *arg)
{
	(void)file;
	(void)op;
	(void)arg;
	return SQLITE_NOTFOUND;
}

static int sink_zero(sqlite3_file *file)
{
	(void)file;
	return 0;
}

static const sqlite3_io_methods sink_methods = {
	.iVersion = 1,
	.xClose = sink_close,
	.xRead = sink_read,
	.xWrite = sink_write,
	.xTruncate = sink_truncate,
	.xSync = sink_number,
	.xFileSize = sink_size,
	.xLock = sink_number,
	.xUnlock = sink_number,
	.xCheckReservedLock = sink_check_lock,
	.xFileControl = sink_control,
	.xSectorSize = sink_zero,
	.xDeviceCharacteristics = sink_zero,
};

static int sink_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags,
		     int *out_flags)
{
	struct sink_file *file = (struct sink_file *)base;

	(void)name;
	file->base.pMethods = NULL;
	if (!(flags & SQLITE_OPEN_MAIN_DB))
		return SQLITE_CANTOPEN;
	file->base.pMethods = &sink_methods;
	file->sink = (struct sink *)vfs;
	if (out_flags)
		*out_flags = flags;
	return SQLITE_OK;
}

static int sink_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
	(void)vfs;
	(void)name;
	(void)sync_dir;
	return SQLITE_OK;
}

static int sink_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
	(void)vfs;
	(void)name;
	(void)flags;
	*out = 0;
	return SQLITE_OK;
}

static int sink_path(sqlite3_vfs *vfs, const char *name, int len, char *out)
{
	(void)vfs;
	snprintf(out, (size_t)len, "%s", name);
	return SQLITE_OK;
}

static int sink_register(struct sink *sink)
{
	sink->vfs = *sqlite3_vfs_find(NULL);
	snprintf(sink->name, sizeof sink->name, "bakfs-sink-%p", (void *)sink);
	sink->vfs.zName = sink->name;
	sink->vfs.pNext = NULL;
	sink->vfs.szOsFile = (int)sizeof(struct sink_file);
	sink->vfs.xOpen = sink_open;
	sink->vfs.xDelete = sink_delete;
	sink->vfs.xAccess = sink_access;
	sink->vfs.xFullPathname = sink_path;
	return sqlite3_vfs_register(&sink->vfs, 0);
}

/* --- copying --- */

static int step_all(const struct bak_sqlite *s, struct sink *sink, sqlite3_backup *backup,
		    struct bak_error *err)
{
	int rc;

	do {
		if (bak_store_check_cancelled(s->env, err) < 0) {
			sink->failed = true;
			return SQLITE_ABORT;
		}
		rc = sqlite3_backup_step(backup, STEP_PAGES);
	} while (rc == SQLITE_OK);
	return rc;
}

static int copy_pages(const struct bak_sqlite *s, struct bak_sqlite_source *source,
		      struct sink *sink, struct bak_error *err)
{
	static const char pragmas[] = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; "
				      "PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = 16";
	BAK_AUTO(bak_sqlite_close) sqlite3 *db = NULL;
	int rc = sqlite3_open_v2("sink", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
				 sink->name);

	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db, pragmas, NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		return bak_sqlite_error(db, source->path, rc, err);
	sqlite3_backup *backup = sqlite3_backup_init(db, "main", source->db, "main");
	if (!backup)
		return bak_sqlite_error(db, source->path, sqlite3_errcode(db), err);
	rc = step_all(s, sink, backup, err);
	int finish_rc = sqlite3_backup_finish(backup);
	if (sink->failed)
		return -1;
	if (rc == SQLITE_DONE && finish_rc != SQLITE_OK)
		rc = finish_rc;
	if (rc != SQLITE_DONE)
		return bak_sqlite_error(db, source->path, rc, err);
	if (!sink->page1_came || sink->page1_differs)
		return bak_error_set(err, BAK_BUG, "%s: page 1 was not what it should be",
				     source->path);
	return 0;
}

static int send_page1(struct sink *sink, const struct bak_sqlite_tap *tap)
{
	uint8_t page[PAGE_MAX];

	memcpy(page, tap->page1, tap->page1_len);
	page[18] = 1;
	page[19] = 1;
	return send(sink, page, tap->page1_len);
}

int bak_sqlite_stream(const struct bak_sqlite *s, struct bak_sqlite_source *source,
		      bak_sqlite_sink *fn, void *ctx, struct bak_error *err)
{
	struct sink sink = {.fn = fn, .ctx = ctx, .err = err, .page1 = source->tap->page1};
	int64_t pages, page_len;
	int rc;

	assert(!sqlite3_get_autocommit(source->db));
	if (bak_sqlite_int(source->db, source->path, "PRAGMA page_count", &pages, err) < 0 ||
	    bak_sqlite_int(source->db, source->path, "PRAGMA page_size", &page_len, err) < 0)
		return -1;
	if (pages == 0)
		return 0;
	sink.page_len = (size_t)page_len;
	if (source->tap->page1_len != sink.page_len)
		return bak_error_set(err, BAK_BUG, "%s: page 1 was not seen", source->path);
	if (sink_register(&sink) != SQLITE_OK)
		return bak_error_nomem(err);
	rc = send_page1(&sink, source->tap) == SQLITE_OK ? copy_pages(s, source, &sink, err) : -1;
	sqlite3_vfs_unregister(&sink.vfs);
	if (rc == 0 && sink.next != (uint64_t)pages * sink.page_len)
		return bak_error_set(err, BAK_BUG, "%s: %llu bytes of %llu", source->path,
				     (unsigned long long)sink.next,
				     (unsigned long long)pages * sink.page_len);
	return rc;
}
