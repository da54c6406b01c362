/* Snapshots that should be there and are not, or should not and are: see repo.h. */
#include "engine/ops/numbers.h"
#include "engine/ops/repo_private.h"

#include <stdlib.h>

struct ranges {
	struct bak_numbers *v;
	size_t n, cap;
};

static int add(struct ranges *r, uint64_t first, uint64_t last)
{
	if (bak_grow(&r->v, &r->cap, r->n, sizeof *r->v) < 0)
		return -1;
	r->v[r->n++] = (struct bak_numbers){first, last};
	return 0;
}

static void join(struct ranges *r)
{
	r->n = bak_numbers_join(r->v, r->n);
}

/* What is asked for: the numbers up to the highest for which nothing accounts; those that were
 * forgotten, as this machine remembers, and are there without a record; those that do not open. */
struct findings {
	struct ranges missing, back, unreadable;
};

static int find_missing(const struct bak_repo *repo, const uint64_t *known, size_t n,
			struct ranges *out)
{
	struct ranges accounted = {0};
	uint64_t highest = repo->highest, from = 1;
	int bad = 0;
	for (size_t i = 0; i < n; i++)
		bad |= add(&accounted, known[i], known[i]);
	for (size_t i = 0; i < repo->n_unreadable; i++)
		bad |= add(&accounted, repo->unreadable[i], repo->unreadable[i]);
	for (size_t i = 0; i < repo->n_gone; i++)
		bad |= add(&accounted, repo->gone[i].first, repo->gone[i].last);
	join(&accounted);
	if (n && known[n - 1] > highest)
		highest = known[n - 1];
	for (size_t i = 0; i < accounted.n && accounted.v[i].first <= highest; i++) {
		if (accounted.v[i].first > from)
			bad |= add(out, from, accounted.v[i].first - 1);
		from = accounted.v[i].last + 1;
	}
	if (from <= highest)
		bad |= add(out, from, highest);
	free(accounted.v);
	return bad;
}

/* Records that count, joined. */
static int copy_gone(const struct bak_repo *repo, struct ranges *out)
{
	int bad = 0;
	for (size_t i = 0; i < repo->n_gone; i++)
		bad |= add(out, repo->gone[i].first, repo->gone[i].last);
	join(out);
	return bad;
}

static int find_all(const struct bak_repo *repo, const uint64_t *known, size_t n,
		    struct findings *out)
{
	struct ranges gone = {0};
	int bad = find_missing(repo, known, n, &out->missing) | copy_gone(repo, &gone);
	for (size_t i = 0; i < n; i++)
		if (bak_numbers_have(repo->seen, repo->n_seen, known[i]) &&
		    !bak_numbers_have(gone.v, gone.n, known[i]))
			bad |= add(&out->back, known[i], known[i]);
	for (size_t i = 0; i < repo->n_unreadable; i++)
		if (!bak_numbers_have(gone.v, gone.n, repo->unreadable[i]))
			bad |= add(&out->unreadable, repo->unreadable[i], repo->unreadable[i]);
	join(&out->back);
	join(&out->unreadable);
	free(gone.v);
	return bad;
}

/* "snapshot 2 <one>", "snapshots 2, 4 <many>", nothing for none. */
static int put_phrase(struct bak_buf *out, const struct ranges *r, const char *one,
		      const char *many)
{
	if (r->n == 0)
		return 0;
	bool single = r->n == 1 && r->v[0].first == r->v[0].last;
	if (bak_buf_printf(out, "%ssnapshot%s ", out->len ? "; " : "", single ? "" : "s") < 0 ||
	    bak_numbers_print(r->v, r->n, out) < 0)
		return -1;
	return bak_buf_printf(out, " %s", single ? one : many);
}

static int describe(const struct findings *f, struct bak_buf *text)
{
	return put_phrase(text, &f->missing, "is neither there nor recorded as forgotten",
			  "are neither there nor recorded as forgotten") < 0 ||
			       put_phrase(text, &f->back, "was forgotten and is there again",
					  "were forgotten and are there again") < 0 ||
			       put_phrase(text, &f->unreadable, "is there but does not open",
					  "are there but do not open") < 0
		       ? -1
		       : 0;
}

int bak_repo_omissions(struct bak_repo *repo, char **out_text, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) uint64_t *known = NULL;
	struct bak_buf text = BAK_BUF_INIT;
	struct findings f = {.missing.n = 0};
	size_t n;
	*out_text = NULL;
	if (bak_index_snapshot_numbers(repo->index, &known, &n, err) < 0)
		return -1;
	pthread_mutex_lock(&repo->lock);
	int bad = find_all(repo, known, n, &f);
	pthread_mutex_unlock(&repo->lock);
	if (!bad)
		bad = describe(&f, &text);
	free(f.missing.v);
	free(f.back.v);
	free(f.unreadable.v);
	if (bad) {
		bak_buf_release(&text);
		return bak_error_nomem(err);
	}
	/* bak_buf_printf leaves a zero behind the text. */
	*out_text = (char *)text.p;
	return 0;
}

int bak_repo_unreadable(struct bak_repo *repo, uint64_t **out_numbers, size_t *out_n,
			struct bak_error *err)
{
	pthread_mutex_lock(&repo->lock);
	size_t n = repo->n_unreadable;
	*out_numbers = calloc(n + 1, sizeof **out_numbers);
	if (*out_numbers && n)
		memcpy(*out_numbers, repo->unreadable, n * sizeof **out_numbers);
	pthread_mutex_unlock(&repo->lock);
	*out_n = n;
	return *out_numbers ? 0 : bak_error_nomem(err);
}
