/*
** nodes.c - kvstore_tree(table [, root]): every node of the nested tree, with or without a value.
**
**     SELECT path, children FROM kvstore_tree('kv', 'usr/share') WHERE depth = 3;
**
** table is the name of a kvstore table of this connection, `schema.name` if several have it; root
** the keypath to start at, itself included, '' or none for all. Rows come in the order of path. An
** upper bound on depth is taken: what lies deeper is passed over and costs nothing.
*/
#include "nodes.h"

#include "table.h"

#include <string.h>

enum {
  NODE_PATH,
  NODE_NAME,
  NODE_DEPTH,
  NODE_VALUE,
  NODE_HAS_VALUE,
  NODE_CHILDREN,
  NODE_DESCENDANTS,
  NODE_TABLE,
  NODE_ROOT
};

static const char declaration[] =
    "CREATE TABLE x(path TEXT, name TEXT, depth INTEGER, value, has_value INTEGER, "
    "children INTEGER, descendants INTEGER, \"table\" HIDDEN, root HIDDEN)";

/* idxNum: which arguments xFilter gets, in this order. */
enum { WALK_TABLE = 1, WALK_ROOT = 2, WALK_DEPTH = 4, WALK_DEPTH_STRICT = 8 };

typedef struct nodes_table {
  sqlite3_vtab base;
  session *session;
} nodes_table;

typedef struct nodes_cursor {
  sqlite3_vtab_cursor base;
  kv_walk *walk;
  sqlite3_int64 row;
} nodes_cursor;

static int nodes_connect(sqlite3 *connection, void *context, int argc, const char *const *argv,
                         sqlite3_vtab **out, char **message) {
  (void)argc, (void)argv, (void)message;
  int rc = sqlite3_declare_vtab(connection, declaration);
  if (rc != SQLITE_OK) return rc;
  nodes_table *t = sqlite3_malloc64(sizeof *t);
  if (t == NULL) return SQLITE_NOMEM;
  *t = (nodes_table){.session = context};
  session_hold(t->session);
  *out = &t->base;
  return SQLITE_OK;
}

static int nodes_disconnect(sqlite3_vtab *base) {
  session_drop(((nodes_table *)base)->session);
  sqlite3_free(base);
  return SQLITE_OK;
}

/* --- planning ---------------------------------------------------------------------------------- */

/* Which argument a constraint is, and whether it says < instead of <=; 0: none. */
static int argument_of(const struct sqlite3_index_constraint *constraint) {
  bool equal = constraint->op == SQLITE_INDEX_CONSTRAINT_EQ;
  switch (constraint->iColumn) {
  case NODE_TABLE:
    return equal ? WALK_TABLE : 0;
  case NODE_ROOT:
    return equal ? WALK_ROOT : 0;
  case NODE_DEPTH:
    if (equal || constraint->op == SQLITE_INDEX_CONSTRAINT_LE) return WALK_DEPTH;
    return constraint->op == SQLITE_INDEX_CONSTRAINT_LT ? WALK_DEPTH | WALK_DEPTH_STRICT : 0;
  default:
    return 0;
  }
}

static int nodes_best_index(sqlite3_vtab *base, sqlite3_index_info *info) {
  int taken[3] = {-1, -1, -1}, plan = 0;
  for (int i = 0; i < info->nConstraint; i++) {
    int argument = argument_of(&info->aConstraint[i]);
    if (argument == 0 || argument & plan) continue;
    if (!info->aConstraint[i].usable) {
      if (argument & WALK_DEPTH) continue;
      return SQLITE_CONSTRAINT;
    }
    plan |= argument;
    taken[argument & WALK_TABLE ? 0 : argument & WALK_ROOT ? 1 : 2] = i;
  }
  if (!(plan & WALK_TABLE)) {
    return face_fail_text(base, SQLITE_ERROR,
                          "kvstore_tree needs the name of a table: kvstore_tree('kv')");
  }
  int argument = 0;
  for (int i = 0; i < 3; i++) {
    if (taken[i] < 0) continue;
    info->aConstraintUsage[taken[i]].argvIndex = ++argument;
    info->aConstraintUsage[taken[i]].omit = i < 2;
  }
  info->idxNum = plan;
  info->idxStr = sqlite3_mprintf("kvstore: nodes%s", plan & WALK_DEPTH ? " to a depth" : "");
  info->needToFreeIdxStr = 1;
  info->estimatedRows = plan & WALK_DEPTH ? 1000 : plan & WALK_ROOT ? 10000 : 100000;
  info->estimatedCost = (double)info->estimatedRows;
  if (info->idxStr == NULL) return SQLITE_NOMEM;
  if (info->nOrderBy != 1 || info->aOrderBy[0].iColumn != NODE_PATH || info->aOrderBy[0].desc) {
    return SQLITE_OK;
  }
  bool utf8 = false;
  int rc = face_is_utf8(((nodes_table *)base)->session->connection, &utf8);
  info->orderByConsumed = utf8;
  return rc;
}

