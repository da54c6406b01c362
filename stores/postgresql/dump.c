/* Dumps of PostgreSQL, walked: see pg_dump.h. */
#include "stores/postgresql/dump.h"

#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(struct bak_pg_dump) <= BAK_PROOF_STATE_LEN, "the state has its room");

#define OLDEST_MINOR 12
#define NEWEST_MINOR 16

/* --- pg_dump -Fc --- */

enum phase {
	P_HEADER,
	P_COMPRESSION,
	P_TIME, /* field counts the seven */
	P_TEXTS,
	P_ENTRIES,
	P_ENTRY,
	P_DEPENDENCY,
	P_OFFSET,
	P_BLOCK,
	P_BLOCK_ID,
	P_BLOB,
	P_CHUNK,
	P_WRONG,
};
enum getting { GET_BYTES, GET_INT, GET_SKIP };
enum wrong { W_NOT_ONE = 1, W_FORMAT, W_OLD, W_NEW, W_LENGTH, W_BLOCK };

/* The fields of an entry in order, from which minor version on; I: a number, T: text. */
static const struct {
	char type;
	uint8_t since;
	enum bak_pg_text text;
} fields[] = {
	{'I', 0, BAK_PG_TEXT_NONE}, /* id */
	{'I', 0, BAK_PG_TEXT_NONE}, /* has data */
	{'T', 0, BAK_PG_TEXT_NONE}, /* oid of its catalogue */
	{'T', 0, BAK_PG_TEXT_NONE}, /* oid */
	{'T', 0, BAK_PG_TEXT_TAG},        {'T', 0, BAK_PG_TEXT_KIND},
	{'I', 0, BAK_PG_TEXT_NONE},                                   /* section */
	{'T', 0, BAK_PG_TEXT_DEFINITION}, {'T', 0, BAK_PG_TEXT_NONE}, /* drop */
	{'T', 0, BAK_PG_TEXT_NONE},                                   /* copy */
	{'T', 0, BAK_PG_TEXT_SCHEMA},     {'T', 0, BAK_PG_TEXT_NONE}, /* tablespace */
	{'T', 14, BAK_PG_TEXT_NONE},                                  /* access method */
	{'I', 16, BAK_PG_TEXT_NONE},                                  /* relkind */
	{'T', 0, BAK_PG_TEXT_NONE},                                   /* owner */
	{'T', 0, BAK_PG_TEXT_NONE},                                   /* with oids */
};
#define N_FIELDS (sizeof fields / sizeof *fields)

static void get(struct bak_pg_archive *a, enum phase phase, enum getting what, unsigned need)
{
	a->phase = (uint8_t)phase;
	a->getting = (uint8_t)what;
	a->need = (uint8_t)need;
	a->got = 0;
}

static void get_int(struct bak_pg_archive *a, enum phase phase)
{
	get(a, phase, GET_INT, 1u + a->int_size);
}

static void go_wrong(struct bak_pg_archive *a, enum wrong why)
{
	a->wrong = (uint8_t)why;
	a->phase = P_WRONG;
}

static uint64_t mix(int64_t id)
{
	uint64_t x = (uint64_t)id * 0x9e3779b97f4a7c15u;

	return x ^ x >> 29;
}

static void next_block(struct bak_pg_archive *a)
{
	get(a, P_BLOCK, GET_BYTES, 1);
}

static void next_entry(struct bak_pg_archive *a)
{
	if (a->entries == 0) {
		next_block(a);
		return;
	}
	a->entries--;
	a->field = 0;
	get_int(a, P_ENTRY);
}

static void next_field(struct bak_pg_archive *a)
{
	do
		a->field++;
	while (a->field < N_FIELDS && fields[a->field].since > a->minor);
	get_int(a, a->field < N_FIELDS ? P_ENTRY : P_DEPENDENCY);
}

/* --- what a whole number, or a run of bytes, means where it stands --- */

static void take_header(struct bak_pg_archive *a)
{
	const uint8_t *h = a->raw;

	if (memcmp(h, "PGDMP", 5) != 0)
		go_wrong(a, W_NOT_ONE);
	else if (h[5] != 1 || h[6] > NEWEST_MINOR)
		go_wrong(a, W_NEW);
	else if (h[6] < OLDEST_MINOR)
		go_wrong(a, W_OLD);
	else if (h[10] != 1)
		go_wrong(a, W_FORMAT);
	else if (h[8] < 1 || h[8] > 8 || h[9] < 1 || h[9] > 8)
		go_wrong(a, W_NOT_ONE);
	if (a->phase == P_WRONG)
		return;
	a->minor = h[6];
	a->int_size = h[8];
	a->offset_size = h[9];
	if (a->minor >= 15)
		get(a, P_COMPRESSION, GET_BYTES, 1);
	else
		get_int(a, P_COMPRESSION);
}

