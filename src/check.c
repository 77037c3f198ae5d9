/* check.c - whether a store's tree and its log agree. See check.h. */
#include "check.h"

#include "os.h"
#include "tree_check.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Replay the log into a tree of its own, up to the version that is compared with. *passed: the file
** was replaced by a checkpoint that is newer than the version, which is nowhere any more. */
static int compare_with_log(store *s, const tree_pin *pin, int fd, bool *passed, kv_error *err) {
  tree copy;
  recovery found;
  if (tree_init(&copy) != KV_OK) return kv_error_set(err, KV_ENOMEM, "out of memory");
  int rc = tree_edit_begin(&copy);
  if (rc == KV_OK) {
    rc = recover_replay(fd, s->path, &copy, pin->seq, &found, err);
    *passed = rc == KV_OK && found.transactions == 0 && found.header.base_seq > 0;
    if (rc == KV_OK && !*passed && found.seq != pin->seq) {
      rc = kv_error_set(err, KV_EDAMAGED, "'%s' ends before the newest committed transaction",
                        s->path);
    }
    if (rc == KV_OK && !*passed)
      rc = tree_compare(pin->top, "the tree", copy.edit.top, "the log", err);
    tree_edit_rollback(&copy);
  } else {
    rc = kv_error_set(err, rc, "out of memory");
  }
  tree_destroy(&copy);
  return rc;
}

static int check_version(store *s, bool *passed, kv_error *err) {
  tree_pin pin;
  if (tree_pin_published(&s->tree, &pin) != KV_OK) {
    return kv_error_set(err, KV_ENOMEM, "out of memory");
  }
  int rc = tree_check(pin.top, err);
  if (rc == KV_OK && s->path != NULL) {
    int fd = os.open(s->path, O_RDONLY | O_NONBLOCK, 0);
    if (fd >= 0) {
      struct stat facts;
      rc = os.fstat(fd, &facts) == 0 ? store_check_named(s, (uint64_t)facts.st_ino, err)
                                     : log_error(err, "fstat", s->path);
      if (rc == KV_OK) rc = compare_with_log(s, &pin, fd, passed, err);
      os.close(fd);
    } else if (errno != ENOENT || pin.seq != 0) { /* it is created with the first transaction */
      rc = kv_error_set(err, KV_ECANTOPEN, "cannot open '%s': %s", s->path, strerror(errno));
    }
  }
  if (tree_unpin(&s->tree, &pin)) store_tidy_by_reader(s);
  return rc;
}

int check_store(store *s, const kv_waiting *waiting, kv_error *err) {
  int rc;
  bool passed;
  do {
    passed = false;
    rc = store_refresh(s, waiting, err);
    if (rc == KV_OK) rc = check_version(s, &passed, err);
  } while (rc == KV_OK && passed);
  return rc;
}
