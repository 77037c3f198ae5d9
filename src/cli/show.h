/*
** show.h - keys and values as a person reads them on one line of a terminal.
**
** Text is shown between nothing, blobs as x'..', NULL as NULL. What does not print is shown as the
** log spells it (\t \n \r \0 \\) or as \xNN, so that no log can play with the terminal. Where there
** is a width, what is longer ends with "..."; a character counts as one column.
*/
#ifndef SHOW_H
#define SHOW_H

#include "kv.h"

#include <stdio.h>

/* Print at most width columns (0: no limit); return how many were printed. */
size_t show_text(FILE *out, const char *data, size_t size, size_t width);
size_t show_value(FILE *out, const kv_value *value, size_t width);

/* The bytes of the UTF-8 character at data, of which size are there; 0 if it is none. */
size_t show_character(const char *data, size_t size);

/* The shortest decimal of 15 to 17 digits that reads back as the same double; Inf and -Inf. */
void show_real(char out[32], double real);

const char *show_type(kv_type type); /* "null", "integer", "real", "text", "blob" */

#endif
