/*
** glob.h - Redis' patterns: `*`, `?`, `[abc]`, `[^a]`, `[a-z]`, and `\` before a character that is meant
** as it stands. `*` and `?` match `/` like any other byte.
*/
#ifndef GLOB_H
#define GLOB_H

#include <stdbool.h>
#include <stddef.h>

/* Whether all of text matches. Takes at most pattern_size * text_size steps. */
bool glob_match(const char *pattern, size_t pattern_size, const char *text, size_t text_size);

/* Bytes at the beginning of the pattern that every match begins with. */
size_t glob_literal_size(const char *pattern, size_t size);

#endif
