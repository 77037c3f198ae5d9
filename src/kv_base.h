/*
** kv_base.h - the vocabulary every layer shares: error codes, an error with its text, a value.
**
** Included by every other header of the engine and by nothing outside it directly; users of the
** engine include kv.h, which includes this.
*/
#ifndef KV_BASE_H
#define KV_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Results. Every function that can fail returns KV_OK or one of these; results come back through
** the last pointers, which stay untouched on failure. */
enum {
  KV_OK = 0,
  KV_ENOMEM = -1,    /* an allocation failed; nothing changed */
  KV_EBUSY = -2,     /* another writer has the turn, or another process the file */
  KV_EIO = -3,       /* the operating system failed a call; the text names call, file and reason */
  KV_EFULL = -4,     /* no space on the disk, or a stated limit of the store is reached */
  KV_EREADONLY = -5, /* the store, the file or the handle cannot be written */
  KV_ECANTOPEN = -6, /* the file cannot be opened or created */
  KV_EFOREIGN = -7,  /* the file is not one of our logs; it was left as it is */
  KV_EVERSION = -8,  /* the log was made by a newer version; it was left as it is */
  KV_EDAMAGED = -9,  /* a log whose promised content does not verify */
  KV_EKEYPATH = -10, /* not a keypath */
  KV_ETOOBIG = -11,  /* longer than a stated limit */
  KV_EMISUSE = -12,  /* the call does not fit the state of its object */
  KV_ETORN = -13,    /* an unfinished or unverifiable transaction; internal to reading a log */
  KV_EMOVED = -14,   /* the log's name leads to another file than the open one, or nowhere */
  KV_EINTERRUPTED = -15 /* the caller's kv_waiting ended a wait; nothing changed */
};

/* An error in words: what, where, and what would be right. Filled by the function that detects
** it; a caller that wants no text passes NULL. The text carries no "kvstore: " in front and no
** full stop behind, so that each face can dress it. */
typedef struct kv_error {
  int code;
  char text[1024];
} kv_error;

/* Store code and formatted text into err (which may be NULL); return code. A macro, so that compilers and
** analyzers see which code a caller gets back. */
#define kv_error_set(err, code, ...)                                                               \
  kv_error_returned(kv_error_write((err), (code), __VA_ARGS__), (code))

int kv_error_write(kv_error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static inline int kv_error_returned(int written, int code) {
  (void)written;
  return code;
}

/* SQLite's five storage classes. The numbers are stored in tree leaves; do not renumber. */
typedef enum kv_type { KV_NULL = 0, KV_INTEGER = 1, KV_REAL = 2, KV_TEXT = 3, KV_BLOB = 4 } kv_type;

/* A value. data and size are for KV_TEXT and KV_BLOB only; the bytes belong to whoever made the
** value and live as long as that function says. A text need not be valid UTF-8 and may hold NULs. */
typedef struct kv_value {
  kv_type type;
  union {
    int64_t integer;
    double real;
    struct {
      const char *data;
      size_t size; /* bytes */
    };
  };
} kv_value;

/* How a handle's calls wait for other threads and processes; kv.h, kv_options. The functions are called
** by the thread that waits, every ten milliseconds or so. */
typedef struct kv_waiting {
  unsigned (*timeout_ms)(void *context); /* what to wait at most; NULL: a minute */
  bool (*is_interrupted)(void *context); /* whether to wait no longer; NULL: never */
  void *context;
} kv_waiting;

/* When a commit returns; kv.h tells what each promises. */
typedef enum kv_sync { KV_SYNC_OFF = 0, KV_SYNC_NORMAL = 1, KV_SYNC_FULL = 2 } kv_sync;

/* How to commit; kv.h, kv_commit. */
enum { KV_UNDOABLE = 1, KV_KEEP_TURN = 2, KV_NO_WAIT = 4 };

/* Limits, each stated in the README too. */
#define KV_KEYPATH_SIZE_MAX 65535u    /* bytes in a keypath */
#define KV_VALUE_SIZE_MAX 2147483647u /* bytes in a text or blob; SQLite's own limit is lower */
#define KV_ENTRIES_MAX 4294967295u    /* values in one store */

#endif
