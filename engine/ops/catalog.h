/* What the files of the catalogue share: catalog.c, catalog_records.c. All of it with repo->lock
 * held. */
#ifndef BAK_OPS_CATALOG_H
#define BAK_OPS_CATALOG_H

#include "engine/ops/repo_private.h"

/* A decimal number without leading zeros, at most INT64_MAX, that ends at *out_end. */
bool bak_catalog_number(const char *text, uint64_t *out, const char **out_end);

/* What forgotten/ and tags/ list. */
struct bak_records {
	struct bak_numbers *gone; /* by first and last */
	size_t n_gone, cap_gone;
	struct bak_tag_version *tags; /* by number, the highest version first */
	size_t n_tags, cap_tags;
	bool forgotten_synced, tags_synced; /* see bak_catalog_sync */
};
void bak_records_release(struct bak_records *records);
int bak_records_list(struct bak_repo *repo, struct bak_records *out, struct bak_error *err);
/* Brings the index and repo->gone to what of it opens. */
int bak_records_apply(struct bak_repo *repo, struct bak_records *records, bool *changed,
		      struct bak_error *err);

#endif
