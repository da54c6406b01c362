/* New bytes matched against the predecessor's: see matcher.h. */
#include "engine/content/matcher.h"

#include <stdlib.h>

/* How far the window reaches beyond the place expected, before and behind. */
#define REACH (1u << 20)
/* Anchors: ten bits of the gear hash that the last 50 bytes decide. */
#define ANCHOR_MASK ((uint64_t)1023 << 40)
#define TABLE_BITS 16
/* A match shorter than this costs more in the list of extents than it saves. */
#define MATCH_MIN 32
/* Behind a mismatch: the same alignment, this far on, in these steps. */
#define EDIT_MIN 8
#define EDIT_MAX 256
#define EDIT_STEP 4
/* After this much without a match only one MiB in 16 is tried. */
#define GIVE_UP (4u << 20)

struct anchor {
	uint64_t hash, at; /* at: in the old version, of the byte behind it; 0: free */
};

struct bak_matcher {
	struct bak_source *source;
	const uint64_t *gear;
	struct bak_content content;
	uint64_t size; /* of the old version; 0: none */
	int64_t shift; /* old offset minus new offset of the last match */
	uint64_t missed;
	uint8_t *window; /* the old version's [from, to) */
	size_t cap;
	uint64_t from, to;
	struct anchor *table;
	struct bak_piece *pieces;
	size_t n_pieces, cap_pieces;
};

int bak_matcher_new(struct bak_source *source, const struct bak_chunker *chunker,
		    struct bak_matcher **out_matcher, struct bak_error *err)
{
	struct bak_matcher *m = calloc(1, sizeof *m);
	if (!m)
		return bak_error_nomem(err);
	m->source = source;
	m->gear = chunker->gear;
	m->table = calloc((size_t)1 << TABLE_BITS, sizeof *m->table);
	if (!m->table) {
		free(m);
		return bak_error_nomem(err);
	}
	*out_matcher = m;
	return 0;
}

void bak_matcher_free(struct bak_matcher *m)
{
	if (!m)
		return;
	free(m->window);
	free(m->table);
	free(m->pieces);
	free(m);
}

/* Anchors of the file before stay in the table: clearing it for each of many small files would cost
 * more than to read them, and a wrong anchor does no harm, since bytes are compared before they
 * match. */
void bak_matcher_begin(struct bak_matcher *m, const struct bak_content *content, uint64_t size)
{
	m->size = content ? size : 0;
	if (content)
		m->content = *content;
	m->shift = 0;
	m->missed = 0;
	m->from = m->to = 0;
}

/* --- the window --- */

static struct anchor *anchor_slot(struct bak_matcher *m, uint64_t hash)
{
	return &m->table[hash * 0x9e3779b97f4a7c15u >> (64 - TABLE_BITS)];
}

/* Remembers the anchors of the window from offset `at` of the old version on. */
static void index_window(struct bak_matcher *m, uint64_t at)
{
	/* The hash forgets after 64 bytes. */
	uint64_t i = at > m->from + 64 ? at - 64 : m->from, h = 0;
	for (; i < m->to; i++) {
		h = (h << 1) + m->gear[m->window[i - m->from]];
		if ((h & ANCHOR_MASK) == 0 && i >= at)
			*anchor_slot(m, h) = (struct anchor){h, i + 1};
	}
}

static int reserve_window(struct bak_matcher *m, size_t len)
{
	if (len <= m->cap)
		return 0;
	uint8_t *p = realloc(m->window, len);
	if (!p)
		return -1;
	m->window = p;
	m->cap = len;
	return 0;
}

/* Moves the window to [from, to); reads what is not there yet. 1, 0 cannot be read, -1. */
static int move_window(struct bak_matcher *m, uint64_t from, uint64_t to, struct bak_error *err)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	size_t n;
	if (to <= m->to && from >= m->from)
		return 1;
	if (from < m->from || from >= m->to) {
		m->from = m->to = from;
	} else {
		memmove(m->window, m->window + (from - m->from), (size_t)(m->to - from));
		m->from = from;
	}
	if (reserve_window(m, (size_t)(to - from)) < 0)
		return bak_error_nomem(err);
	uint64_t at = m->to;
	if (bak_read(m->source, &m->content, m->size, at, m->window + (at - from),
		     (size_t)(to - at), &n, &scratch) < 0 ||
	    n != to - at) {
		m->size = 0;
		return 0;
	}
	m->to = to;
	index_window(m, at);
	return 1;
}

/* 1 the window lies around [file_off, file_off + len), 0 there is nothing to match against, -1. */
static int aim_window(struct bak_matcher *m, uint64_t file_off, size_t len, struct bak_error *err)
{
	int64_t begin = (int64_t)file_off + m->shift;
	int64_t end = begin + (int64_t)len + REACH;
	begin -= REACH;
	if (begin < 0)
		begin = 0;
	if (end > (int64_t)m->size)
		end = (int64_t)m->size;
	if (begin + MATCH_MIN > end)
		return 0;
	return move_window(m, (uint64_t)begin, (uint64_t)end, err);
}

/* --- matching --- */

static int add_piece(struct bak_matcher *m, size_t off, size_t len, uint64_t old_off)
{
	if (len == 0)
		return 0;
	if (bak_grow(&m->pieces, &m->cap_pieces, m->n_pieces, sizeof *m->pieces) < 0)
		return -1;
	m->pieces[m->n_pieces++] = (struct bak_piece){off, len, old_off};
	return 0;
}

