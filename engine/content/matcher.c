/* New bytes matched against the predecessor's: see matcher.h. */
#include "engine/content/matcher.h"

#include "engine/content/anchors.h"
#include "engine/content/gap.h"
#include "engine/content/prefetch.h"
#include "engine/content/same.h"
#include "engine/content/window.h"

#include <stdlib.h>

/* How far the near window reaches beyond the place expected. */
#define AHEAD (1u << 20)
#define BEHIND (256u << 10)
#define NEAR_SLACK (2u << 20)
/* A far place is read with what lies around it. */
#define FAR_BEHIND (16u << 10)
#define FAR_AHEAD (240u << 10)
/* Going to a far place costs about as much as storing so many bytes; at first there is some credit,
 * matches bring more. */
#define FAR_COST 4096
#define FAR_CREDIT (64 * FAR_COST)
#define FAR_CREDIT_MAX (1024 * FAR_COST)
/* A far match of this length: the file goes on there. */
#define FAR_HOME (64u << 10)
/* A match shorter than this costs more in the list of extents than it saves. */
#define MATCH_MIN 32
/* Behind a mismatch: the same alignment, this far on, in these steps. */
#define EDIT_MIN 4
#define EDIT_MAX 256
#define EDIT_STEP 4
/* The fine search looks at old bytes this far around. */
#define GAP_AROUND (8u << 10)
/* After this much without a match only one MiB in 16 is tried. */
#define GIVE_UP (4u << 20)
/* Found nowhere: then the old version is sampled, in pieces of a MiB. */
#define SAMPLE_AFTER (256u << 10)
#define SAMPLE_ALL (32u << 20) /* up to this it is learned whole at once */
#define SAMPLE_PIECE (1u << 20)
#define SAMPLE_PIECES 16
/* After so many bytes it is judged what the sample found. */
#define SAMPLE_JUDGED (512u << 10)

/* Of an old version of at least so many bytes, what comes next is decoded by a thread of its own. */
#define DECODE_AHEAD_FROM (4u << 20)
#define DECODE_AHEAD (4u << 20)

struct bak_matcher {
	struct bak_source *source;
	struct bak_prefetch *ahead; /* NULL: not needed so far, or no thread to be had */
	uint64_t file;              /* counts them */
	uint64_t size;              /* of the old version; 0: none */
	struct bak_window near, far;
	struct bak_anchors anchors;
	struct bak_gap gap;
	int64_t shift; /* old offset minus new offset where the file goes on */
	int64_t credit;
	uint64_t missed; /* bytes since the last match */
	uint64_t vain;   /* bytes since one was of use */
	uint64_t lost;   /* bytes found nowhere */
	enum { ALONG, SAMPLED, WHOLE } known;
	uint64_t sampled, judged, hits; /* of the old version; of the new since then; anchors met */
	struct bak_piece *pieces, *fine;
	size_t n_pieces, cap_pieces, n_fine, cap_fine;
};

int bak_matcher_new(struct bak_source *source, const struct bak_chunker *chunker,
		    struct bak_matcher **out_matcher, struct bak_error *err)
{
	struct bak_matcher *m = calloc(1, sizeof *m);
	if (!m)
		return bak_error_nomem(err);
	m->source = source;
	m->anchors.gear = chunker->gear;
	m->near.slack = NEAR_SLACK;
	*out_matcher = m;
	return 0;
}

void bak_matcher_limit(struct bak_matcher *m, size_t table_bytes)
{
	m->anchors.most = table_bytes;
}

void bak_matcher_free(struct bak_matcher *m)
{
	if (!m)
		return;
	bak_prefetch_free(m->ahead);
	bak_window_release(&m->near);
	bak_window_release(&m->far);
	bak_anchors_release(&m->anchors);
	free(m->pieces);
	free(m->fine);
	free(m);
}

