/*
 * The drivers by name, for the list in stores.c and for tests. Each is defined at the foot of its
 * own file.
 */
#ifndef BAK_STORES_DRIVERS_H
#define BAK_STORES_DRIVERS_H

#include "stores/stores.h"

extern const struct bak_store_driver bak_store_chroma;
extern const struct bak_store_driver bak_store_command;
extern const struct bak_store_driver bak_store_files;
extern const struct bak_store_driver bak_store_neo4j;
extern const struct bak_store_driver bak_store_opensearch;
extern const struct bak_store_driver bak_store_postgresql;
extern const struct bak_store_driver bak_store_qdrant;
extern const struct bak_store_driver bak_store_redis; /* if it is in */
extern const struct bak_store_driver bak_store_sqlite;

#endif
