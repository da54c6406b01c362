/* Aliases changing over: all in one call, which the server does under one lock; looked at afterwards,
 * since a lost answer says nothing and a server may have stopped half-way. */
#include "stores/qdrant/qdrant.h"

#include <stdlib.h>
#include <string.h>

static int add_action(json_t *actions, const char *alias, const json_t *to, bool there)
{
	if (there && json_array_append_new(actions, json_pack("{s:{s:s}}", "delete_alias",
							      "alias_name", alias)) < 0)
		return -1;
	if (!json_is_string(to))
		return 0;
	return json_array_append_new(actions,
				     json_pack("{s:{s:s, s:s}}", "create_alias", "collection_name",
					       json_string_value(to), "alias_name", alias));
}

/* One call that leads from what is to what is wanted. */
static int send_switch(struct bak_http *http, const json_t *want, const json_t *now,
		       struct bak_error *err)
{
	json_t *actions = json_array(), *body = json_pack("{s:o}", "actions", actions), *to;
	const char *alias;
	int rc = body ? 0 : -1;

	json_object_foreach((json_t *)(uintptr_t)want, alias, to)
		rc |= add_action(actions, alias, to, json_object_get(now, alias) != NULL);
	if (rc)
		rc = bak_error_nomem(err);
	else if (json_array_size(actions))
		rc = bak_qdrant_call(http, "POST", strdup("/collections/aliases"), body, false,
				     NULL, err);
	json_decref(body);
	return rc;
}

/* Whether each of want's keys leads where `as` says, in `now`. */
static bool are_led(const json_t *want, const json_t *as, const json_t *now)
{
	json_t *unused;
	const char *alias;

	json_object_foreach((json_t *)(uintptr_t)want, alias, unused)
	{
		const char *led = json_string_value(json_object_get(now, alias));
		const char *to = json_string_value(json_object_get(as, alias));

		if (led ? !to || strcmp(led, to) != 0 : to != NULL)
			return false;
	}
	return true;
}

/* {alias of want: where it led before, or null} */
static json_t *old_of(const json_t *want, const json_t *before)
{
	json_t *old = json_object(), *unused;
	const char *alias;
	int rc = old ? 0 : -1;

	json_object_foreach((json_t *)(uintptr_t)want, alias, unused)
	{
		json_t *to = json_object_get(before, alias);

		rc |= to ? json_object_set(old, alias, to)
			 : json_object_set_new(old, alias, json_null());
	}
	if (rc == 0)
		return old;
	json_decref(old);
	return NULL;
}

/* Neither the one nor the other, or nobody knows. err has the reason and keeps it. */
static int put_back(struct bak_qdrant *q, const json_t *want, const json_t *before,
		    struct bak_error *err)
{
	struct bak_error second = BAK_ERROR_INIT;
	json_t *old = old_of(want, before), *now = NULL, *then = NULL;
	int rc = old ? bak_qdrant_aliases(q->clean, &now, &second) : bak_error_nomem(&second);

	if (rc == 0 && !are_led(old, old, now)) {
		rc = send_switch(q->clean, old, now, &second);
		if (rc == 0)
			rc = bak_qdrant_aliases(q->clean, &then, &second);
		if (rc == 0 && !are_led(old, old, then))
			rc = bak_error_set(&second, BAK_IO, "they still lead elsewhere");
	}
	json_decref(old);
	json_decref(now);
	json_decref(then);
	if (rc < 0)
		bak_error_wrap(err, "the aliases could not be led back (%s)", second.msg);
	else
		bak_error_wrap(err, "the aliases lead where they led before");
	return rc;
}

int bak_qdrant_switch(struct bak_qdrant *q, const json_t *want, const json_t *before,
		      bool *out_unsure, struct bak_error *err)
{
	struct bak_error why = BAK_ERROR_INIT;
	json_t *now = NULL;
	int rc = send_switch(q->clean, want, before, err), looked;

	looked = bak_qdrant_aliases(q->clean, &now, &why);
	if (looked == 0 && are_led(want, want, now)) {
		if (rc < 0)
			bak_store_log(q->env, "the aliases did change over, although: %s",
				      err->msg);
		rc = 0;
	} else {
		if (rc == 0)
			bak_error_set(err, BAK_IO, "%s",
				      looked < 0 ? why.msg
						 : "the server says that the aliases have changed "
						   "over, and they have not");
		*out_unsure = put_back(q, want, before, err) < 0;
		rc = -1;
	}
	json_decref(now);
	return rc;
}

/* --- taking a restore back --- */

/* {alias: collection or null}, of the state's column old or new. */
static json_t *column(const json_t *state, const char *which)
{
	json_t *out = json_object(), *entry;
	size_t i;
	int rc = out ? 0 : -1;

	json_array_foreach(json_object_get(state, "aliases"), i, entry)
	{
		const char *alias = json_string_value(json_object_get(entry, "alias"));
		json_t *to = json_object_get(entry, which);

		if (alias && to)
			rc |= json_object_set(out, alias, to);
	}
	if (rc == 0)
		return out;
	json_decref(out);
	return NULL;
}

static int check_there(struct bak_qdrant *q, const json_t *want, struct bak_error *err)
{
	json_t *names = NULL, *to;
	const char *alias;
	int rc = bak_qdrant_collections(q, &names, err);

	json_object_foreach((json_t *)(uintptr_t)want, alias, to)
	{
		if (rc < 0 || !json_is_string(to) || bak_qdrant_has(names, json_string_value(to)))
			continue;
		rc = bak_error_set(err, BAK_NOT_FOUND,
				   "collection %s is not there any more, so %s cannot lead to it",
				   json_string_value(to), alias);
	}
	json_decref(names);
	return rc;
}

static void tell_made(struct bak_qdrant *q, const json_t *state)
{
	json_t *name;
	size_t i;

	json_array_foreach(json_object_get(state, "made"), i, name)
	{
		bak_store_warn(q->env,
			       "collection %s was not there before the restore: delete it if it "
			       "shall go",
			       json_string_value(name));
	}
}

static int exchange(struct bak_qdrant *q, const json_t *old, const json_t *new,
		    struct bak_error *err)
{
	json_t *now = NULL;
	const json_t *want;
	bool unsure;
	int rc = bak_qdrant_aliases(q->http, &now, err);

	if (rc == 0) {
		want = are_led(new, new, now) ? old : new;
		rc = check_there(q, want, err);
		if (rc == 0)
			rc = bak_qdrant_switch(q, want, now, &unsure, err);
	}
	json_decref(now);
	return rc;
}

int bak_qdrant_rollback(struct bak_qdrant *q, const json_t *state, struct bak_error *err)
{
	json_t *old = column(state, "old"), *new = column(state, "new");
	int rc = old && new ? bak_qdrant_connect(q, err) : bak_error_nomem(err);

	if (rc == 0 && !json_object_size(new))
		rc = bak_error_set(err, BAK_NOT_FOUND,
				   "the last restore made collections that were not there before, "
				   "and changed nothing else: delete them if they shall go");
	if (rc == 0)
		rc = exchange(q, old, new, err);
	if (rc == 0)
		tell_made(q, state);
	json_decref(old);
	json_decref(new);
	return rc;
}
