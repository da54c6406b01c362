/* New databases, with the properties that no dump of a database has. */
#include "stores/postgresql/postgresql.h"

#include <stdlib.h>
#include <string.h>

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* ", KEY = 'value'" */
static int add_literal(struct bak_buf *sql, PGconn *conn, const char *key, const char *value)
{
	BAK_AUTO(bak_pg_free) char *quoted = value ? bak_pg_literal(conn, value) : NULL;

	if (!value)
		return 0;
	return quoted ? bak_buf_printf(sql, " %s %s", key, quoted) : -1;
}

static int add_ident(struct bak_buf *sql, PGconn *conn, const char *key, const char *value)
{
	BAK_AUTO(bak_pg_free) char *quoted = value ? bak_pg_ident(conn, value) : NULL;

	if (!value)
		return 0;
	return quoted ? bak_buf_printf(sql, " %s %s", key, quoted) : -1;
}

/* ICU and built-in locales have an option of their own; those of the C library have none. */
static int add_locale(struct bak_buf *sql, PGconn *conn, const json_t *facts)
{
	const char *provider = text_of(facts, "provider"), *locale = text_of(facts, "locale");

	if (add_literal(sql, conn, "LC_COLLATE", text_of(facts, "collate")) < 0 ||
	    add_literal(sql, conn, "LC_CTYPE", text_of(facts, "ctype")) < 0)
		return -1;
	if (!provider || !locale)
		return 0;
	if (*provider == 'i')
		return add_literal(sql, conn, "LOCALE_PROVIDER icu ICU_LOCALE", locale);
	if (*provider == 'b')
		return add_literal(sql, conn, "LOCALE_PROVIDER builtin BUILTIN_LOCALE", locale);
	return 0;
}

int bak_pg_create(struct bak_pg *pg, PGconn *admin, const char *name, const json_t *facts,
		  struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf sql = BAK_BUF_INIT;

	if (add_ident(&sql, admin, "CREATE DATABASE", name) < 0 ||
	    bak_buf_printf(&sql, " TEMPLATE template0") < 0 ||
	    add_literal(&sql, admin, "ENCODING", text_of(facts, "encoding")) < 0 ||
	    add_locale(&sql, admin, facts) < 0 ||
	    add_ident(&sql, admin, "OWNER", text_of(facts, "owner")) < 0 ||
	    bak_buf_append(&sql, "", 1) < 0)
		return bak_error_nomem(err);
	if (bak_pg_exec(pg->env, admin, err, "%s", (char *)sql.p) < 0)
		return bak_error_wrap(err, "making a database to restore into");
	return 0;
}

/* --- properties --- */

/* Settings whose value is a list of names, each a literal of its own. */
static bool is_list(const char *name)
{
	static const char *const lists[] = {"local_preload_libraries",   "search_path",
					    "session_preload_libraries", "shared_preload_libraries",
					    "temp_tablespaces",          "unix_socket_directories"};

	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
		if (strcasecmp(lists[i], name) == 0)
			return true;
	}
	return false;
}

/* "a, "b c"" as 'a', 'b c' */
static int add_list(struct bak_buf *sql, PGconn *conn, const char *value)
{
	BAK_AUTO(bak_free_ptr) char *item = malloc(strlen(value) + 1);
	bool first = true;

	while (item && *value) {
		size_t n = 0;
		bool quoted = false;

		value += strspn(value, ", ");
		for (; *value && (quoted || *value != ','); value++) {
			if (*value != '"')
				item[n++] = *value;
			else if (quoted && value[1] == '"')
				item[n++] = *value++;
			else
				quoted = !quoted;
		}
		while (n && item[n - 1] == ' ')
			n--;
		item[n] = '\0';
		if (add_literal(sql, conn, first ? "" : ",", item) < 0)
			return -1;
		first = false;
	}
	/* an empty list is an empty string */
	return !item ? -1 : first ? add_literal(sql, conn, "", "") : 0;
}

/* Those of extensions have a dot between two names. */
static int add_setting_name(struct bak_buf *sql, PGconn *conn, char *key)
{
	char *dot = strchr(key, '.');

	if (dot)
		*dot = '\0';
	if (add_ident(sql, conn, "SET", key) < 0 ||
	    (dot && (bak_buf_printf(sql, ".") < 0 || add_ident(sql, conn, "", dot + 1) < 0)))
		return -1;
	if (dot)
		*dot = '.';
	return bak_buf_printf(sql, " TO");
}

/* entry: {"role": who or null, "set": "name=value"} */
static int apply_setting(struct bak_pg *pg, PGconn *admin, const char *name, const json_t *entry,
			 struct bak_error *err)
{
	const char *role = text_of(entry, "role"), *set = text_of(entry, "set");
	const char *equals = set ? strchr(set, '=') : NULL;
	BAK_AUTO(bak_free_ptr) char *key = equals ? strndup(set, (size_t)(equals - set)) : NULL;
	BAK_AUTO(bak_buf_release) struct bak_buf sql = BAK_BUF_INIT;
	int rc;

