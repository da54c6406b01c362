/*
 * Restoring collections. Each is first filled under a name that nobody uses and counted; until then
 * nobody sees anything of it, and a failure deletes it. Then all aliases change over in one call,
 * and the old collections stay. Those whose own name is in use are replaced in place, once the same
 * file has been loaded beside them; the job has made a snapshot before. When that fails the same
 * handle restores that snapshot: of it only what was replaced, and without trying it first.
 */
#include "stores/qdrant/qdrant.h"

#include <stdlib.h>
#include <string.h>

static int fill_all(struct bak_qdrant_plan *p, struct bak_error *err)
{
	for (size_t i = 0; i < p->n; i++) {
		struct bak_qdrant_target *t = &p->targets[i];

		if (p->repair && t->way == BAK_QDRANT_IN_PLACE)
			continue;
		if (bak_qdrant_load(p, t, t->fresh, false, err) < 0)
			return bak_error_wrap(err, "collection %s", t->source);
		t->made = true;
	}
	return 0;
}

static void drop_fresh(struct bak_qdrant_plan *p, struct bak_qdrant_target *t)
{
	struct bak_error why = BAK_ERROR_INIT;

	if (t->made && bak_qdrant_drop(p->q, t->fresh, &why) < 0)
		bak_store_warn(p->q->env, "collection %s is left over, delete it: %s", t->fresh,
			       why.msg);
	t->made = false;
}

/* --- what a rollback will need --- */

/* {alias: its new collection}, of all targets. */
static json_t *wanted_aliases(const struct bak_qdrant_plan *p)
{
	json_t *want = json_object(), *unused;
	const char *alias;
	int rc = want ? 0 : -1;

	for (size_t i = 0; rc == 0 && i < p->n; i++) {
		const struct bak_qdrant_target *t = &p->targets[i];
		const char *to = t->way == BAK_QDRANT_IN_PLACE ? t->name : t->fresh;

		json_object_foreach(t->aliases, alias, unused)
			rc |= json_object_set_new(want, alias, json_string(to));
	}
	if (rc == 0)
		return want;
	json_decref(want);
	return NULL;
}

static int note_aliases(const struct bak_qdrant_plan *p, const json_t *want, json_t *list,
			struct bak_buf *text)
{
	json_t *to;
	const char *alias;
	int rc = 0;

	json_object_foreach((json_t *)(uintptr_t)want, alias, to)
	{
		json_t *old = json_object_get(p->aliases, alias);

		rc |= json_array_append_new(
			list, json_pack("{s:s, s:O, s:O?}", "alias", alias, "new", to, "old", old));
		if (old)
			rc |= bak_buf_printf(text, "%salias %s (before: %s)", text->len ? ", " : "",
					     alias, json_string_value(old));
	}
	return rc;
}

/* Whether nothing that is live is touched. */
static bool is_beside(const struct bak_qdrant_plan *p)
{
	for (size_t i = 0; i < p->n; i++) {
		if (p->targets[i].way != BAK_QDRANT_NEW)
			return false;
	}
	return true;
}

static int note_state(const struct bak_qdrant_plan *p, const json_t *want, json_t *state,
		      struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	json_t *aliases = json_array(), *made = json_array();
	int rc = json_object_set_new(state, "aliases", aliases);

	rc |= json_object_set_new(state, "made", made);
	if (is_beside(p))
		rc |= json_object_set_new(state, "beside", json_true());
	if (rc == 0)
		rc = note_aliases(p, want, aliases, &text);
	for (size_t i = 0; rc == 0 && i < p->n; i++) {
		if (p->targets[i].way == BAK_QDRANT_NEW)
			rc = json_array_append_new(made, json_string(p->targets[i].fresh));
	}
	if (rc == 0 && text.len)
		rc = json_object_set_new(state, "text", json_stringn((char *)text.p, text.len));
	return rc ? bak_error_nomem(err) : 0;
}

/* --- what others see --- */

static int make_anew(struct bak_qdrant_plan *p, struct bak_qdrant_target *t, struct bak_error *err)
{
	if (bak_qdrant_drop(p->q, t->name, err) < 0)
		return -1;
	return bak_qdrant_load(p, t, t->name, false, err);
}