void bak_matcher_begin(struct bak_matcher *m, const struct bak_content *content, uint64_t size)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	m->size = 0;
	if (!content || size == 0 || bak_anchors_begin(&m->anchors, size, &scratch) < 0)
		return;
	m->size = size;
	m->file++;
	if (size >= DECODE_AHEAD_FROM && !m->ahead &&
	    bak_prefetch_new(m->source, 1, DECODE_AHEAD, 0, &m->ahead, &scratch) < 0)
		m->ahead = NULL;
	bak_window_begin(&m->near, m->source, content, size);
	bak_window_begin(&m->far, m->source, content, size);
	bak_gap_begin(&m->gap);
	m->shift = 0;
	m->credit = FAR_CREDIT;
	m->missed = m->vain = m->lost = m->judged = m->hits = 0;
	m->known = ALONG;
}

/* --- the old version --- */

/* 1 w holds [from, to), 0 it cannot be read, -1. All that is read is remembered. */
static int cover(struct bak_matcher *m, struct bak_window *w, uint64_t from, uint64_t to,
		 struct bak_error *err)
{
	uint64_t fresh;
	if (w == &m->near && m->ahead && !bak_window_has(w, from, to))
		bak_prefetch_read(m->ahead, m->file, &w->content, m->size, from,
				  (size_t)(to - from));
	int rc = bak_window_cover(w, from, to, &fresh, err);
	if (rc == 0)
		m->size = 0; /* nothing more is tried */
	if (rc == 1 && m->known != WHOLE && fresh < w->to)
		bak_anchors_add(&m->anchors, w->from, w->buf, (size_t)(fresh - w->from),
				(size_t)(w->to - w->from));
	return rc;
}

/* [at - behind, at + ahead), cut to the old version. */
static int cover_around(struct bak_matcher *m, struct bak_window *w, int64_t at, uint64_t behind,
			uint64_t ahead, struct bak_error *err)
{
	int64_t from = at - (int64_t)behind, to = at + (int64_t)ahead;
	if (from < 0)
		from = 0;
	if (to > (int64_t)m->size)
		to = (int64_t)m->size;
	return to - from < MATCH_MIN ? 0 : cover(m, w, (uint64_t)from, (uint64_t)to, err);
}

/* The window that holds old byte `at`, if need be after going there. 1, 0, -1. */
static int find_window(struct bak_matcher *m, uint64_t at, struct bak_window **out,
		       struct bak_error *err)
{
	*out = &m->near;
	if (at >= m->near.from && at <= m->near.to)
		return 1;
	*out = &m->far;
	if (at >= m->far.from && at <= m->far.to)
		return 1;
	if (m->credit < FAR_COST)
		return 0;
	m->credit -= FAR_COST;
	return cover_around(m, &m->far, (int64_t)at, FAR_BEHIND, FAR_AHEAD, err);
}

/* --- pieces --- */

static int add_piece(struct bak_piece **pieces, size_t *n, size_t *cap, size_t off, size_t len,
		     uint64_t old_off)
{
	if (len == 0)
		return 0;
	if (bak_grow(pieces, cap, *n, sizeof **pieces) < 0)
		return -1;
	(*pieces)[(*n)++] = (struct bak_piece){off, len, old_off};
	return 0;
}

static int add_coarse(struct bak_matcher *m, size_t off, size_t len, uint64_t old_off)
{
	return add_piece(&m->pieces, &m->n_pieces, &m->cap_pieces, off, len, old_off);
}

static int add_fine(struct bak_matcher *m, size_t off, size_t len, uint64_t old_off)
{
	return add_piece(&m->fine, &m->n_fine, &m->cap_fine, off, len, old_off);
}

/* --- along the old version --- */

/* The run that is being matched. */
struct scan {
	const uint8_t *p;
	size_t len;
	size_t done; /* pieces cover [0, done) */
	uint64_t file_off;
};

/* Bytes from p[at] and the old byte at `old` on that are the same; goes on past the end of the far
 * window. */
