/* face.c - errors and values between the engine and SQLite. See face.h. */
#include "face.h"

#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#define SHORT_TEXT_MAX 255u /* bytes */

int face_code(int kv_code) {
  switch (kv_code) {
  case KV_OK:
    return SQLITE_OK;
  case KV_ENOMEM:
    return SQLITE_NOMEM;
  case KV_EBUSY:
    return SQLITE_BUSY;
  case KV_EINTERRUPTED:
    return SQLITE_INTERRUPT;
  case KV_EIO:
    return SQLITE_IOERR;
  case KV_EFULL:
    return SQLITE_FULL;
  case KV_EREADONLY:
    return SQLITE_READONLY;
  case KV_EMOVED:
    return SQLITE_READONLY_DBMOVED;
  case KV_ECANTOPEN:
    return SQLITE_CANTOPEN;
  case KV_EFOREIGN:
  case KV_EVERSION:
    return SQLITE_NOTADB;
  case KV_EDAMAGED:
    return SQLITE_CORRUPT_VTAB;
  case KV_EKEYPATH:
    return SQLITE_CONSTRAINT;
  case KV_ETOOBIG:
    return SQLITE_TOOBIG;
  case KV_EMISUSE:
    return SQLITE_MISUSE;
  default:
    return SQLITE_ERROR;
  }
}

int face_check_interrupt(sqlite3 *connection) {
#if SQLITE_VERSION_NUMBER >= 3041000
  if (sqlite3_libversion_number() >= 3041000) {
    return sqlite3_is_interrupted(connection) ? SQLITE_INTERRUPT : SQLITE_OK;
  }
#endif
  /* The parser looks at it for every space. Nothing is run, so that no trace shows it and no
  ** authorizer is asked. */
  sqlite3_stmt *statement = NULL;
  int rc = sqlite3_prepare_v2(connection, " ", -1, &statement, NULL);
  (void)sqlite3_finalize(statement);
  return rc == SQLITE_INTERRUPT ? rc : SQLITE_OK;
}

/* No function of SQLite's returns the encoding, so a literal's bytes have to show it. An authorizer that
** lets anybody read allows SELECT; one that lets somebody only write may still allow the PRAGMA. */
int face_is_utf8(sqlite3 *connection, bool *out) {
  sqlite3_stmt *statement = NULL;
  bool is_literal = true;
  int rc = sqlite3_prepare_v2(connection, "SELECT 'UTF-8'", -1, &statement, NULL);
  if (rc == SQLITE_AUTH) {
    is_literal = false;
    rc = sqlite3_prepare_v2(connection, "PRAGMA encoding", -1, &statement, NULL);
  }
  if (rc == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW) {
    const char *text = is_literal ? sqlite3_column_blob(statement, 0)
                                  : (const char *)sqlite3_column_text(statement, 0);
    if (text != NULL) *out = memcmp(text, "UTF-8", 5) == 0;
  }
  int end = sqlite3_finalize(statement);
  return rc != SQLITE_OK ? rc : end;
}

int face_fail(sqlite3_vtab *table, const kv_error *err) {
  return face_fail_text(table, face_code(err->code), "%s", err->text);
}

int face_fail_write(sqlite3_vtab *table, int code, const char *format, ...) {
  va_list args;
  va_start(args, format);
  char *text = sqlite3_vmprintf(format, args);
  va_end(args);
  sqlite3_free(table->zErrMsg);
  table->zErrMsg = text != NULL ? sqlite3_mprintf("kvstore: %s", text) : NULL;
  sqlite3_free(text);
  return code;
}

void face_result_text(sqlite3_context *context, const char *text, size_t size) {
  char copy[SHORT_TEXT_MAX + 1];
  if (size > SHORT_TEXT_MAX || memchr(text, '\0', size) != NULL) {
    sqlite3_result_text64(context, text, size, SQLITE_TRANSIENT, SQLITE_UTF8);
    return;
  }
  memcpy(copy, text, size);
  copy[size] = '\0';
  sqlite3_result_text(context, copy, -1, SQLITE_TRANSIENT);
}

/* SQLite asks for the NUL behind a text, or makes a copy for it later, but only without a size. */
static void result_string(sqlite3_context *context, const kv_value *value,
                          void (*release)(void *)) {
  if (memchr(value->data, '\0', value->size) == NULL) {
    sqlite3_result_text(context, value->data, -1, release);
  } else {
    sqlite3_result_text64(context, value->data, value->size, release, SQLITE_UTF8);
  }
}

void face_result(sqlite3_context *context, const kv_value *value, const char *hold) {
  void (*release)(void *) = hold != NULL ? kv_bytes_release : SQLITE_TRANSIENT;
  switch (value->type) {
  case KV_INTEGER:
    sqlite3_result_int64(context, value->integer);
    break;
  case KV_REAL:
    sqlite3_result_double(context, value->real);
    break;
  case KV_TEXT:
    result_string(context, value, release);
    break;
  case KV_BLOB:
    sqlite3_result_blob64(context, value->data, value->size, release);
    break;
  default:
    sqlite3_result_null(context);
    break;
  }
}

int face_text(sqlite3_value *from, const char **text, size_t *size) {
  bool null = sqlite3_value_type(from) == SQLITE_NULL; /* it may become one for want of memory */
  *size = 0;
  *text = (const char *)sqlite3_value_text(from);
  if (*text == NULL) return null ? SQLITE_OK : SQLITE_NOMEM;
  *size = (size_t)sqlite3_value_bytes(from);
  return SQLITE_OK;
}

int face_text_in_place(sqlite3_value *from, bool utf8, const char **text, size_t *size) {
  if (!utf8 || sqlite3_value_type(from) != SQLITE_TEXT) return face_text(from, text, size);
  *text = sqlite3_value_blob(from);
  *size = (size_t)sqlite3_value_bytes(from);
  if (*text == NULL) *text = ""; /* an empty one has no address */
  return SQLITE_OK;
}

int face_value(sqlite3_value *from, bool utf8, kv_value *out) {
  *out = (kv_value){.type = KV_NULL};
  switch (sqlite3_value_type(from)) {
  case SQLITE_INTEGER:
    out->type = KV_INTEGER;
    out->integer = sqlite3_value_int64(from);
    break;
  case SQLITE_FLOAT:
    out->type = KV_REAL;
    out->real = sqlite3_value_double(from);
    break;
  case SQLITE_TEXT:
    out->type = KV_TEXT;
    return face_text_in_place(from, utf8, &out->data, &out->size);
  case SQLITE_BLOB:
    out->type = KV_BLOB;
    out->data = sqlite3_value_blob(from);
    out->size = (size_t)sqlite3_value_bytes(from);
    /* An empty one has no address; a zeroblob that could not be written out has become a NULL. */
    if (out->data == NULL && sqlite3_value_type(from) != SQLITE_BLOB) return SQLITE_NOMEM;
    break;
  default:
    break;
  }
  return SQLITE_OK;
}
