/*
 * Running the programs of rdb_program.h. What a letter needs at once is at most
 * BAK_RDB_UNIT_MAX long; bodies of strings are skipped as they come, not kept.
 */
#include "stores/redis/rdb_program.h"

#include "stores/redis/rdb.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX 4096

int bak_rdb_damaged(const struct bak_rdb_window *w, struct bak_error *err, const char *what)
{
	return bak_error_set(err, BAK_CORRUPT, "not a sound RDB file: %s at byte %" PRIu64, what,
			     w->base + (uint64_t)(w->p - w->begin));
}

void bak_rdb_program_begin(struct bak_rdb_program *prog, const char *text)
{
	prog->pc = text;
	prog->depth = 0;
	prog->skip = 0;
}

void bak_rdb_program_release(struct bak_rdb_program *prog)
{
	bak_buf_release(&prog->name);
	bak_buf_release(&prog->text);
	bak_buf_release(&prog->packed);
}

/* --- names --- */

/* A kept string is complete: packed becomes what it stands for. */
static int unpack(struct bak_rdb_program *prog, const struct bak_rdb_window *w,
		  struct bak_error *err)
{
	struct bak_buf *to = prog->keep;
	char digits[24];

	to->len = 0;
	if (prog->encoding == BAK_RDB_INT) {
		int64_t value = bak_rdb_little_endian(prog->packed.p, prog->packed.len);
		unsigned unused = 64 - 8 * (unsigned)prog->packed.len;

		value = (int64_t)((uint64_t)value << unused) >> unused;
		int n = snprintf(digits, sizeof digits, "%" PRId64, value);
		return bak_buf_append(to, digits, (size_t)n) < 0 ? bak_error_nomem(err) : 0;
	}
	if (prog->encoding == BAK_RDB_PLAIN) {
		if (bak_buf_append(to, prog->packed.p, prog->packed.len) < 0)
			return bak_error_nomem(err);
		return 0;
	}
	/* LZF makes at most 264 bytes of 3. */
	if (prog->plain_len > BAK_RDB_NAME_MAX || prog->plain_len / 100 > prog->packed.len)
		return bak_rdb_damaged(w, err, "a packed name is too long");
	if (bak_buf_reserve(to, (size_t)prog->plain_len) < 0)
		return bak_error_nomem(err);
	if (!bak_rdb_lzf_unpack(prog->packed.p, prog->packed.len, to->p, (size_t)prog->plain_len))
		return bak_rdb_damaged(w, err, "a packed name does not unpack");
	to->len = (size_t)prog->plain_len;
	return 0;
}

/* --- running a program --- */

static int run_string(struct bak_rdb_program *prog, struct bak_rdb_window *w, struct bak_buf *keep,
		      size_t limit, struct bak_error *err)
{
	struct bak_rdb_string head;
	int used = bak_rdb_string_at(w->p, bak_rdb_room(w), &head);

	if (used < 0)
		return bak_rdb_damaged(w, err, "a string's length makes no sense");
	if (used == 0)
		return BAK_RDB_MORE;
	if (keep && head.body_len > limit)
		return bak_rdb_damaged(w, err, "a name is too long");
	w->p += used;
	prog->skip = head.body_len;
	prog->keep = keep;
	prog->encoding = head.encoding;
	prog->plain_len = head.plain_len;
	prog->packed.len = 0;
	prog->pc++;
	if (keep && !prog->skip && unpack(prog, w, err) < 0)
		return -1;
	return BAK_RDB_DONE;
}

/* As much of a string's body as is there. */
static int run_skip(struct bak_rdb_program *prog, struct bak_rdb_window *w, struct bak_error *err)
{
	size_t n = bak_rdb_room(w) < prog->skip ? bak_rdb_room(w) : (size_t)prog->skip;

	if (!n)
		return BAK_RDB_MORE;
	if (prog->keep && bak_buf_append(&prog->packed, w->p, n) < 0)
		return bak_error_nomem(err);
	w->p += n;
	prog->skip -= n;
	if (prog->keep && !prog->skip && unpack(prog, w, err) < 0)
		return -1;
	return BAK_RDB_DONE;
}

static int run_raw(struct bak_rdb_program *prog, struct bak_rdb_window *w, size_t n)
{
	if (bak_rdb_room(w) < n)
		return BAK_RDB_MORE;
	memcpy(prog->raw, w->p, n);
	w->p += n;
	prog->pc++;
	return BAK_RDB_DONE;
}

