/*
 * Reading ahead of those who read a file in order, when each read comes alone (a mount): workers
 * decode what comes next into the reading side's cache. Of a file that is read here and there, a
 * database for the most part, and that fits into the cache, all is decoded by and by; any other is
 * let be.
 *
 * It only warms the cache: what cannot be read ahead, the reader finds out by itself.
 * Threads: reads are told from any thread; workers of its own.
 */
#ifndef BAK_CONTENT_PREFETCH_H
#define BAK_CONTENT_PREFETCH_H

#include "engine/content/source.h"

struct bak_prefetch;

/* Borrows source. workers 0: as many as cores, four at most. window: bytes of a file kept decoded
 * before its reader; 0 turns all of it off. whole: up to this size a file that is read here and there
 * is decoded whole; 0: none. */
int bak_prefetch_new(struct bak_source *source, unsigned workers, size_t window, uint64_t whole,
		     struct bak_prefetch **out_prefetch, struct bak_error *err);
/* Waits for what is being read; NULL is fine. */
void bak_prefetch_free(struct bak_prefetch *prefetch);

/* [off, off + len) of a file of size bytes is being read. key: a number that stands for the file,
 * the same at each read. Never waits. Whether the file is being read in order. */
bool bak_prefetch_read(struct bak_prefetch *prefetch, uint64_t key,
		       const struct bak_content *content, uint64_t size, uint64_t off, size_t len);

/* Small files are read one after another, and this segment holds the next one: those of its run that
 * come behind it are decoded too. Never waits. */
void bak_prefetch_follow(struct bak_prefetch *prefetch, const struct bak_seg_id *seg);

/* Bytes of files that were decoded ahead so far. */
uint64_t bak_prefetch_bytes(struct bak_prefetch *prefetch);

#endif