static int extend(struct bak_matcher *m, struct bak_window *w, const struct scan *s, size_t at,
		  uint64_t old, size_t *out_len, struct bak_error *err)
{
	size_t n = 0;
	for (;;) {
		size_t left = s->len - at - n, there = (size_t)(w->to - old - n);
		n += bak_same_behind(s->p + at + n, bak_window_at(w, old + n),
				     left < there ? left : there);
		*out_len = n;
		if (w != &m->far || old + n < w->to || old + n >= m->size || at + n == s->len)
			return 1;
		int rc = cover_around(m, w, (int64_t)(old + n), FAR_BEHIND, FAR_AHEAD, err);
		if (rc <= 0)
			return rc;
	}
}

/* Takes the match of p[at...] with the old byte at `old`, extended to both sides. 1, 0 too short,
 * -1. */
static int take_match(struct bak_matcher *m, struct bak_window *w, struct scan *s, size_t at,
		      uint64_t old, struct bak_error *err)
{
	size_t max = at - s->done < old - w->from ? at - s->done : (size_t)(old - w->from);
	size_t before = bak_same_before(s->p + at, bak_window_at(w, old), max), behind;
	if (extend(m, w, s, at, old, &behind, err) < 0)
		return -1;
	if (before + behind < MATCH_MIN)
		return 0;
	if (add_coarse(m, s->done, at - before - s->done, BAK_PIECE_NEW) < 0 ||
	    add_coarse(m, at - before, before + behind, old - before) < 0)
		return bak_error_nomem(err);
	s->done = at + behind;
	if (w == &m->far) {
		m->credit += (int64_t)(before + behind);
		if (m->credit > FAR_CREDIT_MAX)
			m->credit = FAR_CREDIT_MAX;
	}
	if (w == &m->near || before + behind >= FAR_HOME)
		m->shift = (int64_t)old - (int64_t)(s->file_off + at);
	return 1;
}

/* An edit in place: the same alignment goes on a little behind the mismatch. 1 and how far. */
static int find_behind_edit(const struct bak_window *w, const struct scan *s, size_t at,
			    uint64_t old, size_t *out_on)
{
	for (size_t d = EDIT_MIN; d <= EDIT_MAX; d += EDIT_STEP) {
		if (at + d + MATCH_MIN > s->len || old + d + MATCH_MIN > w->to)
			return 0;
		if (memcmp(s->p + at + d, bak_window_at(w, old + d), MATCH_MIN) == 0) {
			*out_on = d;
			return 1;
		}
	}
	return 0;
}

/* Takes the match at (at, old), and those behind edits of the same alignment. */
static int take_matches(struct bak_matcher *m, struct bak_window *w, struct scan *s, size_t at,
			uint64_t old, struct bak_error *err)
{
	int64_t shift = (int64_t)old - (int64_t)at;
	int rc = take_match(m, w, s, at, old, err), any = rc;
	size_t on;
	while (rc == 1) {
		at = s->done;
		old = (uint64_t)((int64_t)at + shift);
		if (old < w->from || old > w->to || !find_behind_edit(w, s, at, old, &on))
			break;
		rc = take_match(m, w, s, at + on, old + on, err);
	}
	return rc < 0 ? -1 : any;
}

/* Looks up the anchors of what follows. */
static int scan_anchors(struct bak_matcher *m, struct scan *s, struct bak_error *err)
{
	const uint64_t *gear = m->anchors.gear;
	uint64_t h = 0, old;
	struct bak_window *w;
	for (size_t i = s->done; i < s->len && m->size > 0;) {
		h = (h << 1) + gear[s->p[i++]];
		if ((h & m->anchors.mask) != 0 || !bak_anchors_find(&m->anchors, h, &old))
			continue;
		m->hits += !bak_window_has(&m->near, old, old);
		int rc = find_window(m, old, &w, err);
		if (rc == 1)
			rc = take_matches(m, w, s, i, old, err);
		if (rc < 0)
			return -1;
		if (rc == 0 || s->done < i)
			continue;
		/* Go on behind it, with the hash of the bytes before. */
		i = s->done > BAK_ANCHOR_REACH ? s->done - BAK_ANCHOR_REACH : 0;
		for (h = 0; i < s->done; i++)
			h = (h << 1) + gear[s->p[i]];
	}
	return 0;
}

