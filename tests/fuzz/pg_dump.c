/* Dumps of PostgreSQL, walked. Input: the file. However it is cut into pieces the verdict is the
 * same, and a bad one says why. The table of contents of one that is read makes sense. */
#include "stores/postgresql/dump.h"
#include "stores/postgresql/postgresql.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

static size_t texts;

static void count_text(void *ctx, enum bak_pg_text which, const uint8_t *p, size_t len)
{
	(void)ctx;
	if (which >= BAK_PG_TEXT_NONE)
		abort();
	for (size_t i = 0; i < len; i++)
		texts += p[i];
}

static enum bak_verdict walk(const uint8_t *p, size_t len, size_t piece, char *why)
{
	struct bak_pg_dump dump = {.fed = 0};

	for (size_t at = 0; at < len; at += piece)
		bak_pg_dump_feed(&dump, p + at, len - at < piece ? len - at : piece, count_text,
				 NULL);
	return bak_pg_dump_verdict(&dump, why);
}

struct input {
	const uint8_t *p;
	size_t left;
};

static int give(void *ctx, const void **out_p, size_t *out_len, struct bak_error *err)
{
	struct input *in = ctx;
	size_t n = in->left < 1000 ? in->left : 1000;

	(void)err;
	*out_p = in->p;
	*out_len = n;
	in->p += n;
	in->left -= n;
	return n > 0;
}

/* What a copy is told lies in it. */
static void find_places(const uint8_t *p, size_t len)
{
	struct bak_pg_places places = {.n = 0};
	struct bak_error err = BAK_ERROR_INIT;

	if (bak_pg_places_see(&places, p, len, &err) == 0) {
		for (size_t i = 0; i < places.n; i++) {
			if (places.v[i].block >= len ||
			    places.v[i].field + places.walk.offset_size >= len)
				abort();
		}
	}
	bak_pg_places_release(&places);
}

static void read_names(const struct bak_pg_entry *e)
{
	BAK_AUTO(bak_buf_release) struct bak_buf name = BAK_BUF_INIT;
	const char *at = e->definition, *end = at + strlen(at);

	while (bak_pg_take_ident(&at, &name) == 0 && *at)
		at++;
	if (at > end)
		abort();
}

static void read_contents(const uint8_t *p, size_t len)
{
	struct input in = {p, len};
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_pg_toc toc;

	if (bak_pg_toc_read(give, &in, &toc, &err) < 0)
		return;
	for (size_t i = 0; i < toc.n; i++) {
		const struct bak_pg_entry *e = &toc.v[i];

		if ((e->owner != SIZE_MAX && e->owner >= toc.n) ||
		    bak_pg_toc_find(&toc, e->id) >= toc.n)
			abort();
		read_names(e);
	}
	bak_pg_toc_release(&toc);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	char why[BAK_PROOF_WHY_LEN], again[BAK_PROOF_WHY_LEN];
	enum bak_verdict whole = walk(p, len, len ? len : 1, why);
	bool bad = whole == BAK_VERDICT_CUT || whole == BAK_VERDICT_WRONG;

	if (walk(p, len, 7, again) != whole || strcmp(why, again) != 0 || bad != (*why != '\0'))
		abort();
	read_contents(p, len);
	find_places(p, len);
	return 0;
}
