/* The reading side of a repository: see source.h. */
#include "engine/content/source.h"

#include "engine/content/cache.h"
#include "engine/content/heal.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>

#define MIN_CACHE (8u << 20)
/* More copies of one segment than this are not looked at. */
#define MAX_COPIES 16

/* Memory of segments that left the cache is taken for the next ones: fresh memory costs a page fault
 * each 4 KiB, half as much as decoding. So many buffers, and none much larger than what goes in. */
#define SPARES 8
#define SPARE_MIN (128u << 10)

/* What a thread needs to fetch and decode one segment; kept for the next. */
struct tools {
	struct tools *next;
	struct bak_seg_codec codec;
	struct bak_buf record;
};

struct bak_source {
	struct bak_source_conf conf;
	struct bak_cache *cache;
	struct bak_heal *heal;
	pthread_mutex_t lock; /* guards what follows */
	struct tools *idle;
	void *spares[SPARES];
	uint64_t healed, repaired;
};

/* Kinds of cache entries: segments by type, and parsed objects of all kinds. */
#define KIND_SEGMENT 0x100u
#define KIND_OBJECT 1u

int bak_source_new(const struct bak_source_conf *conf, struct bak_source **out_source,
		   struct bak_error *err)
{
	struct bak_source *source = calloc(1, sizeof *source);
	if (!source)
		return bak_error_nomem(err);
	source->conf = *conf;
	pthread_mutex_init(&source->lock, NULL);
	size_t bound = conf->cache_bytes > MIN_CACHE ? conf->cache_bytes : MIN_CACHE;
	if (bak_cache_new(bound, &source->cache, err) < 0 ||
	    bak_heal_new(conf->backend, conf->ring, &source->heal, err) < 0) {
		bak_source_free(source);
		return -1;
	}
	*out_source = source;
	return 0;
}

void bak_source_free(struct bak_source *source)
{
	if (!source)
		return;
	bak_cache_free(source->cache);
	bak_heal_free(source->heal);
	while (source->idle) {
		struct tools *t = source->idle;
		source->idle = t->next;
		bak_seg_codec_release(&t->codec);
		bak_buf_release(&t->record);
		free(t);
	}
	for (size_t i = 0; i < SPARES; i++)
		free(source->spares[i]);
	pthread_mutex_destroy(&source->lock);
	free(source);
}

static struct tools *take_tools(struct bak_source *source)
{
	pthread_mutex_lock(&source->lock);
	struct tools *t = source->idle;
	if (t)
		source->idle = t->next;
	pthread_mutex_unlock(&source->lock);
	return t ? t : calloc(1, sizeof *t);
}

static void give_tools(struct bak_source *source, struct tools *t)
{
	pthread_mutex_lock(&source->lock);
	t->next = source->idle;
	source->idle = t;
	pthread_mutex_unlock(&source->lock);
}

/* --- memory of segments --- */

static void give_spare(struct bak_source *source, void *p)
{
	pthread_mutex_lock(&source->lock);
	for (size_t i = 0; i < SPARES && p && malloc_usable_size(p) >= SPARE_MIN; i++) {
		if (source->spares[i])
			continue;
		source->spares[i] = p;
		p = NULL;
	}
	pthread_mutex_unlock(&source->lock);
	free(p);
}

/* A buffer that has room for len bytes and is at most half empty with them, or NULL. */
static void *take_spare(struct bak_source *source, size_t len)
{
	void *found = NULL;
	pthread_mutex_lock(&source->lock);
	for (size_t i = 0; i < SPARES && !found; i++) {
		size_t room = source->spares[i] ? malloc_usable_size(source->spares[i]) : 0;
		if (room < len || room / 2 > len)
			continue;
		found = source->spares[i];
		source->spares[i] = NULL;
	}
	pthread_mutex_unlock(&source->lock);
	return found;
}

/* --- segments --- */

/* As it stands in the cache. segment comes first: a pin's value is used as one. */
struct kept_segment {
	struct bak_segment segment;
	struct bak_source *source;
};

/* What a read wants of a segment; len 0: the whole of it, no hole allowed. */
struct want {
	struct bak_source *source;
	enum bak_seg_type type;
	uint32_t off, len;
};

