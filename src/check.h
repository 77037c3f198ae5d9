/* check.h - whether a store's tree and its log agree with themselves and with each other. */
#ifndef CHECK_H
#define CHECK_H

#include "store.h"

/* Check the published version of the tree, then read the log anew up to that version, verifying
** every checksum, and compare. Readers and writers go on meanwhile; it needs as much memory as the
** tree has again. KV_OK; KV_EDAMAGED with the first thing found wrong; KV_ENOMEM, KV_EIO,
** KV_ECANTOPEN. */
int check_store(store *s, const kv_waiting *waiting, kv_error *err);

#endif
