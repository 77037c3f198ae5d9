/*
** fold.h - a prefix whose letters stand for both of their cases, as LIKE takes them.
**
** Its spellings lie apart: between `A/X` and `a/x` sorts whatever begins with `B`, or with `a/` and
** an upper-case letter. So a scan jumps from each key that is none of them to the next that could be.
*/
#ifndef FOLD_H
#define FOLD_H

#include <stdbool.h>
#include <stddef.h>

typedef struct fold {
  char *upper; /* sqlite3_malloc'ed, NULL: none */
  char *lower; /* behind it */
  size_t size;
} fold;

/* Take the literal beginning of a LIKE pattern, up to the first byte that is not ASCII: LIKE folds
** ASCII only, but one of the application's own may fold more. SQLITE_OK or SQLITE_NOMEM. */
int fold_init(fold *f, const char *pattern, size_t size);
void fold_free(fold *f);

bool fold_matches(const fold *f, const char *key, size_t size);

/* For a key that does not match: write the next spelling of the prefix after it, or before it, into
** `to`, which has room for the prefix; false if there is none. */
bool fold_after(const fold *f, const char *key, size_t size, char *to);
bool fold_before(const fold *f, const char *key, size_t size, char *to);

#endif
