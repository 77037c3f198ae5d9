/*
** keypath.h - what a keypath is.
**
**     keypath = segment *("/" segment)        segment = 1*(any byte but NUL and "/")
**
** Valid UTF-8 as a whole (no surrogates, no overlong forms, nothing above U+10FFFF), at most
** KV_KEYPATH_SIZE_MAX bytes, any number of segments. So no leading, trailing or doubled slash.
** Order is memcmp of the whole keypath. Threads: any; nothing here keeps state.
*/
#ifndef KEYPATH_H
#define KEYPATH_H

#include "kv_base.h"

/* KV_OK if the size bytes at key are a keypath; else KV_EKEYPATH, or KV_ETOOBIG if it is too long,
** with err saying what is wrong and at which byte:
**   invalid keypath 'a//b': empty segment at byte 2
**   invalid keypath '': it is empty
**   invalid keypath 'a?b...': NUL at byte 1            (bytes that do not print appear as '?')
**   invalid keypath 'a': byte 1 (0xff) is not valid UTF-8
**   keypath of 70000 bytes is too long: at most 65535 bytes
** A keypath longer than 64 bytes is quoted by its first 64 bytes and "...". */
int keypath_check(const char *key, size_t size, kv_error *err);

/* The number of segments of a valid keypath; 0 for the empty string. */
size_t keypath_depth(const char *key, size_t size);

/* Bytes of the part before the last "/" of a valid keypath; 0 if it has one segment. */
size_t keypath_parent_size(const char *key, size_t size);

/* Where the last segment of a valid keypath starts. */
size_t keypath_name_offset(const char *key, size_t size);

#endif
