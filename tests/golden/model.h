/*
 * A tree of files in memory, for make_golden: built by hand, pushed through a writer as a driver
 * would, and described as JSON for expected.json.
 *
 * Ownership: nodes live until the process ends; it makes one repository and is gone.
 * Errors: they end the process with their text.
 */
#ifndef BAK_TESTS_GOLDEN_MODEL_H
#define BAK_TESTS_GOLDEN_MODEL_H

#include "engine/content/writer.h"

#include <jansson.h>

/* 2100: younger than any backup that makes a golden repository. */
#define BAK_GOLDEN_NEVER 4102444799

/* A piece of a file: bytes, or a hole when p is NULL. */
struct part {
	const uint8_t *p;
	uint64_t len;
};

struct node {
	const char *name;
	struct bak_source_inode in; /* nlink is filled from *names when it is pushed */
	uint64_t *names;            /* how many the inode has; one counter for all of them */
	enum bak_hint hint;
	struct part parts[80];
	size_t n_parts;
	json_t *xattrs; /* name -> hex */
	struct bak_buf xattr_block;
	struct node *parent;
	struct node **kids;
	size_t n_kids;
};

void must(int rc, const struct bak_error *err);

/* A new entry of folder (NULL: a root), with plain fields made from its inode number, which is
 * counted up. */
struct node *node_new(struct node *folder, enum bak_type type, const char *name);
/* A further name of an inode. */
struct node *node_link(struct node *folder, struct node *first, const char *name);
void node_bytes(struct node *node, const void *p, uint64_t len);
void node_hole(struct node *node, uint64_t len);
/* In the order of names. */
void node_xattr(struct node *node, const char *name, const void *value, size_t len);
/* The entry of that name; ends the process when there is none. */
struct node *node_find(struct node *folder, const char *name);
/* Out of its folder; its inode has one name fewer. */
void node_remove(struct node *folder, const char *name);

/* Pushes what is in root, in order; unchanged entries are taken from the predecessor. */
void node_push(struct bak_writer *w, struct node *root);

/* path -> what a reader has to find there; bytes of names stand as the characters U+0000 to U+00FF.
 * The root is "". */
json_t *node_describe(struct node *root);

#endif