/* Where points are put, those that are there must go first. What a restore before has broken may
 * take nothing any more: then it is made anew. */
static int replace(struct bak_qdrant_plan *p, struct bak_qdrant_target *t, struct bak_error *err)
{
	int rc;

	drop_fresh(p, t);
	if (json_array_append_new(p->q->replaced, json_string(t->source)) < 0)
		return bak_error_nomem(err);
	if (t->exported)
		return make_anew(p, t, err);
	rc = bak_qdrant_load(p, t, t->name, true, err);
	if (rc < 0 && p->repair) {
		bak_store_log(p->q->env, "%s is made anew: %s", t->name, err->msg);
		rc = make_anew(p, t, err);
	}
	return rc;
}

/* Aliases may lead to them. */
static void keep_fresh(struct bak_qdrant_plan *p)
{
	for (size_t i = 0; i < p->n; i++) {
		if (p->targets[i].made)
			bak_store_warn(p->q->env, "collection %s is kept: aliases may lead to it",
				       p->targets[i].fresh);
		p->targets[i].made = false;
	}
}

static int put_in_place(struct bak_qdrant_plan *p, json_t *state, struct bak_error *err)
{
	json_t *want = wanted_aliases(p);
	bool replaced = false, unsure = false;
	int rc = want ? note_state(p, want, state, err) : bak_error_nomem(err);

	if (rc == 0)
		rc = bak_store_no_return(p->q->env, err);
	for (size_t i = 0; rc == 0 && i < p->n; i++) {
		struct bak_qdrant_target *t = &p->targets[i];

		if (t->way != BAK_QDRANT_IN_PLACE)
			continue;
		replaced = true;
		if (replace(p, t, err) < 0)
			rc = bak_error_wrap(err, "collection %s", t->name);
	}
	if (rc == 0)
		rc = bak_qdrant_switch(p->q, want, p->aliases, &unsure, err);
	if (unsure)
		keep_fresh(p);
	else if (rc < 0 && !replaced)
		json_object_set_new(state, "unchanged", json_true());
	/* Behind a success there is nothing to put back. */
	if (rc == 0)
		json_array_clear(p->q->replaced);
	json_decref(want);
	return rc;
}

static void tell(struct bak_qdrant_plan *p)
{
	for (size_t i = 0; i < p->n; i++) {
		struct bak_qdrant_target *t = &p->targets[i];

		t->made = false;
		if (t->way == BAK_QDRANT_ALIAS)
			bak_store_log(p->q->env, "%s is restored as %s, its aliases lead there",
				      t->name, t->fresh);
		else
			bak_store_log(p->q->env, "%s is restored", t->name);
	}
	/* They were compared before anybody else could write. */
	json_decref(p->q->restored_counts);
	p->q->restored_counts = json_incref(json_object_get(p->facts, "counts"));
}

int bak_qdrant_restore(struct bak_qdrant *q, const struct bak_restore_from *from, json_t *state,
		       struct bak_error *err)
{
	struct bak_qdrant_plan plan;
	int rc = bak_qdrant_plan(q, from, &plan, err);

	if (rc == 0)
		rc = fill_all(&plan, err);
	if (rc == 0)
		rc = put_in_place(&plan, state, err);
	if (rc == 0)
		tell(&plan);
	for (size_t i = 0; i < plan.n; i++)
		drop_fresh(&plan, &plan.targets[i]);
	bak_qdrant_plan_release(&plan);
	return rc;
}

int bak_qdrant_keeps_old(struct bak_qdrant *q, const struct bak_restore_from *from,
			 struct bak_error *err)
{
	struct bak_qdrant_plan plan;
	int rc = bak_qdrant_plan(q, from, &plan, err) < 0 ? -1 : 1;

	for (size_t i = 0; rc > 0 && i < plan.n; i++) {
		if (plan.targets[i].way == BAK_QDRANT_IN_PLACE)
			rc = 0;
	}
	bak_qdrant_plan_release(&plan);
	return rc;
}