static int open_copy(struct bak_source *source, struct bak_backend *backend, struct tools *t,
		     enum bak_seg_type type, const struct bak_seg_copy *copy,
		     struct bak_segment *out, struct bak_error *err)
{
	char name[BAK_PACK_NAME_LEN];
	bak_pack_name(copy->pack, name);
	t->record.len = 0;
	int rc = bak_backend_get(backend, name, copy->off, copy->len, &t->record, err);
	if (rc == 0)
		return bak_error_set(err, BAK_CORRUPT, "missing");
	if (rc < 0)
		return -1;
	if (t->record.len != copy->len)
		return bak_error_set(err, BAK_CORRUPT, "cut short");
	t->codec.spare = take_spare(source, (size_t)copy->raw_len + 1);
	rc = bak_segment_open(source->conf.ring, &t->codec, type, &copy->id, t->record.p,
			      t->record.len, out, err);
	give_spare(source, t->codec.spare);
	t->codec.spare = NULL;
	return rc;
}

static bool serves(const struct bak_segment *segment, const struct want *want)
{
	const uint8_t *p;
	if (want->len == 0)
		return !segment->header.holed;
	return bak_segment_at(segment, want->off, want->len, &p) == 1;
}

/* The same copies through their packs' parity. 1 decoded, 0, -1. */
static int try_mended(struct want *want, struct tools *t, const struct bak_seg_copy *copies,
		      size_t n, struct bak_segment *out, struct bak_error *err)
{
	struct bak_source *source = want->source;
	struct bak_backend *mended = bak_heal_backend(source->heal);
	for (size_t i = 0; i < n; i++) {
		struct bak_error why = BAK_ERROR_INIT;
		if (!bak_heal_has(source->heal, copies[i].pack))
			continue;
		if (open_copy(source, mended, t, want->type, &copies[i], out, &why) == 0) {
			if (serves(out, want)) {
				pthread_mutex_lock(&source->lock);
				source->repaired++;
				pthread_mutex_unlock(&source->lock);
				if (source->conf.repaired)
					source->conf.repaired(source->conf.damaged_ctx, &copies[i]);
				return 1;
			}
			bak_segment_release(out);
		} else if (why.code == BAK_NO_MEMORY) {
			*err = why;
			return -1;
		}
	}
	return 0;
}

/* 1 decoded, 0 no copy serves (err tells of the last that failed), -1 worse. */
static int try_copies(struct want *want, const struct bak_seg_id *id, struct bak_segment *out,
		      struct bak_error *err)
{
	struct bak_source *source = want->source;
	struct bak_seg_copy copies[MAX_COPIES];
	size_t n = 0;
	if (bak_index_find_segment(source->conf.index, id, copies, MAX_COPIES, &n, err) < 0)
		return -1;
	char run[2 * BAK_RUN_BYTES + 1];
	bak_hex(run, id->run, BAK_RUN_BYTES);
	bak_error_set(err, BAK_CORRUPT, "segment %s-%u is in no pack", run, id->n);
	struct tools *t = take_tools(source);
	if (!t)
		return bak_error_nomem(err);
	int rc = 0;
	for (size_t i = 0; i < n && i < MAX_COPIES && rc == 0; i++) {
		char pack[2 * BAK_PACK_ID_BYTES + 1];
		bak_hex(pack, copies[i].pack, BAK_PACK_ID_BYTES);
		if (open_copy(source, source->conf.backend, t, want->type, &copies[i], out, err) <
		    0) {
			bool memory = err->code == BAK_NO_MEMORY;
			bool away = err->code == BAK_UNAVAILABLE; /* that is no damage */
			if (!memory && !away && source->conf.damaged)
				source->conf.damaged(source->conf.damaged_ctx, &copies[i],
						     err->msg);
			bak_error_wrap(err, "pack %s at %llu", pack,
				       (unsigned long long)copies[i].off);
			if (memory)
				rc = -1;
		} else if (!serves(out, want)) {
			bak_segment_release(out);
			bak_error_set(err, BAK_CORRUPT, "pack %s at %llu: bytes %u+%u are not kept",
				      pack, (unsigned long long)copies[i].off, want->off,
				      want->len);
		} else {
			rc = 1;
			if (i > 0) {
				pthread_mutex_lock(&source->lock);
				source->healed++;
				pthread_mutex_unlock(&source->lock);
			}
		}
	}
	if (rc == 0)
		rc = try_mended(want, t, copies, n < MAX_COPIES ? n : MAX_COPIES, out, err);
	give_tools(source, t);
	return rc;
}

static void free_segment(void *p)
{
	struct kept_segment *kept = p;
	give_spare(kept->source, kept->segment.data);
	kept->segment.data = NULL;
	bak_segment_release(&kept->segment);
	free(kept);
}