/* --- the table that is meant -------------------------------------------------------------------- */

/* SQLite connects a table when a statement first mentions it, and ours may be the first. SQLITE_NOMEM;
** whether there is such a table shows afterwards. */
static int connect_by_name(sqlite3 *connection, const char *schema, const char *name) {
  char *sql = schema != NULL ? sqlite3_mprintf("SELECT 1 FROM \"%w\".\"%w\" LIMIT 0", schema, name)
                             : sqlite3_mprintf("SELECT 1 FROM \"%w\" LIMIT 0", name);
  sqlite3_stmt *statement = NULL;
  int rc = SQLITE_NOMEM;
  if (sql != NULL) rc = sqlite3_prepare_v2(connection, sql, -1, &statement, NULL);
  (void)sqlite3_finalize(statement);
  sqlite3_free(sql);
  return rc == SQLITE_NOMEM ? rc : SQLITE_OK;
}

/* As SQLite resolves names: temp before main before what is attached. */
static table *find_by_name(session *s, const char *schema, const char *name) {
  table *best = NULL;
  int best_rank = 3;
  for (table *t = s->tables; t != NULL; t = t->next) {
    if (sqlite3_stricmp(t->name, name) != 0) continue;
    if (schema != NULL && sqlite3_stricmp(t->schema, schema) != 0) continue;
    int rank = sqlite3_stricmp(t->schema, "temp") == 0   ? 0
               : sqlite3_stricmp(t->schema, "main") != 0 ? 2
                                                         : 1;
    if (rank < best_rank) {
      best = t;
      best_rank = rank;
    }
  }
  return best;
}

static int find_table(nodes_table *t, sqlite3_value *value, table **out) {
  const char *text;
  size_t size;
  if (face_text(value, &text, &size) != SQLITE_OK) return SQLITE_NOMEM;
  if (text == NULL) {
    return face_fail_text(&t->base, SQLITE_ERROR, "kvstore_tree: the table's name is NULL");
  }
  session *s = t->session;
  const char *dot = strchr(text, '.');
  int rc = connect_by_name(s->connection, NULL, text);
  if (rc != SQLITE_OK) return rc;
  *out = find_by_name(s, NULL, text);
  if (*out == NULL && dot != NULL) {
    char *schema = sqlite3_mprintf("%.*s", (int)(dot - text), text);
    if (schema == NULL) return SQLITE_NOMEM;
    rc = connect_by_name(s->connection, schema, dot + 1);
    if (rc == SQLITE_OK) *out = find_by_name(s, schema, dot + 1);
    sqlite3_free(schema);
    if (rc != SQLITE_OK) return rc;
  }
  if (*out != NULL) return SQLITE_OK;
  return face_fail_text(&t->base, SQLITE_ERROR, "kvstore_tree: there is no kvstore table '%s'",
                        text);
}

/* --- walking ------------------------------------------------------------------------------------ */

static int nodes_open(sqlite3_vtab *base, sqlite3_vtab_cursor **out) {
  (void)base;
  nodes_cursor *c = sqlite3_malloc64(sizeof *c);
  if (c == NULL) return SQLITE_NOMEM;
  *c = (nodes_cursor){.walk = NULL};
  *out = &c->base;
  return SQLITE_OK;
}

static void stop(nodes_cursor *c) {
  if (c->walk != NULL) kv_walk_close(c->walk);
  c->walk = NULL;
}

static int nodes_close(sqlite3_vtab_cursor *base) {
  stop((nodes_cursor *)base);
  sqlite3_free(base);
  return SQLITE_OK;
}