static int scan_run(struct bak_matcher *m, struct scan *s, struct bak_error *err)
{
	/* First of all: does it simply go on where the last match was? */
	int64_t old = (int64_t)s->file_off + m->shift;
	if (old >= (int64_t)m->near.from && old < (int64_t)m->near.to &&
	    take_matches(m, &m->near, s, 0, (uint64_t)old, err) < 0)
		return -1;
	if (scan_anchors(m, s, err) < 0)
		return -1;
	return add_coarse(m, s->done, s->len - s->done, BAK_PIECE_NEW) < 0 ? bak_error_nomem(err)
									   : 0;
}

/* --- between matches --- */

/* Old bytes to search for the gap that is pieces[i]: around where its neighbours point. 1 and the
 * window and range; 0 there is nothing near. */
static int aim_gap(const struct bak_matcher *m, const struct scan *s, size_t i,
		   const struct bak_window **out_w, uint64_t *out_from, uint64_t *out_to)
{
	const struct bak_piece *gap = &m->pieces[i];
	uint64_t from = (uint64_t)((int64_t)(s->file_off + gap->off) + m->shift), to;
	if (i > 0)
		from = gap[-1].old_off + gap[-1].len;
	to = from + gap->len;
	if (i + 1 < m->n_pieces) {
		uint64_t next = gap[1].old_off;
		if (i == 0)
			from = next > gap->len ? next - gap->len : 0;
		if (i == 0 || (next > to && next - from < BAK_GAP_OLD_MAX - 2 * GAP_AROUND))
			to = next;
	}
	from = from > GAP_AROUND ? from - GAP_AROUND : 0;
	to += GAP_AROUND;
	for (int k = 0; k < 2; k++) {
		const struct bak_window *w = k ? &m->far : &m->near;
		uint64_t begin = from > w->from ? from : w->from, end = to < w->to ? to : w->to;
		if (end > begin + BAK_GAP_OLD_MAX)
			end = begin + BAK_GAP_OLD_MAX;
		if (begin + MATCH_MIN > end)
			continue;
		*out_w = w;
		*out_from = begin;
		*out_to = end;
		return 1;
	}
	return 0;
}

static int search_gap(struct bak_matcher *m, const struct scan *s, size_t i, struct bak_error *err)
{
	const struct bak_piece *gap = &m->pieces[i];
	size_t at = gap->off, end = gap->off + gap->len, found, len;
	const struct bak_window *w;
	uint64_t from, to, old;
	if (gap->len >= MATCH_MIN && aim_gap(m, s, i, &w, &from, &to)) {
		if (from < m->gap.from || to > m->gap.to ||
		    !bak_window_has(w, m->gap.from, m->gap.to))
			bak_gap_index(&m->gap, from, bak_window_at(w, from), (size_t)(to - from));
		while (bak_gap_next(&m->gap, bak_window_at(w, m->gap.from), s->p, at, end,
				    MATCH_MIN, &found, &old, &len)) {
			if (add_fine(m, at, found - at, BAK_PIECE_NEW) < 0 ||
			    add_fine(m, found, len, old) < 0)
				return bak_error_nomem(err);
			at = found + len;
		}
	}
	m->lost += end - at;
	return add_fine(m, at, end - at, BAK_PIECE_NEW) < 0 ? bak_error_nomem(err) : 0;
}

static int search_gaps(struct bak_matcher *m, const struct scan *s, struct bak_error *err)
{
	for (size_t i = 0; i < m->n_pieces; i++) {
		const struct bak_piece *piece = &m->pieces[i];
		if (piece->old_off == BAK_PIECE_NEW) {
			if (search_gap(m, s, i, err) < 0)
				return -1;
		} else if (add_fine(m, piece->off, piece->len, piece->old_off) < 0) {
			return bak_error_nomem(err);
		}
	}
	return 0;
}

/* --- what is tried --- */

/* Reads the old version's [from, to) for its anchors alone. 1, 0, -1. */
static int learn(struct bak_matcher *m, uint64_t from, uint64_t to, struct bak_error *err)
{
	int rc = 1;
	for (; from < to && rc == 1; from += SAMPLE_PIECE)
		rc = cover(m, &m->far, from, to - from < SAMPLE_PIECE ? to : from + SAMPLE_PIECE,
			   err);
	return rc;
}