static int make_segment(void *ctx, const struct bak_cache_key *key, struct bak_cache_value *out,
			struct bak_error *err)
{
	struct want *want = ctx;
	struct bak_source *source = want->source;
	struct kept_segment *kept = calloc(1, sizeof *kept);
	if (!kept)
		return bak_error_nomem(err);
	struct bak_segment *segment = &kept->segment;
	kept->source = source;
	int rc = try_copies(want, &key->seg, segment, err);
	if (rc == 0 && source->conf.refresh) {
		struct bak_error scratch = BAK_ERROR_INIT;
		if (source->conf.refresh(source->conf.refresh_ctx, &scratch) == 0)
			rc = try_copies(want, &key->seg, segment, err);
	}
	if (rc <= 0) {
		free(kept);
		return -1;
	}
	*out = (struct bak_cache_value){kept, segment->header.raw_len + sizeof *kept, free_segment};
	return 0;
}

/* A pinned segment that keeps the range. */
static int get_segment(struct want *want, const struct bak_seg_id *id, struct bak_pin **out_pin,
		       struct bak_error *err)
{
	struct bak_cache_key key = {.kind = KIND_SEGMENT | want->type, .seg = *id};
	if (bak_cache_get(want->source->cache, &key, make_segment, want, out_pin, err) < 0)
		return -1;
	if (serves(bak_pin_value(*out_pin), want))
		return 0;
	/* The cached copy has a hole here: another copy may have the bytes. */
	bak_pin_put_ptr(out_pin);
	struct bak_cache_value value;
	if (make_segment(want, &key, &value, err) < 0)
		return -1;
	return bak_cache_wrap(want->source->cache, &value, out_pin, err);
}

static int get_range(struct bak_source *source, enum bak_seg_type type, const struct bak_seg_id *id,
		     uint32_t off, uint32_t len, const uint8_t **out, struct bak_pin **out_pin,
		     struct bak_error *err)
{
	struct want want = {source, type, off, len};
	if (get_segment(&want, id, out_pin, err) < 0)
		return -1;
	bak_segment_at(bak_pin_value(*out_pin), off, len, out);
	return 0;
}

int bak_source_bytes(struct bak_source *source, const struct bak_seg_id *id, uint32_t off,
		     uint32_t len, const uint8_t **out, struct bak_pin **out_pin,
		     struct bak_error *err)
{
	if (len == 0)
		return bak_error_set(err, BAK_BUG, "an empty range of a segment was asked for");
	return get_range(source, BAK_SEG_DATA, id, off, len, out, out_pin, err);
}

int bak_source_within(const struct bak_pin *pin, uint32_t off, uint32_t len, const uint8_t **out)
{
	return bak_segment_at(bak_pin_value(pin), off, len, out) == 1;
}

int bak_source_warm(struct bak_source *source, const struct bak_seg_id *id, uint32_t off,
		    uint32_t len, struct bak_error *err)
{
	struct want want = {source, BAK_SEG_DATA, off, len};
	struct bak_cache_key key = {.kind = KIND_SEGMENT | BAK_SEG_DATA, .seg = *id};
	return bak_cache_warm(source->cache, &key, make_segment, &want, err);
}

int bak_source_warm_any(struct bak_source *source, const struct bak_seg_id *id,
			struct bak_error *err)
{
	struct bak_seg_copy copy;
	size_t n = 0;
	if (bak_index_find_segment(source->conf.index, id, &copy, 1, &n, err) < 0)
		return -1;
	if (n == 0 || copy.type != BAK_SEG_DATA || copy.holed)
		return 0;
	return bak_source_warm(source, id, 0, 1, err) < 0 ? -1 : 1;
}

bool bak_source_ends(const struct bak_pin *pin, uint32_t off, uint32_t len)
{
	const struct bak_segment *segment = bak_pin_value(pin);
	if (!segment->header.holed)
		return off + len == segment->header.raw_len;
	if (!segment->n_kept)
		return false;
	const struct bak_seg_range *last = &segment->kept[segment->n_kept - 1];
	return off + len == last->off + last->len;
}

/* --- parsed objects --- */

/* A parsed object and the segment that it borrows from. */
struct parsed {
	enum bak_object_kind kind;
	struct bak_pin *segment;
	union {
		struct bak_page page;
		struct bak_names names;
		struct bak_links links;
		struct bak_link_names link_names;
		struct bak_span span;
		struct bak_inner inner;
	} u;
};

