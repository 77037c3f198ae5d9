/* nodes.h - the table-valued function kvstore_tree. */
#ifndef NODES_H
#define NODES_H

#include "face.h"

/* The module, for sqlite3_create_module_v2 with the connection's session as client data. */
extern const sqlite3_module nodes_module;

#endif