/* The deepest depth that the constraint allows; SQLite checks it again, so that any upper bound on
** it is right. */
static size_t depth_limit(sqlite3_value *value, bool strict) {
  if (sqlite3_value_numeric_type(value) != SQLITE_INTEGER) return KV_KEYPATH_SIZE_MAX;
  sqlite3_int64 depth = sqlite3_value_int64(value) - strict;
  return depth < 0 ? 0 : depth > KV_KEYPATH_SIZE_MAX ? KV_KEYPATH_SIZE_MAX : (size_t)depth;
}

static int nodes_filter(sqlite3_vtab_cursor *base, int plan, const char *words, int argc,
                        sqlite3_value **argv) {
  (void)words, (void)argc;
  nodes_cursor *c = (nodes_cursor *)base;
  sqlite3_vtab *vtab = c->base.pVtab;
  stop(c);
  c->row = 0;
  table *t;
  int rc = find_table((nodes_table *)vtab, *argv++, &t);
  if (rc != SQLITE_OK) return rc;
  const char *root = "";
  size_t root_size = 0, depth_max = KV_KEYPATH_SIZE_MAX;
  kv_error err;
  if (plan & WALK_ROOT) {
    rc = face_text(*argv++, &root, &root_size);
    if (rc != SQLITE_OK || root == NULL) return rc;
    if (root_size > 0 && kv_keypath_check(root, root_size, &err) != KV_OK) {
      return face_fail_text(vtab, SQLITE_ERROR, "root: %s", err.text);
    }
  }
  if (plan & WALK_DEPTH) depth_max = depth_limit(*argv, (plan & WALK_DEPTH_STRICT) != 0);
  t->session->busy_timeout_ms = t->busy_timeout_ms;
  rc = kv_walk_open(t->link->db, root, root_size, depth_max, &c->walk, &err);
  return rc == KV_OK ? SQLITE_OK : face_fail(vtab, &err);
}

static int nodes_next(sqlite3_vtab_cursor *base) {
  nodes_cursor *c = (nodes_cursor *)base;
  c->row++;
  return face_code(kv_walk_next(c->walk));
}

static int nodes_eof(sqlite3_vtab_cursor *base) {
  const nodes_cursor *c = (const nodes_cursor *)base;
  kv_node node;
  return c->walk == NULL || !kv_walk_node(c->walk, &node);
}

static int nodes_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *out) {
  *out = ((nodes_cursor *)base)->row;
  return SQLITE_OK;
}

static int nodes_column(sqlite3_vtab_cursor *base, sqlite3_context *context, int column) {
  const nodes_cursor *c = (const nodes_cursor *)base;
  kv_node node;
  kv_value value;
  uint64_t children, descendants;
  size_t name;
  (void)kv_walk_node(c->walk, &node);
  switch (column) {
  case NODE_PATH:
    sqlite3_result_text64(context, node.path, node.size, SQLITE_TRANSIENT, SQLITE_UTF8);
    break;
  case NODE_NAME:
    name = node.size;
    while (name > 0 && node.path[name - 1] != '/') name--;
    sqlite3_result_text64(context, node.path + name, node.size - name, SQLITE_TRANSIENT,
                          SQLITE_UTF8);
    break;
  case NODE_DEPTH:
    sqlite3_result_int64(context, (sqlite3_int64)node.depth);
    break;
  case NODE_VALUE:
    kv_walk_value(c->walk, &value);
    face_result(context, &value, NULL);
    break;
  case NODE_HAS_VALUE:
    sqlite3_result_int(context, node.has_value);
    break;
  case NODE_CHILDREN:
  case NODE_DESCENDANTS:
    kv_walk_counts(c->walk, &children, &descendants);
    sqlite3_result_int64(context,
                         (sqlite3_int64)(column == NODE_CHILDREN ? children : descendants));
    break;
  default:
    break; /* the arguments are not asked for: they are omitted from the check */
  }
  return SQLITE_OK;
}

const sqlite3_module nodes_module = {
    .xConnect = nodes_connect,
    .xBestIndex = nodes_best_index,
    .xDisconnect = nodes_disconnect,
    .xOpen = nodes_open,
    .xClose = nodes_close,
    .xFilter = nodes_filter,
    .xNext = nodes_next,
    .xEof = nodes_eof,
    .xColumn = nodes_column,
    .xRowid = nodes_rowid,
};
