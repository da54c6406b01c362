/* The table of contents of a dump, as pg_dump -Fc writes it: see postgresql.h. */
#include "stores/postgresql/dump.h"
#include "stores/postgresql/postgresql.h"

#include <stdlib.h>
#include <string.h>

/* All texts together: a real one has a few MiB. */
#define TEXTS_MAX (256u << 20)

struct reading {
	struct bak_pg_archive archive;
	struct bak_pg_toc *toc;
	struct bak_pg_entry entry; /* that is coming in */
	struct bak_buf text;
	size_t deps_cap;
	uint64_t texts;
	bool too_long, no_memory;
};

static void free_entry(struct bak_pg_entry *e)
{
	free(e->tag);
	free(e->kind);
	free(e->schema);
	free(e->definition);
	free(e->deps);
	*e = (struct bak_pg_entry){.id = 0};
}

void bak_pg_toc_release(struct bak_pg_toc *toc)
{
	for (size_t i = 0; i < toc->n; i++)
		free_entry(&toc->v[i]);
	free(toc->v);
	free(toc->by_id);
	*toc = (struct bak_pg_toc){.n = 0};
}

/* --- coming in --- */

static void add_dependency(struct reading *r)
{
	struct bak_pg_entry *e = &r->entry;

	if (bak_grow(&e->deps, &r->deps_cap, e->n_deps, sizeof *e->deps) < 0)
		r->no_memory = true;
	else
		e->deps[e->n_deps++] = strtoll((char *)r->text.p, NULL, 10);
}

static void add_entry(struct reading *r)
{
	struct bak_pg_toc *toc = r->toc;

	if (bak_grow(&toc->v, &toc->cap, toc->n, sizeof *toc->v) < 0) {
		r->no_memory = true;
		return;
	}
	r->entry.id = r->archive.id;
	r->entry.owner = SIZE_MAX;
	toc->v[toc->n++] = r->entry;
	r->entry = (struct bak_pg_entry){.id = 0};
	r->deps_cap = 0;
}

static void end_text(struct reading *r, enum bak_pg_text which)
{
	struct bak_pg_entry *e = &r->entry;
	char **to = which == BAK_PG_TEXT_TAG          ? &e->tag
		    : which == BAK_PG_TEXT_KIND       ? &e->kind
		    : which == BAK_PG_TEXT_SCHEMA     ? &e->schema
		    : which == BAK_PG_TEXT_DEFINITION ? &e->definition
						      : NULL;

	if (bak_buf_append(&r->text, "", 1) < 0) {
		r->no_memory = true;
		return;
	}
	if (to) {
		free(*to);
		*to = strdup((char *)r->text.p);
		r->no_memory = r->no_memory || !*to;
	} else if (which == BAK_PG_TEXT_DEPENDENCY) {
		add_dependency(r);
	}
	r->text.len = 0;
}

static void take_text(void *ctx, enum bak_pg_text which, const uint8_t *p, size_t len)
{
	struct reading *r = ctx;

	if (which == BAK_PG_TEXT_BLOCK)
		return;
	r->texts += len;
	r->too_long = r->texts > TEXTS_MAX;
	if (r->too_long || r->no_memory)
		return;
	if (which == BAK_PG_TEXT_ENTRY)
		add_entry(r);
	else if (!len)
		end_text(r, which);
	else if (bak_buf_append(&r->text, p, len) < 0)
		r->no_memory = true;
}

static int read_all(struct reading *r, bak_process_give *give, void *ctx, struct bak_error *err)
{
	char why[BAK_PROOF_WHY_LEN];
	const void *p;
	size_t len;
	int rc;

	while (!bak_pg_archive_in_data(&r->archive)) {
		rc = give(ctx, &p, &len, err);
		if (rc < 0)
			return -1;
		if (rc > 0) {
			bak_pg_archive_feed(&r->archive, p, len, take_text, r);
			r->toc->len += len;
		}
		if (r->no_memory)
			return bak_error_nomem(err);
		if (rc == 0 || r->too_long || r->archive.wrong) {
			bak_pg_archive_verdict(&r->archive, why);
			return bak_error_set(err, BAK_CORRUPT,
					     "the dump's table of contents cannot be read%s%s",
					     *why ? ": " : "", why);
		}
	}
	return 0;
}

/* --- finding --- */

