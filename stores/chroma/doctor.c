/* What is or will be wrong with a Chroma store: see chroma.h. */
#include "stores/chroma/chroma.h"

#include "stores/checkup.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

/* --- the server --- */

/* The last row with its vector: an index that was damaged fails there, while it still counts. */
static void check_rows(struct bak_chroma *chroma, const struct bak_chroma_collection *c,
		       const struct bak_checkup *checkup)
{
	BAK_AUTO(bak_free_ptr) char *behind = bak_http_path("/%s/get", c->id);
	BAK_AUTO(bak_free_ptr) char *path = behind ? bak_chroma_path(c, behind) : NULL;
	struct bak_error why = BAK_ERROR_INIT;
	uint64_t n = 0;
	char body[128];

	if (path && bak_chroma_count(chroma->http, c, &n, &why) == 0 && n > 0) {
		const struct bak_http_request request = {
			.method = "POST",
			.path = path,
			.body = body,
			.body_len = (size_t)snprintf(body, sizeof body,
						     "{\"limit\":1,\"offset\":%" PRIu64
						     ",\"include\":[\"embeddings\"]}",
						     n - 1),
			.again = true};

		bak_http_send(chroma->http, &request, NULL, &why);
	}
	if (why.code != BAK_OK)
		bak_checkup_tell(checkup, BAK_AILMENT_BROKEN,
				 "restore that collection; its index may be damaged",
				 "collection %s: %s", c->name, why.msg);
}

/* What restores and rollbacks have kept, left, or stopped at. */
static void tell_names(struct bak_chroma *chroma, const struct bak_chroma_list *list,
		       const struct bak_checkup *checkup)
{
	BAK_AUTO(bak_free_ptr) char *advice = NULL;

	if (list->n_kept)
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE,
				 "delete those that are not wanted any more",
				 "%zu collection%s kept by restores, named *.before-*",
				 list->n_kept, list->n_kept == 1 ? "" : "s");
	if (list->n_left && asprintf(&advice,
				     "unless a restore runs now, delete them, as in: curl -X "
				     "DELETE %s%s",
				     bak_http_url(chroma->http), list->left ? list->left : "") < 0)
		advice = NULL;
	if (list->n_left)
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE, advice ? advice : "delete them",
				 "%zu collection%s left by restores that were killed, named "
				 "*.bakfs-*: parts of what a snapshot has",
				 list->n_left, list->n_left == 1 ? "" : "s");
	for (size_t i = 0; i < list->n; i++) {
		if (bak_chroma_is_aside(list->v[i].name))
			bak_checkup_tell(checkup, BAK_AILMENT_BROKEN,
					 "rename it to what stands before \"" BAK_CHROMA_ASIDE
					 "\", or, if that is there, with \".before-\" instead",
					 "collection %s was between two names when a rollback was "
					 "killed",
					 list->v[i].name);
	}
}

static void check_api(struct bak_chroma *chroma, const struct bak_checkup *checkup)
{
	struct bak_error why = BAK_ERROR_INIT;
	struct bak_chroma_list list = {.n = 0};
	struct bak_chroma_facts facts;

	if (bak_chroma_ask(chroma->http, &facts, &why) < 0 ||
	    (!checkup->quick && bak_chroma_list(chroma, chroma->http, &list, &why) < 0))
		bak_checkup_tell(checkup, BAK_AILMENT_BROKEN,
				 why.code == BAK_REFUSED       ? "set user and password_file"
				 : why.code == BAK_UNAVAILABLE ? "start the server, or correct url"
							       : "correct url, tenant and database",
				 "%s", why.msg);
	for (size_t i = 0; i < list.n; i++)
		check_rows(chroma, &list.v[i], checkup);
	tell_names(chroma, &list, checkup);
	bak_chroma_list_release(&list);
}

/* --- the folder --- */

static void check_database(struct bak_chroma *chroma, const struct bak_checkup *checkup)
{
	struct bak_error why = BAK_ERROR_INIT;
	BAK_AUTO(bak_sqlite_close) sqlite3 *db = NULL;
	int64_t n;

	if (access(chroma->db_path, F_OK) < 0)
		bak_checkup_tell(checkup, BAK_AILMENT_BROKEN,
				 "let path name the folder that the server runs on",
				 "%s holds no Chroma data: there is no %s in it", chroma->path,
				 BAK_CHROMA_DB);
	else if (access(chroma->db_path, R_OK | W_OK) < 0)
		bak_checkup_tell(checkup, BAK_AILMENT_BROKEN, "run bakfs as its owner or as root",
				 "%s: a backup takes a lock and so the right to write: %s",
				 chroma->db_path, strerror(errno));
	else if (bak_sqlite_open(chroma->db_path, BAK_SQLITE_READ, NULL, &db, &why) < 0 ||
		 bak_sqlite_int(db, chroma->db_path, "SELECT count(*) FROM segments", &n, &why) < 0)
		bak_checkup_tell(checkup,
				 why.code == BAK_BUSY ? BAK_AILMENT_ADVICE : BAK_AILMENT_BROKEN,
				 "restore it, or see what holds it", "%s", why.msg);
}

static void check_directory(struct bak_chroma *chroma, const struct bak_checkup *checkup)
{
	static const char *const commands[] = {"stop_command", "start_command", "server_command"};

	if (!bak_checkup_readable(checkup, chroma->path))
		return;
	check_database(chroma, checkup);
	if (checkup->quick)
		return;
	bak_checkup_restorable(checkup, chroma->path);
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
		const char *command = bak_store_get_item(chroma->conf, commands[i], 0);

		if (command)
			bak_checkup_command(checkup, commands[i], command);
	}
}

int bak_chroma_doctor(struct bak_chroma *chroma, const struct bak_checkup *checkup,
		      struct bak_error *err)
{
	(void)err;
	if (chroma->directory)
		check_directory(chroma, checkup);
	else
		check_api(chroma, checkup);
	return 0;
}
