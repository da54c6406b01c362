/* The bytes of one file, with its holes, into the writer. */
#include "stores/files/files.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Reads up to size bytes; *out_read is how many there were. 1 read, 0 it cannot be read (errno),
 * -1 the writer failed. */
static int read_dense(const struct bak_files_reader *r, int fd, uint64_t size, uint64_t *out_read,
		      struct bak_error *err)
{
	uint64_t left = size;

	while (left > 0) {
		size_t want = left < BAK_FILES_READ_LEN ? (size_t)left : BAK_FILES_READ_LEN;
		ssize_t n = read(fd, r->buffer, want);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return 0;
		if (n == 0)
			break;
		if (bak_writer_data(r->writer, r->buffer, (size_t)n, err) < 0 ||
		    bak_store_check_cancelled(r->env, err) < 0)
			return -1;
		*out_read += (uint64_t)n;
		left -= (uint64_t)n;
	}
	return 1;
}

/* The next stretch of data at or behind at, both within size. Where the file system does not say,
 * all is data. */
static void next_data(int fd, uint64_t at, uint64_t size, uint64_t *out_data, uint64_t *out_hole)
{
	off_t data = lseek(fd, (off_t)at, SEEK_DATA);
	off_t hole;

	if (data < 0 && errno == ENXIO) {
		*out_data = *out_hole = size;
		return;
	}
	*out_data = data >= (off_t)at ? (uint64_t)data : at;
	if (*out_data > size)
		*out_data = size;
	hole = lseek(fd, (off_t)*out_data, SEEK_HOLE);
	*out_hole = hole > (off_t)*out_data && (uint64_t)hole < size ? (uint64_t)hole : size;
}

/* As read_dense, with holes. */
static int read_sparse(const struct bak_files_reader *r, int fd, uint64_t size, uint64_t *out_read,
		       struct bak_error *err)
{
	while (*out_read < size) {
		uint64_t data, hole, before;

		next_data(fd, *out_read, size, &data, &hole);
		if (data > *out_read) {
			if (bak_writer_hole(r->writer, data - *out_read, err) < 0)
				return -1;
			*out_read = data;
		}
		if (lseek(fd, (off_t)data, SEEK_SET) < 0)
			return 0;
		before = data;
		int rc = read_dense(r, fd, hole - data, out_read, err);
		if (rc <= 0)
			return rc;
		if (*out_read - before < hole - data)
			break; /* it became shorter */
	}
	return 1;
}

int bak_files_read(const struct bak_files_reader *r, int fd, const struct statx *st,
		   uint64_t *out_read, struct bak_error *err)
{
	*out_read = 0;
	if (st->stx_blocks * 512 < st->stx_size)
		return read_sparse(r, fd, st->stx_size, out_read, err);
	if (st->stx_size > 4 * BAK_FILES_READ_LEN)
		posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	return read_dense(r, fd, st->stx_size, out_read, err);
}