static int compare_ids(const void *a, const void *b)
{
	const struct bak_pg_toc_id *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

size_t bak_pg_toc_find(const struct bak_pg_toc *toc, int64_t id)
{
	const struct bak_pg_toc_id key = {.id = id};
	const struct bak_pg_toc_id *found = bsearch(&key, toc->by_id, toc->n, sizeof *toc->by_id,
						    compare_ids);

	return found ? found->at : SIZE_MAX;
}

static int index_ids(struct bak_pg_toc *toc, struct bak_error *err)
{
	toc->by_id = calloc(toc->n + 1, sizeof *toc->by_id);
	if (!toc->by_id)
		return bak_error_nomem(err);
	for (size_t i = 0; i < toc->n; i++)
		toc->by_id[i] = (struct bak_pg_toc_id){toc->v[i].id, i};
	qsort(toc->by_id, toc->n, sizeof *toc->by_id, compare_ids);
	return 0;
}

bool bak_pg_is_kind(const struct bak_pg_entry *e, const char *kinds)
{
	size_t len = strlen(e->kind);

	for (const char *at = kinds; *at; at += strcspn(at, "|"), at += *at == '|') {
		if (strcspn(at, "|") == len && memcmp(at, e->kind, len) == 0)
			return true;
	}
	return false;
}

/* --- what belongs to what --- */

/* How the parts of a relation are called: as it with a name of their own behind, as it, or in no
 * such way, and then it is the first that they depend on. */
static bool is_part_of(const struct bak_pg_entry *e, const struct bak_pg_entry *of)
{
	size_t len = strlen(of->tag);

	if (bak_pg_is_kind(e, "COMMENT|ACL|SECURITY LABEL"))
		return true;
	if (!bak_pg_is_kind(of, BAK_PG_RELATIONS) || strcmp(e->schema, of->schema) != 0)
		return false;
	if (bak_pg_is_kind(e, "CONSTRAINT|FK CONSTRAINT|CHECK CONSTRAINT|DEFAULT|TRIGGER|RULE|"
			      "POLICY"))
		return strncmp(e->tag, of->tag, len) == 0 && e->tag[len] == ' ';
	if (bak_pg_is_kind(e, "TABLE DATA|MATERIALIZED VIEW DATA|ROW SECURITY|SEQUENCE SET|"
			      "SEQUENCE OWNED BY|TABLE ATTACH"))
		return strcmp(e->tag, of->tag) == 0;
	return bak_pg_is_kind(e, "INDEX|STATISTICS|SEQUENCE") && bak_pg_is_kind(of, BAK_PG_TABLES);
}

/* An index of a partition is attached under its name, which stands behind that of the table when it
 * makes a key. */
static bool is_index_of(const struct bak_pg_entry *attach, const struct bak_pg_entry *index)
{
	size_t len = strlen(attach->tag), other = strlen(index->tag);

	if (bak_pg_is_kind(index, "INDEX"))
		return strcmp(attach->tag, index->tag) == 0;
	return bak_pg_is_kind(index, "CONSTRAINT") && other > len &&
	       index->tag[other - len - 1] == ' ' &&
	       strcmp(index->tag + other - len, attach->tag) == 0;
}

static void find_owner(struct bak_pg_toc *toc, struct bak_pg_entry *e)
{
	bool attach = bak_pg_is_kind(e, "INDEX ATTACH");

	for (size_t d = 0; d < e->n_deps && e->owner == SIZE_MAX; d++) {
		size_t at = bak_pg_toc_find(toc, e->deps[d]);

		/* it comes first, so that nothing is a part of itself */
		if (at != SIZE_MAX && &toc->v[at] < e &&
		    (attach ? is_index_of : is_part_of)(e, &toc->v[at]))
			e->owner = at;
	}
}

static int check_texts(struct bak_pg_toc *toc, struct bak_error *err)
{
	for (size_t i = 0; i < toc->n; i++) {
		const struct bak_pg_entry *e = &toc->v[i];

		if (!e->tag || !e->kind || !e->schema || !e->definition)
			return bak_error_set(err, BAK_CORRUPT,
					     "the dump's table of contents cannot be read");
	}
	return 0;
}

int bak_pg_toc_read(bak_process_give *give, void *ctx, struct bak_pg_toc *out,
		    struct bak_error *err)
{
	struct reading r = {.toc = out};
	int rc;

	*out = (struct bak_pg_toc){.n = 0};
	rc = read_all(&r, give, ctx, err);
	if (rc == 0)
		rc = check_texts(out, err);
	if (rc == 0)
		rc = index_ids(out, err);
	for (size_t i = 0; rc == 0 && i < out->n; i++)
		find_owner(out, &out->v[i]);
	free_entry(&r.entry);
	bak_buf_release(&r.text);
	if (rc < 0)
		bak_pg_toc_release(out);
	return rc;
}
