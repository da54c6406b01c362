/* Shared by parity.c and parity_object.c; others use parity.h. */
#ifndef BAK_OBJECTS_PARITY_PRIVATE_H
#define BAK_OBJECTS_PARITY_PRIVATE_H

#include "engine/objects/parity.h"

#define BAK_PARITY_MAGIC "bakpari1"
#define BAK_PARITY_END 12 /* magic and length, at either end */

#endif