	if (!key)
		return 0;
	rc = role ? add_ident(&sql, admin, "ALTER ROLE", role) : 0;
	if (rc == 0)
		rc = add_ident(&sql, admin, role ? "IN DATABASE" : "ALTER DATABASE", name);
	if (rc == 0)
		rc = add_setting_name(&sql, admin, key);
	if (rc == 0)
		rc = is_list(key) ? add_list(&sql, admin, equals + 1)
				  : add_literal(&sql, admin, "", equals + 1);
	if (rc < 0 || bak_buf_append(&sql, "", 1) < 0)
		return bak_error_nomem(err);
	return bak_pg_exec(pg->env, admin, err, "%s", (char *)sql.p);
}

/* entry: {"role": who or null for everybody, "privilege", "grantable"} */
static int apply_grant(struct bak_pg *pg, PGconn *admin, const char *name, const json_t *entry,
		       struct bak_error *err)
{
	static const char *const known[] = {"CREATE", "CONNECT", "TEMPORARY"};
	const char *role = text_of(entry, "role"), *privilege = text_of(entry, "privilege");
	BAK_AUTO(bak_pg_free) char *who = role ? bak_pg_ident(admin, role) : NULL;
	BAK_AUTO(bak_pg_free) char *db = bak_pg_ident(admin, name);

	if (!db || (role && !who))
		return bak_error_nomem(err);
	for (size_t i = 0; privilege && i < sizeof known / sizeof *known; i++) {
		if (strcmp(known[i], privilege) == 0)
			return bak_pg_exec(pg->env, admin, err, "GRANT %s ON DATABASE %s TO %s%s",
					   privilege, db, who ? who : "PUBLIC",
					   json_is_true(json_object_get(entry, "grantable"))
						   ? " WITH GRANT OPTION"
						   : "");
	}
	return 0;
}

static int apply_grants(struct bak_pg *pg, PGconn *admin, const char *name, const json_t *facts,
			struct bak_error *err)
{
	const json_t *acl = json_object_get(facts, "acl"), *entry;
	BAK_AUTO(bak_pg_free) char *db = bak_pg_ident(admin, name);
	size_t i;

	if (!json_is_array(acl))
		return 0;
	if (!db)
		return bak_error_nomem(err);
	if (bak_pg_exec(pg->env, admin, err, "REVOKE ALL ON DATABASE %s FROM PUBLIC", db) < 0)
		return -1;
	json_array_foreach(acl, i, entry)
	{
		if (apply_grant(pg, admin, name, entry, err) < 0)
			return -1;
	}
	return 0;
}

int bak_pg_apply_properties(struct bak_pg *pg, PGconn *admin, const char *name, const json_t *facts,
			    struct bak_error *err)
{
	const char *comment = text_of(facts, "comment");
	const json_t *limit = json_object_get(facts, "connection_limit"), *entry;
	BAK_AUTO(bak_pg_free) char *db = bak_pg_ident(admin, name);
	BAK_AUTO(bak_pg_free) char *text = comment ? bak_pg_literal(admin, comment) : NULL;
	size_t i;

	if (!db || (comment && !text))
		return bak_error_nomem(err);
	if (comment &&
	    bak_pg_exec(pg->env, admin, err, "COMMENT ON DATABASE %s IS %s", db, text) < 0)
		return -1;
	if (json_integer_value(limit) > 0 &&
	    bak_pg_exec(pg->env, admin, err, "ALTER DATABASE %s CONNECTION LIMIT %d", db,
			(int)json_integer_value(limit)) < 0)
		return -1;
	json_array_foreach(json_object_get(facts, "settings"), i, entry)
	{
		if (apply_setting(pg, admin, name, entry, err) < 0)
			return bak_error_wrap(err, "settings of the database");
	}
	if (apply_grants(pg, admin, name, facts, err) < 0)
		return bak_error_wrap(err, "grants on the database");
	return 0;
}

/* --- what a killed restore left --- */

int bak_pg_drop_leftovers(struct bak_pg *pg, PGconn *admin, struct bak_error *err)
{
	static const char sql[] = "SELECT datname FROM pg_database d WHERE " BAK_PG_ABANDONED;
	BAK_AUTO(bak_pg_clear) PGresult *result = bak_pg_query(pg->env, admin, sql, err);

	for (int i = 0; i < PQntuples(result); i++) {
		struct bak_error scratch = BAK_ERROR_INIT;
		const char *name = PQgetvalue(result, i, 0);

		/* Another restore that just began makes this fail, and keeps it. */
		if (bak_pg_exec(pg->env, admin, &scratch, "DROP DATABASE \"%s\"", name) == 0)
			bak_store_log(pg->env, "dropped %s, left by a restore that was killed",
				      name);
	}
	return result ? 0 : -1;
}
