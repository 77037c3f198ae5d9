/* stat.h - the table kvstore_stat. */
#ifndef STAT_H
#define STAT_H

#include "face.h"

/* The module, for sqlite3_create_module_v2; it needs no client data and no CREATE VIRTUAL TABLE. */
extern const sqlite3_module stat_module;

#endif