static void free_parsed(void *p)
{
	struct parsed *parsed = p;
	switch (parsed->kind) {
	case BAK_OBJECT_PAGE:
		bak_page_release(&parsed->u.page);
		break;
	case BAK_OBJECT_NAMES:
		bak_names_release(&parsed->u.names);
		break;
	case BAK_OBJECT_LINKS:
		bak_links_release(&parsed->u.links);
		break;
	case BAK_OBJECT_LINK_NAMES:
		bak_link_names_release(&parsed->u.link_names);
		break;
	case BAK_OBJECT_SPAN:
		bak_span_release(&parsed->u.span);
		break;
	case BAK_OBJECT_INNER:
		bak_inner_release(&parsed->u.inner);
		break;
	}
	bak_pin_put(parsed->segment);
	free(parsed);
}

/* Parses by kind; *out_weight is about what it takes in memory. */
static int parse(struct parsed *out, const uint8_t *p, size_t len, size_t *out_weight,
		 struct bak_error *err)
{
	int rc = -1;
	switch (out->kind) {
	case BAK_OBJECT_PAGE:
		rc = bak_page_decode(p, len, &out->u.page, err);
		*out_weight = out->u.page.n * (sizeof(struct bak_entry) + 8);
		break;
	case BAK_OBJECT_NAMES:
		rc = bak_names_decode(p, len, &out->u.names, err);
		*out_weight = out->u.names.n * (sizeof(struct bak_name_line) + 8);
		break;
	case BAK_OBJECT_LINKS:
		rc = bak_links_decode(p, len, &out->u.links, err);
		*out_weight = out->u.links.n * sizeof(struct bak_link);
		break;
	case BAK_OBJECT_LINK_NAMES:
		rc = bak_link_names_decode(p, len, &out->u.link_names, err);
		*out_weight = out->u.link_names.n * sizeof(struct bak_link_line);
		break;
	case BAK_OBJECT_SPAN:
		rc = bak_span_decode(p, len, &out->u.span, err);
		*out_weight = out->u.span.n_extents * (sizeof(struct bak_extent) + 8) +
			      out->u.span.n_chunks * 4;
		break;
	case BAK_OBJECT_INNER:
		rc = bak_inner_decode(p, len, &out->u.inner, err);
		*out_weight = out->u.inner.n * (sizeof(struct bak_line) + 8);
		break;
	}
	*out_weight += sizeof *out;
	return rc;
}

struct object_want {
	struct bak_source *source;
	const struct bak_ref *ref;
};

/* The bytes of the object at ref, its prefix checked. */
static int get_object(struct bak_source *source, const struct bak_ref *ref,
		      enum bak_object_kind *out_kind, const uint8_t **out_payload,
		      uint32_t *out_len, struct bak_pin **out_pin, struct bak_error *err)
{
	const uint8_t *p;
	if (ref->len < BAK_OBJECT_PREFIX)
		return bak_error_set(err, BAK_CORRUPT, "reference to nothing");
	if (get_range(source, BAK_SEG_TREE, &ref->seg, ref->off, ref->len, &p, out_pin, err) < 0)
		return -1;
	uint32_t at = 0;
	if (bak_object_next(p, ref->len, &at, out_kind, out_payload, out_len) != 1 ||
	    at != ref->len) {
		bak_pin_put_ptr(out_pin);
		return bak_error_set(err, BAK_CORRUPT, "reference to something else");
	}
	return 0;
}

static int make_object(void *ctx, const struct bak_cache_key *key, struct bak_cache_value *out,
		       struct bak_error *err)
{
	(void)key;
	struct object_want *want = ctx;
	struct parsed *parsed = calloc(1, sizeof *parsed);
	if (!parsed)
		return bak_error_nomem(err);
	const uint8_t *payload;
	uint32_t len;
	if (get_object(want->source, want->ref, &parsed->kind, &payload, &len, &parsed->segment,
		       err) < 0) {
		free(parsed);
		return -1;
	}
	size_t weight = 0;
	if (parse(parsed, payload, len, &weight, err) == 0) {
		*out = (struct bak_cache_value){parsed, weight, free_parsed};
		return 0;
	}
	bak_pin_put(parsed->segment);
	free(parsed);
	return -1;
}

static int get_any(struct bak_source *source, const struct bak_ref *ref, struct parsed **out,
		   struct bak_pin **out_pin, struct bak_error *err)
{
	struct object_want want = {source, ref};
	struct bak_cache_key key = {.kind = KIND_OBJECT, .off = ref->off, .seg = ref->seg};
	if (bak_cache_get(source->cache, &key, make_object, &want, out_pin, err) < 0)
		return -1;
	*out = bak_pin_value(*out_pin);
	return 0;
}

