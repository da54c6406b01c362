/*
 * The transposing filter of segments: elements of n bytes are cut into n planes, all first bytes,
 * then all second bytes ...; a rest shorter than n follows as it is. It pays on arrays of numbers
 * (float vectors: the exponents come together), and which width pays is judged from a sample.
 */
#ifndef BAK_OBJECTS_FILTER_H
#define BAK_OBJECTS_FILTER_H

#include <stddef.h>
#include <stdint.h>

/* out and in do not overlap; both hold len bytes. n: 2..16. */
void bak_filter_apply(unsigned n, const uint8_t *in, size_t len, uint8_t *out);
void bak_filter_undo(unsigned n, const uint8_t *in, size_t len, uint8_t *out);

/* About how many bytes the sample would take if each plane were coded by its byte counts alone. */
size_t bak_filter_estimate(unsigned n, const uint8_t *sample, size_t len);

#endif
