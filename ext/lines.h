/* lines.h - the table-valued function kvstore_log. */
#ifndef LINES_H
#define LINES_H

#include "face.h"

/* The module, for sqlite3_create_module_v2; it needs no client data. */
extern const sqlite3_module lines_module;

#endif
