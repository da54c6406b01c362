/* Payloads of servers: see payload.h. */
#include "stores/payload.h"

#include "engine/content/reader.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

void bak_payload_inode(struct bak_source_inode *out, enum bak_type type, uint32_t mode)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	*out = (struct bak_source_inode){.inode = {.type = type,
						   .mode = mode,
						   .uid = geteuid(),
						   .gid = getegid(),
						   .mtime_s = now.tv_sec,
						   .mtime_ns = (uint32_t)now.tv_nsec,
						   .ctime_s = now.tv_sec,
						   .ctime_ns = (uint32_t)now.tv_nsec},
					 .nlink = 1};
}

#define PIECE_LEN (1u << 20)

int bak_payload_give(void *ctx, const void **out_p, size_t *out_len, struct bak_error *err)
{
	struct bak_payload_reader *r = ctx;
	uint64_t all = r->all ? r->all : r->inode->size;

	if (r->env->progress)
		r->env->progress(r->env->ctx, all ? (int)((r->before + r->at) * 100 / all) : -1,
				 r->before + r->at);
	if (r->at == r->inode->size)
		return 0;
	if (!r->buffer)
		r->buffer = malloc(PIECE_LEN);
	if (!r->buffer)
		return bak_error_nomem(err);
	if (bak_read(r->source, &r->inode->content, r->inode->size, r->at, r->buffer, PIECE_LEN,
		     out_len, err) < 0)
		return -1;
	r->at += *out_len;
	*out_p = r->buffer;
	return 1;
}

int bak_payload_check(struct bak_payload_reader *r, struct bak_error *err)
{
	const void *p;
	size_t len;
	int rc;

	while ((rc = bak_payload_give(r, &p, &len, err)) > 0) {
		if (bak_store_check_cancelled(r->env, err) < 0)
			return -1;
	}
	r->at = 0;
	return rc;
}

void bak_payload_reader_release(struct bak_payload_reader *r)
{
	free(r->buffer);
	r->buffer = NULL;
}