static int get_parsed(struct bak_source *source, const struct bak_ref *ref,
		      enum bak_object_kind kind, struct parsed **out, struct bak_pin **out_pin,
		      struct bak_error *err)
{
	if (get_any(source, ref, out, out_pin, err) < 0)
		return -1;
	if ((*out)->kind == kind)
		return 0;
	bak_error_set(err, BAK_CORRUPT, "tree object is of kind %d, not %d", (*out)->kind, kind);
	bak_pin_put_ptr(out_pin);
	return -1;
}

int bak_source_folder(struct bak_source *source, const struct bak_ref *ref,
		      const struct bak_page **out_page, const struct bak_names **out_names,
		      struct bak_pin **out_pin, struct bak_error *err)
{
	struct parsed *parsed;
	if (get_any(source, ref, &parsed, out_pin, err) < 0)
		return -1;
	*out_page = parsed->kind == BAK_OBJECT_PAGE ? &parsed->u.page : NULL;
	*out_names = parsed->kind == BAK_OBJECT_NAMES ? &parsed->u.names : NULL;
	if (*out_page || *out_names)
		return 0;
	bak_pin_put_ptr(out_pin);
	return bak_error_set(err, BAK_CORRUPT, "tree object is no folder");
}

int bak_source_page(struct bak_source *source, const struct bak_ref *ref,
		    const struct bak_page **out, struct bak_pin **out_pin, struct bak_error *err)
{
	struct parsed *parsed;
	if (get_parsed(source, ref, BAK_OBJECT_PAGE, &parsed, out_pin, err) < 0)
		return -1;
	*out = &parsed->u.page;
	return 0;
}

int bak_source_names(struct bak_source *source, const struct bak_ref *ref,
		     const struct bak_names **out, struct bak_pin **out_pin, struct bak_error *err)
{
	struct parsed *parsed;
	if (get_parsed(source, ref, BAK_OBJECT_NAMES, &parsed, out_pin, err) < 0)
		return -1;
	*out = &parsed->u.names;
	return 0;
}

int bak_source_links(struct bak_source *source, const struct bak_ref *ref,
		     const struct bak_links **out, struct bak_pin **out_pin, struct bak_error *err)
{
	struct parsed *parsed;
	if (get_parsed(source, ref, BAK_OBJECT_LINKS, &parsed, out_pin, err) < 0)
		return -1;
	*out = &parsed->u.links;
	return 0;
}

int bak_source_link_names(struct bak_source *source, const struct bak_ref *ref,
			  const struct bak_link_names **out, struct bak_pin **out_pin,
			  struct bak_error *err)
{
	struct parsed *parsed;
	if (get_parsed(source, ref, BAK_OBJECT_LINK_NAMES, &parsed, out_pin, err) < 0)
		return -1;
	*out = &parsed->u.link_names;
	return 0;
}

int bak_source_span(struct bak_source *source, const struct bak_ref *ref,
		    const struct bak_span **out, struct bak_pin **out_pin, struct bak_error *err)
{
	struct parsed *parsed;
	if (get_parsed(source, ref, BAK_OBJECT_SPAN, &parsed, out_pin, err) < 0)
		return -1;
	*out = &parsed->u.span;
	return 0;
}

int bak_source_inner(struct bak_source *source, const struct bak_ref *ref,
		     const struct bak_inner **out, struct bak_pin **out_pin, struct bak_error *err)
{
	struct parsed *parsed;
	if (get_parsed(source, ref, BAK_OBJECT_INNER, &parsed, out_pin, err) < 0)
		return -1;
	*out = &parsed->u.inner;
	return 0;
}

int bak_source_kind(struct bak_source *source, const struct bak_ref *ref,
		    enum bak_object_kind *out_kind, struct bak_error *err)
{
	struct parsed *parsed;
	BAK_AUTO(bak_pin_put_ptr) struct bak_pin *pin = NULL;
	if (get_any(source, ref, &parsed, &pin, err) < 0)
		return -1;
	*out_kind = parsed->kind;
	return 0;
}

int bak_source_object(struct bak_source *source, const struct bak_ref *ref,
		      enum bak_object_kind *out_kind, const uint8_t **out_payload,
		      uint32_t *out_len, struct bak_pin **out_pin, struct bak_error *err)
{
	return get_object(source, ref, out_kind, out_payload, out_len, out_pin, err);
}

struct bak_backend *bak_source_mended(struct bak_source *source)
{
	return bak_heal_backend(source->heal);
}

void bak_source_stats(struct bak_source *source, struct bak_source_stats *out)
{
	bak_cache_stats(source->cache, &out->hits, &out->misses, &out->bytes);
	pthread_mutex_lock(&source->lock);
	out->healed = source->healed;
	out->repaired = source->repaired;
	pthread_mutex_unlock(&source->lock);
}