static size_t same_behind(const uint8_t *a, const uint8_t *b, size_t max)
{
	size_t n = 0;
	for (; n + 8 <= max && memcmp(a + n, b + n, 8) == 0; n += 8)
		;
	while (n < max && a[n] == b[n])
		n++;
	return n;
}

static size_t same_before(const uint8_t *a, const uint8_t *b, size_t max)
{
	size_t n = 0;
	while (n < max && a[-1 - (ptrdiff_t)n] == b[-1 - (ptrdiff_t)n])
		n++;
	return n;
}

/* The run that is being matched. */
struct scan {
	const uint8_t *p;
	size_t len;
	size_t done; /* pieces cover [0, done) */
	uint64_t file_off;
};

/* Extends the match of p[at...] with the old byte at `old` to both sides. 1 and its end in
 * *out_end; 0 too short; -1. */
static int take_match(struct bak_matcher *m, struct scan *s, size_t at, uint64_t old,
		      size_t *out_end, struct bak_error *err)
{
	const uint8_t *w = m->window + (old - m->from);
	size_t before_max = at - s->done < old - m->from ? at - s->done : (size_t)(old - m->from);
	size_t behind_max = s->len - at < m->to - old ? s->len - at : (size_t)(m->to - old);
	size_t before = same_before(s->p + at, w, before_max);
	size_t behind = same_behind(s->p + at, w, behind_max);
	if (before + behind < MATCH_MIN)
		return 0;
	if (add_piece(m, s->done, at - before - s->done, BAK_PIECE_NEW) < 0 ||
	    add_piece(m, at - before, before + behind, old - before) < 0)
		return bak_error_nomem(err);
	m->shift = (int64_t)(old - before) - (int64_t)(s->file_off + at - before);
	s->done = at + behind;
	*out_end = s->done;
	return 1;
}

/* An edit in place: the same alignment goes on a little behind the mismatch at `at`. 1 and where.
 */
static int find_behind_edit(const struct bak_matcher *m, const struct scan *s, size_t at,
			    size_t *out_at)
{
	uint64_t old = (uint64_t)((int64_t)(s->file_off + at) + m->shift);
	for (size_t d = EDIT_MIN; d <= EDIT_MAX; d += EDIT_STEP) {
		if (at + d + MATCH_MIN > s->len || old + d + MATCH_MIN > m->to)
			return 0;
		if (memcmp(s->p + at + d, m->window + (old + d - m->from), MATCH_MIN) == 0) {
			*out_at = at + d;
			return 1;
		}
	}
	return 0;
}

/* Takes the match at (at, old), and those behind edits of the same alignment. */
static int take_matches(struct bak_matcher *m, struct scan *s, size_t at, uint64_t old,
			struct bak_error *err)
{
	size_t end;
	int rc = take_match(m, s, at, old, &end, err), any = rc;
	while (rc == 1 && find_behind_edit(m, s, end, &at)) {
		old = (uint64_t)((int64_t)(s->file_off + at) + m->shift);
		rc = take_match(m, s, at, old, &end, err);
	}
	return rc < 0 ? -1 : any;
}

static int scan_run(struct bak_matcher *m, struct scan *s, struct bak_error *err)
{
	uint64_t h = 0;
	/* First of all: does it simply go on where the last match was? */
	uint64_t old = (uint64_t)((int64_t)s->file_off + m->shift);
	if (old >= m->from && old < m->to && take_matches(m, s, 0, old, err) < 0)
		return -1;
	for (size_t i = s->done; i < s->len;) {
		h = (h << 1) + m->gear[s->p[i++]];
		if ((h & ANCHOR_MASK) != 0)
			continue;
		const struct anchor *a = anchor_slot(m, h);
		if (a->hash != h || a->at <= m->from || a->at > m->to)
			continue;
		int rc = take_matches(m, s, i, a->at, err);
		if (rc < 0)
			return -1;
		if (rc == 0)
			continue;
		/* Go on behind it, with the hash of the bytes before. */
		i = s->done > 64 ? s->done - 64 : 0;
		for (h = 0; i < s->done; i++)
			h = (h << 1) + m->gear[s->p[i]];
	}
	return 0;
}

/* Matching that has found nothing for long is tried only here and there. */
static bool worth_trying(const struct bak_matcher *m, uint64_t file_off)
{
	return m->size > 0 && (m->missed < GIVE_UP || (file_off >> 20) % 16 == 0);
}

int bak_matcher_run(struct bak_matcher *m, uint64_t file_off, const uint8_t *p, size_t len,
		    const struct bak_piece **out_pieces, size_t *out_n, struct bak_error *err)
{
	struct scan s = {.p = p, .len = len, .file_off = file_off};
	m->n_pieces = 0;
	int rc = worth_trying(m, file_off) ? aim_window(m, file_off, len, err) : 0;
	if (rc == 1)
		rc = scan_run(m, &s, err);
	if (rc < 0)
		return -1;
	m->missed = s.done > 0 ? 0 : m->missed + len;
	if (add_piece(m, s.done, len - s.done, BAK_PIECE_NEW) < 0)
		return bak_error_nomem(err);
	*out_pieces = m->pieces;
	*out_n = m->n_pieces;
	return 0;
}

int bak_matcher_extents(struct bak_matcher *m, uint64_t off, uint64_t len, bak_extent_fn *fn,
			void *ctx, struct bak_error *err)
{
	return bak_each_extent_in(m->source, &m->content, m->size, off, len, fn, ctx, err);
}