static int run_length(struct bak_rdb_program *prog, struct bak_rdb_window *w, struct bak_error *err)
{
	int used = bak_rdb_length_at(w->p, bak_rdb_room(w), &prog->number);

	if (used < 0)
		return bak_rdb_damaged(w, err, "a length makes no sense");
	if (used == 0)
		return BAK_RDB_MORE;
	w->p += used;
	prog->pc++;
	return BAK_RDB_DONE;
}

/* Behind the bracket that closes the one before pc. */
static const char *behind_loop(const char *pc)
{
	for (int depth = 1; depth; pc++)
		depth += *pc == '(' ? 1 : *pc == ')' ? -1 : 0;
	return pc;
}

static int run_loop(struct bak_rdb_program *prog, struct bak_rdb_window *w, struct bak_error *err)
{
	int rc = run_length(prog, w, err);

	if (rc != BAK_RDB_DONE)
		return rc;
	if (!prog->number) {
		prog->pc = behind_loop(prog->pc);
		return BAK_RDB_DONE;
	}
	assert(prog->depth < BAK_RDB_DEPTH_MAX);
	prog->stack[prog->depth++] = (struct bak_rdb_frame){.start = prog->pc,
							    .left = prog->number};
	return BAK_RDB_DONE;
}

static int run_loop_end(struct bak_rdb_program *prog)
{
	struct bak_rdb_frame *frame = &prog->stack[prog->depth - 1];

	if (--frame->left) {
		prog->pc = frame->start;
	} else {
		prog->depth--;
		prog->pc++;
	}
	return BAK_RDB_DONE;
}

static int run_old_double(struct bak_rdb_program *prog, struct bak_rdb_window *w)
{
	if (!bak_rdb_room(w))
		return BAK_RDB_MORE;
	prog->skip = *w->p < 253 ? *w->p : 0;
	prog->keep = NULL;
	w->p++;
	prog->pc++;
	return BAK_RDB_DONE;
}

/* One item: its opcode and what that has. */
static int run_module(struct bak_rdb_program *prog, struct bak_rdb_window *w, struct bak_error *err)
{
	struct bak_rdb_string head;
	uint64_t opcode = 0, value;
	int used = bak_rdb_length_at(w->p, bak_rdb_room(w), &opcode), more = 0;

	if (used == 0)
		return BAK_RDB_MORE;
	const uint8_t *p = w->p + used;
	size_t n = used > 0 ? bak_rdb_room(w) - (size_t)used : 0;
	prog->keep = NULL;
	if (used < 0 || opcode > 5)
		return bak_rdb_damaged(w, err, "a module's value makes no sense");
	if (opcode == 0)
		prog->pc++;
	else if (opcode <= 2)
		more = bak_rdb_length_at(p, n, &value);
	else if (opcode <= 4)
		prog->skip = opcode == 3 ? 4 : 8;
	else
		more = bak_rdb_string_at(p, n, &head);
	if (more < 0)
		return bak_rdb_damaged(w, err, "a module's value makes no sense");
	if (more == 0 && (opcode == 1 || opcode == 2 || opcode == 5))
		return BAK_RDB_MORE;
	if (opcode == 5)
		prog->skip = head.body_len;
	w->p = p + more;
	return BAK_RDB_DONE;
}

int bak_rdb_program_step(struct bak_rdb_program *prog, struct bak_rdb_window *w,
			 struct bak_error *err)
{
	if (prog->skip)
		return run_skip(prog, w, err);
	switch (*prog->pc) {
	case 'l':
		return run_length(prog, w, err);
	case 's':
		return run_string(prog, w, NULL, 0, err);
	case 'n':
		return run_string(prog, w, &prog->name, BAK_RDB_NAME_MAX, err);
	case 't':
		return run_string(prog, w, &prog->text, TEXT_MAX, err);
	case '1':
	case '4':
	case '8':
		return run_raw(prog, w, (size_t)(*prog->pc - '0'));
	case '6':
		return run_raw(prog, w, 16);
	case 'd':
		return run_old_double(prog, w);
	case '(':
		return run_loop(prog, w, err);
	case ')':
		return run_loop_end(prog);
	case 'm':
		return run_module(prog, w, err);
	}
	return bak_error_set(err, BAK_BUG, "rdb: a program holds '%c'", *prog->pc);
}