static enum bak_pg_text current_text(const struct bak_pg_archive *a)
{
	if (a->phase == P_TEXTS)
		return (enum bak_pg_text)a->field;
	if (a->phase == P_DEPENDENCY)
		return BAK_PG_TEXT_DEPENDENCY;
	return a->phase == P_ENTRY ? fields[a->field].text : BAK_PG_TEXT_NONE;
}

static void end_text(struct bak_pg_archive *a, bak_pg_text_fn *text, void *ctx)
{
	enum bak_pg_text which = current_text(a);

	a->in_text = false;
	if (text && which != BAK_PG_TEXT_NONE)
		text(ctx, which, NULL, 0);
	if (a->phase == P_ENTRY) {
		next_field(a);
	} else if (a->phase == P_DEPENDENCY) {
		get_int(a, P_DEPENDENCY);
	} else if (++a->field == 3) {
		get_int(a, P_ENTRIES);
	} else {
		get_int(a, P_TEXTS);
	}
}

/* The length of a text was read. */
static void begin_text(struct bak_pg_archive *a, int64_t len, bak_pg_text_fn *text, void *ctx)
{
	if (len < -1) {
		go_wrong(a, W_LENGTH);
	} else if (len == -1 && a->phase == P_DEPENDENCY) {
		get(a, P_OFFSET, GET_BYTES, 1u + a->offset_size);
	} else if (len <= 0) {
		end_text(a, text, ctx);
	} else {
		a->in_text = true;
		a->skip = (uint64_t)len;
		a->getting = GET_SKIP;
	}
}

static void take_entry_number(struct bak_pg_archive *a, int64_t n)
{
	if (a->field == 0)
		a->id = n;
	else if (a->field == 1)
		a->has_data = n != 0;
	next_field(a);
}

static void end_entry(struct bak_pg_archive *a, bak_pg_text_fn *text, void *ctx)
{
	if (text)
		text(ctx, BAK_PG_TEXT_ENTRY, NULL, 0);
	if (a->has_data) {
		a->n_wanted++;
		a->ids_wanted += mix(a->id);
	}
	next_entry(a);
}

static void take_chunk(struct bak_pg_archive *a, int64_t len)
{
	if (len < 0) {
		go_wrong(a, W_LENGTH);
	} else if (len > 0) {
		a->skip = (uint64_t)len;
		a->getting = GET_SKIP;
	} else if (a->blobs) {
		get_int(a, P_BLOB);
	} else {
		next_block(a);
	}
}

static void take_int(struct bak_pg_archive *a, int64_t n, bak_pg_text_fn *text, void *ctx)
{
	switch ((enum phase)a->phase) {
	case P_COMPRESSION:
		a->field = 0;
		get_int(a, P_TIME);
		break;
	case P_TIME:
		get_int(a, ++a->field == 7 ? P_TEXTS : P_TIME);
		a->field = a->phase == P_TEXTS ? 0 : a->field;
		break;
	case P_ENTRIES:
		if (n < 0) {
			go_wrong(a, W_LENGTH);
			break;
		}
		a->entries = (uint64_t)n;
		next_entry(a);
		break;
	case P_ENTRY:
		if (fields[a->field].type == 'I')
			take_entry_number(a, n);
		else
			begin_text(a, n, text, ctx);
		break;
	case P_TEXTS:
	case P_DEPENDENCY:
		begin_text(a, n, text, ctx);
		break;
	case P_BLOCK_ID:
		a->n_seen++;
		a->ids_seen += mix(n);
		a->id = n;
		if (text)
			text(ctx, BAK_PG_TEXT_BLOCK, NULL, 0);
		get_int(a, a->blobs ? P_BLOB : P_CHUNK);
		break;
	case P_BLOB:
		if (n == 0)
			next_block(a);
		else
			get_int(a, P_CHUNK);
		break;
	case P_CHUNK:
		take_chunk(a, n);
		break;
	case P_HEADER:
	case P_OFFSET:
	case P_BLOCK:
	case P_WRONG:
		break;
	}
}

static void take_bytes(struct bak_pg_archive *a, bak_pg_text_fn *text, void *ctx)
{
	if (a->phase == P_HEADER) {
		take_header(a);
	} else if (a->phase == P_COMPRESSION) {
		a->field = 0;
		get_int(a, P_TIME);
	} else if (a->phase == P_OFFSET) {
		end_entry(a, text, ctx);
	} else if (a->raw[0] == 1 || a->raw[0] == 3) {
		a->blobs = a->raw[0] == 3;
		get_int(a, P_BLOCK_ID);
	} else {
		go_wrong(a, W_BLOCK);
	}
}

