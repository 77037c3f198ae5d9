/*
** cmd_tree.c - the nested tree's own commands, on nodes with and without a value.
**
**     KV.CHILDREN path          names of the direct children, in order; "" is the top
**     KV.TREE path [DEPTH n]    every node at and below: for each [path, value or nil, children]
**     KV.DELTREE path           (cmd_key.c) takes the values at and below away; how many
**
** A reply of KV.TREE has the whole keypath of each node, so that few deep keys can ask for gigabytes; a
** node can have millions of children; and no other client is served while a reply is made. So both
** replies are limited to TREE_REPLY_MAX bytes.
*/
#include "commands.h"
#include "reply.h"

#include <stdlib.h>

#define TREE_REPLY_MAX ((size_t)64 << 20)

static size_t depth_of(const resp_arg *path) {
  size_t depth = path->size > 0;
  for (size_t i = 0; i < path->size; i++) depth += path->data[i] == '/';
  return depth;
}

/* A walk over a root's nodes down to so many levels below it; NULL: the call is answered. */
static kv_walk *open_walk(call *x, const resp_arg *root, size_t levels) {
  kv_walk *walk;
  kv_error err;
  if (root->size > 0 && !call_check_key(x, root)) return NULL;
  size_t depth = depth_of(root);
  size_t depth_max = levels > KV_KEYPATH_SIZE_MAX ? SIZE_MAX : depth + levels;
  if (kv_walk_open(x->server->db, root->data, root->size, depth_max, &walk, &err) == KV_OK) {
    return walk;
  }
  call_fail(x, &err);
  return NULL;
}

/* Whether the reply that begins there has got too large. */
static bool is_too_large(const call *x, size_t begin) {
  return !bytes_failed(x->out) && x->out->size - begin > TREE_REPLY_MAX;
}

/* An error in its place. */
static void refuse(call *x, size_t begin, const char *advice) {
  x->out->size = begin;
  reply_error(x->out, "ERR kvstore: the reply would take more than %zu bytes; %s", TREE_REPLY_MAX,
              advice);
}

void cmd_kv_children(call *x) {
  const resp_arg *root = &x->args[1];
  kv_walk *walk = open_walk(x, root, 1);
  if (walk == NULL) return;
  size_t begin = reply_array_begin(x->out), count = 0;
  size_t head = root->size > 0 ? root->size + 1 : 0;
  int rc = KV_OK;
  kv_node node;
  for (; rc == KV_OK && kv_walk_node(walk, &node); rc = kv_walk_next(walk)) {
    if (node.size <= head) continue; /* the root itself */
    reply_bulk(x->out, node.path + head, node.size - head);
    count++;
    if (bytes_failed(x->out) || is_too_large(x, begin)) break;
  }
  kv_walk_close(walk);
  if (is_too_large(x, begin)) {
    refuse(x, begin, "SCAN with MATCH path/* gives the keys in parts");
    return;
  }
  reply_array_end(x->out, begin, count);
  if (rc != KV_OK) call_fail(x, &(kv_error){.code = rc, .text = "out of memory"});
}

void cmd_kv_tree(call *x) {
  int64_t levels = INT64_MAX;
  if (x->count == 4 && call_is(&x->args[2], "DEPTH")) {
    if (!call_integer(x, &x->args[3], &levels)) return;
  } else if (x->count != 2) {
    call_reply_syntax_error(x);
    return;
  }
  if (levels < 0) {
    call_reply_syntax_error(x);
    return;
  }
  kv_walk *walk = open_walk(x, &x->args[1], (size_t)levels);
  if (walk == NULL) return;
  size_t begin = reply_array_begin(x->out), count = 0;
  int rc = KV_OK;
  kv_node node;
  for (; rc == KV_OK && kv_walk_node(walk, &node); rc = kv_walk_next(walk)) {
    kv_value value;
    uint64_t children, descendants;
    kv_walk_value(walk, &value);
    kv_walk_counts(walk, &children, &descendants);
    reply_array(x->out, 3);
    reply_bulk(x->out, node.path, node.size);
    call_reply_value(x, &value);
    reply_integer(x->out, (int64_t)children);
    count++;
    if (bytes_failed(x->out) || is_too_large(x, begin)) break;
  }
  kv_walk_close(walk);
  if (is_too_large(x, begin)) {
    refuse(x, begin, "ask for fewer nodes, with DEPTH or a longer path");
    return;
  }
  reply_array_end(x->out, begin, count);
  if (rc != KV_OK) call_fail(x, &(kv_error){.code = rc, .text = "out of memory"});
}
