/*
** value.h - values as clients of the Redis protocol know them: bytes.
**
** What is set is stored as TEXT if it is valid UTF-8 without a NUL, so that its line in the log and
** its row in SQL are plain text; anything else as BLOB. What SQL stored as something else is given out
** as text: an INTEGER as its decimal digits, a REAL as SQLite's CAST to TEXT writes it (at most 15
** digits where these are enough to get the same number back, else 17; always with a point), a NULL
** as nil.
*/
#ifndef VALUE_H
#define VALUE_H

#include "kv.h"

#define VALUE_TEXT_MAX 64u        /* bytes that any number's text needs */
#define VALUE_REAL_TEXT_MAX 5120u /* that value_from_real needs */

/* Whether all of the text is a 64-bit number as Redis takes it: no blanks, no plus, no leading zero. */
bool value_parse_integer(const char *text, size_t size, int64_t *out);

/* Whether all of the text is a floating-point number that is not NaN. */
bool value_parse_real(const char *text, size_t size, long double *out);

/* Without trailing zeros, and without an exponent, as Redis' INCRBYFLOAT writes it. Its length. */
size_t value_from_real(char text[VALUE_REAL_TEXT_MAX], long double number);

/* A value's bytes: its own, or made in scratch. False for NULL, which has none. */
bool value_bytes(const kv_value *value, char scratch[VALUE_TEXT_MAX], const char **data,
                 size_t *size);

/* Whether the bytes are valid UTF-8 without a NUL, and so stored as TEXT. */
bool value_is_text(const char *data, size_t size);

#endif