/* Learns a MiB here and there. */
static int learn_sample(struct bak_matcher *m, struct bak_error *err)
{
	const uint64_t n = SAMPLE_PIECES, step = m->size / n;
	int rc = 1;
	for (uint64_t i = 0; i < n && rc == 1; i++)
		rc = learn(m, i * step + step / 2, i * step + step / 2 + SAMPLE_PIECE, err);
	m->known = SAMPLED;
	m->sampled = n * SAMPLE_PIECE;
	return rc;
}

static int learn_all(struct bak_matcher *m, struct bak_error *err)
{
	int rc = learn(m, 0, m->size, err);
	m->known = WHOLE;
	return rc;
}

/* Would a quarter of what was lost lately be found, if all were known? */
static bool sample_promises(struct bak_matcher *m)
{
	double found = (double)m->hits * m->anchors.spacing * (double)m->size / (double)m->sampled;
	bool yes = found > (double)(m->lost - m->judged) / 4;
	m->judged = m->lost;
	m->hits = 0;
	return yes;
}

/* When much was found nowhere, more of the old version is learned. 1 it was, 0, -1. */
static int learn_more(struct bak_matcher *m, struct bak_error *err)
{
	if (m->known == ALONG && m->lost >= SAMPLE_AFTER)
		return m->size <= SAMPLE_ALL ? learn_all(m, err) : learn_sample(m, err);
	if (m->known == SAMPLED && m->lost - m->judged >= SAMPLE_JUDGED &&
	    m->lost >= m->size / 256 && (sample_promises(m) || m->lost >= m->size / 16))
		return learn_all(m, err);
	return 0;
}

/* Matching that has found nothing for long is tried only here and there. */
static bool worth_trying(const struct bak_matcher *m, uint64_t file_off)
{
	return m->size > 0 &&
	       ((m->missed < GIVE_UP && m->vain < GIVE_UP) || (file_off >> 20) % 16 == 0);
}

static int try_run(struct bak_matcher *m, struct scan *s, struct bak_error *err)
{
	uint64_t lost = m->lost;
	int learned;
	do {
		m->n_pieces = m->n_fine = 0;
		s->done = 0;
		if (cover_around(m, &m->near, (int64_t)s->file_off + m->shift, BEHIND,
				 s->len + AHEAD, err) < 0 ||
		    scan_run(m, s, err) < 0 || search_gaps(m, s, err) < 0)
			return -1;
		learned = learn_more(m, err);
		/* Once more, with what is known now. */
		if (learned == 1) {
			m->lost = m->judged = lost;
			m->hits = 0;
		}
	} while (learned == 1);
	return learned;
}

int bak_matcher_run(struct bak_matcher *m, uint64_t file_off, const uint8_t *p, size_t len,
		    const struct bak_piece **out_pieces, size_t *out_n, struct bak_error *err)
{
	struct scan s = {.p = p, .len = len, .file_off = file_off};
	m->n_pieces = m->n_fine = 0;
	bool tried = worth_trying(m, file_off);
	if (tried && try_run(m, &s, err) < 0)
		return -1;
	if (!tried && add_fine(m, 0, len, BAK_PIECE_NEW) < 0)
		return bak_error_nomem(err);
	m->missed = m->n_fine > 1 || m->fine[0].old_off != BAK_PIECE_NEW ? 0 : m->missed + len;
	*out_pieces = m->fine;
	*out_n = m->n_fine;
	return 0;
}

void bak_matcher_judge(struct bak_matcher *m, bool of_use, uint64_t len)
{
	m->vain = of_use ? 0 : m->vain + len;
}

int bak_matcher_extents(struct bak_matcher *m, uint64_t off, uint64_t len, bak_extent_fn *fn,
			void *ctx, struct bak_error *err)
{
	return bak_each_extent_in(m->source, &m->near.content, m->near.size, off, len, fn, ctx,
				  err);
}