/* Sign, then the digits: what does not fit is no length that anybody wrote. */
static int64_t int_of(const struct bak_pg_archive *a)
{
	uint64_t n = 0;

	for (unsigned i = a->int_size; i > 0; i--) {
		if (n >> 40)
			return INT64_MIN;
		n = n << 8 | a->raw[i];
	}
	return a->raw[0] ? -(int64_t)n : (int64_t)n;
}

/* Passes over [p, p + len): how much of it. */
static size_t pass_over(struct bak_pg_archive *a, const uint8_t *p, size_t len,
			bak_pg_text_fn *text, void *ctx)
{
	size_t n = len < a->skip ? len : (size_t)a->skip;
	enum bak_pg_text which = a->in_text ? current_text(a) : BAK_PG_TEXT_NONE;

	if (text && which != BAK_PG_TEXT_NONE)
		text(ctx, which, p, n);
	a->skip -= n;
	if (a->skip)
		return n;
	if (a->in_text)
		end_text(a, text, ctx);
	else
		get_int(a, P_CHUNK);
	return n;
}

void bak_pg_archive_feed(struct bak_pg_archive *a, const uint8_t *p, size_t len,
			 bak_pg_text_fn *text, void *ctx)
{
	if (a->phase == P_HEADER && !a->need)
		get(a, P_HEADER, GET_BYTES, 11);
	while (len && a->phase != P_WRONG) {
		size_t n;

		if (a->getting == GET_SKIP) {
			n = pass_over(a, p, len, text, ctx);
			a->at += n;
		} else {
			n = (size_t)(a->need - a->got);
			n = n < len ? n : len;
			memcpy(a->raw + a->got, p, n);
			a->got += (uint8_t)n;
			a->at += n;
			if (a->got == a->need && a->getting == GET_INT)
				take_int(a, int_of(a), text, ctx);
			else if (a->got == a->need)
				take_bytes(a, text, ctx);
		}
		p += n;
		len -= n;
	}
}

static enum bak_verdict say(enum bak_verdict verdict, char why[BAK_PROOF_WHY_LEN], const char *text)
{
	snprintf(why, BAK_PROOF_WHY_LEN, "%s", text);
	return verdict;
}

static enum bak_verdict say_wrong(enum wrong wrong, char why[BAK_PROOF_WHY_LEN])
{
	static const char *const texts[] = {
		[W_NOT_ONE] = "neither a file of pg_dump -Fc nor SQL",
		[W_FORMAT] = "a tar or directory dump: make one with pg_dump -Fc",
		[W_OLD] = "a dump of PostgreSQL 8 or older",
		[W_LENGTH] = "damaged: a length in it makes no sense",
		[W_BLOCK] = "damaged: no block of data begins where one should",
	};

	if (wrong == W_NEW)
		return BAK_VERDICT_UNPROVABLE;
	return say(BAK_VERDICT_WRONG, why, texts[wrong]);
}

bool bak_pg_archive_in_data(const struct bak_pg_archive *a)
{
	return a->phase >= P_BLOCK && a->phase != P_WRONG;
}

uint64_t bak_pg_archive_block_at(const struct bak_pg_archive *a)
{
	return a->at - (1u + a->int_size) - 1;
}

uint64_t bak_pg_archive_offset_at(const struct bak_pg_archive *a)
{
	return a->at - (1u + a->offset_size);
}

enum bak_verdict bak_pg_archive_verdict(const struct bak_pg_archive *a, char why[BAK_PROOF_WHY_LEN])
{
	if (a->phase == P_WRONG)
		return say_wrong((enum wrong)a->wrong, why);
	if (a->phase < P_BLOCK)
		return say(BAK_VERDICT_CUT, why, "cut off within the table of contents of a dump");
	if (a->phase != P_BLOCK || a->n_seen < a->n_wanted) {
		snprintf(why, BAK_PROOF_WHY_LEN,
			 "cut off: %llu of the dump's %llu blocks of data are there, the last "
			 "perhaps in part",
			 (unsigned long long)a->n_seen, (unsigned long long)a->n_wanted);
		return BAK_VERDICT_CUT;
	}
	if (a->n_seen != a->n_wanted || a->ids_seen != a->ids_wanted)
		return say(BAK_VERDICT_WRONG, why,
			   "damaged: its blocks of data are not those of its table of contents");
	return BAK_VERDICT_WHOLE;
}

/* --- SQL --- */

static bool line_begins(const struct bak_pg_sql *s, const char *text)
{
	size_t len = strlen(text);

	return s->line_len >= len && memcmp(s->line, text, len) == 0;
}

static bool line_is(const struct bak_pg_sql *s, const char *text)
{
	return s->line_len == strlen(text) && line_begins(s, text);
}

