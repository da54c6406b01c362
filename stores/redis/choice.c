/* Which keys of a snapshot a restore is asked for. */
#include "stores/redis/restore.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

bool bak_redis_is_number(const char *text)
{
	return *text && !text[strspn(text, "0123456789")];
}

static bool is_class(const char *word)
{
	for (size_t i = 0; i < BAK_RDB_N_CLASSES; i++) {
		if (strcmp(word, bak_rdb_class_names[i]) == 0)
			return true;
	}
	return false;
}

int bak_redis_choice_check(const struct bak_restore_from *from, struct bak_error *err)
{
	const char *word;

	for (size_t i = 0; (word = bak_restore_wish(from, "db", i)) != NULL; i++) {
		if (!bak_redis_is_number(word))
			return bak_error_set(err, BAK_USAGE, "--db %s: it is a number", word);
	}
	for (size_t i = 0; (word = bak_restore_wish(from, "key-type", i)) != NULL; i++) {
		if (!is_class(word))
			return bak_error_set(err, BAK_USAGE,
					     "--key-type %s: it is string, list, set, zset, hash, "
					     "stream or module",
					     word);
	}
	return 0;
}

static bool key_matches(const char *pattern, const struct bak_rdb_key *key)
{
	char *name = malloc(key->name_len + 1);
	bool matches;

	if (!name)
		return false;
	/* A pattern ends at a zero byte, a key does not: it is matched as some other byte. */
	for (size_t i = 0; i < key->name_len; i++) {
		char c = ((const char *)key->name)[i];

		name[i] = c ? c : '\1';
	}
	name[key->name_len] = '\0';
	matches = fnmatch(pattern, name, 0) == 0;
	free(name);
	return matches;
}

static bool db_matches(const char *number, const struct bak_rdb_key *key)
{
	return strtoull(number, NULL, 10) == key->db;
}

static bool type_matches(const char *type, const struct bak_rdb_key *key)
{
	return strcmp(type, bak_rdb_class_names[key->class]) == 0;
}

bool bak_redis_choice_takes(const struct bak_restore_from *from, const struct bak_rdb_key *key)
{
	static const struct {
		const char *wish;
		bool (*matches)(const char *word, const struct bak_rdb_key *key);
	} kinds[] = {{"db", db_matches}, {"key-type", type_matches}, {"key", key_matches}};

	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
		const char *word = bak_restore_wish(from, kinds[k].wish, 0);
		bool asked = word, met = false;

		for (size_t i = 1; word && !met; i++) {
			met = kinds[k].matches(word, key);
			word = bak_restore_wish(from, kinds[k].wish, i);
		}
		if (asked && !met)
			return false;
	}
	return true;
}
