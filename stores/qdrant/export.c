/*
 * Points read page by page, for servers that make no snapshots for us, and for a filter: each a line
 * as the server says it, to the byte. Not one moment: what is written meanwhile may be there or not.
 */
#include "stores/qdrant/page.h"
#include "stores/qdrant/qdrant.h"

#include <string.h>

/* A page is asked for by its number of points; this is what its bytes should come to. */
#define PAGE_BYTES (4u << 20)
#define PAGE_FIRST 64
#define PAGE_MAX 5000

struct reading {
	struct bak_writer *writer;
	struct bak_buf lines; /* of a page */
	json_int_t points;
};

static int take_point(void *ctx, const char *p, size_t len, struct bak_error *err)
{
	struct reading *r = ctx;

	r->points++;
	if (bak_buf_append(&r->lines, p, len) < 0 || bak_buf_append(&r->lines, "\n", 1) < 0)
		return bak_error_nomem(err);
	return 0;
}

/* offset: JSON, or "" for the first page. */
static int ask_page(struct bak_qdrant *q, const char *path, const char *filter, unsigned limit,
		    const struct bak_buf *offset, struct bak_http_answer *answer,
		    struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf body = BAK_BUF_INIT;
	struct bak_http_request request = {.method = "POST", .path = path, .again = true};

	if (bak_buf_printf(&body, "{\"limit\":%u,\"with_payload\":true,\"with_vector\":true",
			   limit) < 0 ||
	    (filter && bak_buf_printf(&body, ",\"filter\":%s", filter) < 0) ||
	    (offset->len &&
	     bak_buf_printf(&body, ",\"offset\":%.*s", (int)offset->len, offset->p) < 0) ||
	    bak_buf_printf(&body, "}") < 0)
		return bak_error_nomem(err);
	request.body = body.p;
	request.body_len = body.len;
	return bak_http_send(q->http, &request, answer, err);
}

static unsigned next_limit(unsigned limit, size_t points, size_t bytes)
{
	uint64_t fitting = points ? (uint64_t)PAGE_BYTES * points / (bytes + 1) : limit;

	if (fitting > (uint64_t)limit * 4)
		fitting = (uint64_t)limit * 4;
	return fitting < 1 ? 1 : fitting > PAGE_MAX ? PAGE_MAX : (unsigned)fitting;
}

/* 1 there is more, 0 that was all, -1. */
static int read_page(struct bak_qdrant *q, const char *path, const char *filter, unsigned *limit,
		     struct bak_buf *offset, struct reading *r, struct bak_error *err)
{
	BAK_AUTO(bak_http_answer_release) struct bak_http_answer answer = {.status = 0};
	struct bak_qdrant_page page;
	json_int_t before = r->points;

	r->lines.len = 0;
	if (bak_store_check_cancelled(q->env, err) < 0 ||
	    ask_page(q, path, filter, *limit, offset, &answer, err) < 0)
		return -1;
	if (bak_qdrant_page_read((const char *)answer.body.p, answer.body.len, take_point, r, &page,
				 err) < 0 ||
	    bak_writer_data(r->writer, r->lines.p, r->lines.len, err) < 0)
		return -1;
	*limit = next_limit(*limit, (size_t)(r->points - before), answer.body.len);
	if (page.next_len == offset->len && page.next_len &&
	    memcmp(page.next, offset->p, offset->len) == 0)
		return bak_error_set(err, BAK_CORRUPT, "the server gives the same page again");
	offset->len = 0;
	if (bak_buf_append(offset, page.next, page.next_len) < 0)
		return bak_error_nomem(err);
	return page.next_len > 0;
}

int bak_qdrant_export(struct bak_qdrant *q, const char *collection, const json_t *filter,
		      struct bak_writer *writer, json_int_t *out_points, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr)
	char *path = bak_http_path("/collections/%s/points/scroll", collection);
	BAK_AUTO(bak_free_ptr) char *text = filter ? json_dumps(filter, JSON_COMPACT) : NULL;
	BAK_AUTO(bak_buf_release) struct bak_buf offset = BAK_BUF_INIT;
	struct reading r = {.writer = writer};
	unsigned limit = PAGE_FIRST;
	int rc = path && (!filter || text) ? 1 : bak_error_nomem(err);

	while (rc > 0)
		rc = read_page(q, path, text, &limit, &offset, &r, err);
	bak_buf_release(&r.lines);
	*out_points = r.points;
	return rc;
}

/* --- how to make one like it --- */

static int copy(json_t *to, const char *name, const json_t *from, const char *key)
{
	json_t *value = json_object_get(from, key);

	return value && !json_is_null(value) ? json_object_set(to, name, value) : 0;
}

json_t *bak_qdrant_create_body(const json_t *config)
{
	static const char *const params[] = {"vectors",
					     "sparse_vectors",
					     "shard_number",
					     "replication_factor",
					     "write_consistency_factor",
					     "on_disk_payload"};
	const json_t *from = json_object_get(config, "params");
	json_t *body = json_object();
	int rc = body ? 0 : -1;

	for (size_t i = 0; rc == 0 && i < sizeof params / sizeof *params; i++)
		rc = copy(body, params[i], from, params[i]);
	rc |= copy(body, "hnsw_config", config, "hnsw_config");
	rc |= copy(body, "optimizers_config", config, "optimizer_config");
	rc |= copy(body, "wal_config", config, "wal_config");
	rc |= copy(body, "quantization_config", config, "quantization_config");
	rc |= copy(body, "strict_mode_config", config, "strict_mode_config");
	rc |= copy(body, "metadata", config, "metadata");
	if (rc == 0)
		return body;
	json_decref(body);
	return NULL;
}