static bool line_ends(const struct bak_pg_sql *s, const char *text)
{
	size_t len = strlen(text);

	return s->line_len >= len && memcmp(s->line_end + BAK_PG_LINE_END - len, text, len) == 0;
}

/* Comments and blank lines change nothing; the commands that fence a dump in belong to it. */
static void take_comment(struct bak_pg_sql *s)
{
	if (line_is(s, "-- PostgreSQL database dump complete") ||
	    line_is(s, "-- PostgreSQL database cluster dump complete"))
		s->ended = true;
	else if (!s->begun && line_is(s, "-- PostgreSQL database dump"))
		s->dump = true;
	else if (!s->begun && line_is(s, "-- PostgreSQL database cluster dump"))
		s->cluster = true;
}

static void take_line(struct bak_pg_sql *s)
{
	bool fence = (!s->begun && line_begins(s, "\\restrict ")) ||
		     (s->ended && line_begins(s, "\\unrestrict "));

	if (s->in_copy) {
		s->in_copy = !line_is(s, "\\.");
	} else if (fence) {
		s->command_at = s->at - s->line_len;
	} else if (line_begins(s, "--")) {
		take_comment(s);
	} else if (s->line_len) {
		s->begun = true;
		s->ended = false;
		s->in_copy = line_begins(s, "COPY ") && line_ends(s, " FROM stdin;");
	}
	s->line_len = 0;
}

/* The last bytes of all that came of the line. */
static void keep_end(struct bak_pg_sql *s, const uint8_t *p, size_t len)
{
	if (len >= BAK_PG_LINE_END) {
		memcpy(s->line_end, p + len - BAK_PG_LINE_END, BAK_PG_LINE_END);
		return;
	}
	memmove(s->line_end, s->line_end + len, BAK_PG_LINE_END - len);
	memcpy(s->line_end + BAK_PG_LINE_END - len, p, len);
}

void bak_pg_sql_feed(struct bak_pg_sql *s, const uint8_t *p, size_t len)
{
	const uint8_t *end = p + len;

	s->command_at = UINT64_MAX;
	s->nul = s->nul || memchr(p, '\0', len);
	while (p < end) {
		const uint8_t *newline = memchr(p, '\n', (size_t)(end - p));
		size_t n = (size_t)((newline ? newline : end) - p);

		if (s->line_len < BAK_PG_LINE_LEN) {
			size_t room = BAK_PG_LINE_LEN - (size_t)s->line_len;

			memcpy(s->line + s->line_len, p, n < room ? n : room);
		}
		keep_end(s, p, n);
		s->line_len += n;
		s->at += n;
		if (newline) {
			take_line(s);
			s->at++;
		}
		p += n + (newline != NULL);
	}
}

enum bak_verdict bak_pg_sql_verdict(const struct bak_pg_sql *s, char why[BAK_PROOF_WHY_LEN])
{
	if (s->nul)
		return say(BAK_VERDICT_WRONG, why, "neither a file of pg_dump -Fc nor SQL");
	if (s->cluster)
		return say(BAK_VERDICT_WRONG, why,
			   "a dump of pg_dumpall, of many databases: use pg_dump for each");
	if (!s->dump)
		return BAK_VERDICT_UNPROVABLE;
	if (s->ended && !s->line_len && !s->in_copy)
		return BAK_VERDICT_WHOLE;
	return say(BAK_VERDICT_CUT, why, "cut off: the comment that ends a dump is missing");
}

/* --- either --- */

void bak_pg_dump_feed(struct bak_pg_dump *dump, const uint8_t *p, size_t len, bak_pg_text_fn *text,
		      void *ctx)
{
	if (!len)
		return;
	if (!dump->fed)
		dump->archive = p[0] == 'P';
	dump->fed += len;
	if (dump->archive)
		bak_pg_archive_feed(&dump->as.archive, p, len, text, ctx);
	else
		bak_pg_sql_feed(&dump->as.sql, p, len);
}

enum bak_verdict bak_pg_dump_verdict(const struct bak_pg_dump *dump, char why[BAK_PROOF_WHY_LEN])
{
	why[0] = '\0';
	if (!dump->fed)
		return BAK_VERDICT_EMPTY;
	if (dump->archive)
		return bak_pg_archive_verdict(&dump->as.archive, why);
	return bak_pg_sql_verdict(&dump->as.sql, why);
}

static void proof_feed(void *state, const uint8_t *p, size_t len)
{
	bak_pg_dump_feed(state, p, len, NULL, NULL);
}

static enum bak_verdict proof_verdict(const void *state, uint64_t size, char why[BAK_PROOF_WHY_LEN])
{
	(void)size;
	return bak_pg_dump_verdict(state, why);
}

const struct bak_proof_format bak_pg_proof = {
	.window = UINT64_MAX,
	.feed = proof_feed,
	.verdict = proof_verdict,
};
