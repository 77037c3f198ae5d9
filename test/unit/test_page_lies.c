/*
** test_page_lies.c - the shared page says something else than the log: a bug, a stray pointer of another
** process, a disk that lost a sector. Nothing is written then, at a place that would be wrong; the log is
** as it was, and once it is closed everywhere it is opened with everything in it.
*/
#include "process_help.h"
#include "share.h"

#include <errno.h>

static void later_transaction(share_page *page) {
  atomic_fetch_add(&page->written_seq, 1);
}

static void earlier_transaction(share_page *page) {
  atomic_fetch_sub(&page->written_seq, 1);
}

static void later_end(share_page *page) {
  share_set_end(page, share_log_end(page) + 10, share_size(page) + 10);
}

static void earlier_end(share_page *page) {
  share_set_end(page, share_log_end(page) - 10, share_size(page));
}

/* Behind a line that is no COMMIT. */
static void end_in_transaction(share_page *page) {
  share_set_end(page, share_log_end(page) - 20, share_size(page));
}

/* As if the last transaction, of 30 bytes, were not there. */
static void less(share_page *page) {
  earlier_transaction(page);
  share_set_end(page, share_log_end(page) - 30, share_size(page));
}

static void no_end(share_page *page) {
  share_set_end(page, 0, 0);
}

static void end_nowhere(share_page *page) {
  share_set_end(page, UINT64_MAX - 5, UINT64_MAX - 5);
}

static void published_too_much(share_page *page) {
  atomic_fetch_add(&page->published_seq, 3);
}

static void durable_too_much(share_page *page) {
  atomic_fetch_add(&page->durable_seq, 3);
}

/* And its member died with the turn. */
static void died_at_later_end(share_page *page) {
  later_end(page);
  atomic_store(&page->unrepaired, 1);
}

static void died_at_earlier_transaction(share_page *page) {
  earlier_transaction(page);
  earlier_end(page);
  atomic_store(&page->unrepaired, 1);
}

typedef struct lie {
  const char *name;
  void (*tell)(share_page *page);
  bool may_be_repaired; /* what a member that died leaves is looked for in the log */
} lie;

static const lie lies[] = {{"later transaction", later_transaction, false},
                           {"earlier transaction", earlier_transaction, false},
                           {"later end", later_end, false},
                           {"earlier end", earlier_end, false},
                           {"end in a transaction", end_in_transaction, false},
                           {"a transaction less", less, false},
                           {"no end", no_end, false},
                           {"end nowhere", end_nowhere, false},
                           {"published too much", published_too_much, false},
                           {"durable too much", durable_too_much, false},
                           {"died at later end", died_at_later_end, true},
                           {"died at earlier transaction", died_at_earlier_transaction, true}};

/* A second member in this process. */
static void join(share *s, const char *path) {
  bool alone;
  *s = (share){.fd = -1};
  MUST(share_join(s, path, NULL, &alone, &help_err));
  CHECK(!alone);
  share_joined(s);
}

static void test_lie(const lie *l, kv_sync synchronous) {
  share liar;
  size_t size, size_after;
  (void)unlink("log");
  kv *db = help_open("log", synchronous, 1, 10);
  MUST(help_commit_put(db, "a", "1"));
  MUST(help_commit_put(db, "b", "2"));
  MUST(kv_flush(db, &help_err));
  join(&liar, "log");
  char *before = bytes_of("log", &size);
  l->tell(liar.page);
  int rc = help_commit_put(db, "c", "3");
  bool good = CHECK(rc != KV_OK || l->may_be_repaired);
  if (rc != KV_OK) good = CHECK(strstr(help_err.text, "log") != NULL) && good;
  char *after = bytes_of("log", &size_after);
  if (rc != KV_OK) {
    good = CHECK(size_after >= size || l->may_be_repaired) && good;
    good = CHECK(memcmp(before, after, size_after < size ? size_after : size) == 0) && good;
  }
  free(before);
  free(after);
  (void)kv_close(db, &help_err);
  share_leave(&liar);
  db = help_open_full("log");
  good = CHECK_STR(help_all(db), rc == KV_OK ? "a=1 b=2 c=3" : "a=1 b=2") && good;
  MUST(help_commit_put(db, "c", "3"));
  MUST(kv_close(db, &help_err));
  if (!good) printf("  %s, mode %d: %d %s\n", l->name, (int)synchronous, rc, help_err.text);
}

/* The last one to leave cuts off only what he knows to be room ahead: with a page that lies
** about the end, nothing. */
static void test_lie_at_leaving(const lie *l, bool empty) {
  share liar;
  size_t size, size_after;
  (void)unlink("log");
  kv *db = help_open_full("log");
  MUST(kv_begin(db, 0, &help_err));
  kv_rollback(db);
  if (!empty) MUST(help_commit_put(db, "a", "1"));
  join(&liar, "log");
  char *before = bytes_of("log", &size);
  l->tell(liar.page);
  share_leave(&liar);
  (void)kv_close(db, &help_err);
  char *after = bytes_of("log", &size_after);
  bool good = CHECK(size_after <= size) && CHECK(memcmp(after, before, size_after) == 0);
  size_t zeros = size_after;
  while (zeros < size && before[zeros] == '\0') zeros++;
  good = CHECK_INT(zeros, size) && good;
  free(before);
  free(after);
  db = help_open_full("log");
  good = CHECK_STR(help_all(db), empty ? "" : "a=1") && good;
  MUST(help_commit_put(db, "b", "2"));
  MUST(kv_close(db, &help_err));
  if (!good) printf("  %s, at leaving\n", l->name);
}

/* What was committed is not in the page any more: no flush would ever cover it. */
static void test_flush_lacks(void) {
  share liar;
  (void)unlink("log");
  kv *db = help_open("log", KV_SYNC_NORMAL, 50, 3600000);
  MUST(help_commit_put(db, "a", "1"));
  MUST(help_commit_put(db, "b", "2"));
  join(&liar, "log");
  earlier_transaction(liar.page);
  CHECK_INT(kv_flush(db, &help_err), KV_EIO);
  CHECK(strstr(help_err.text, "log-shm' lacks transactions that were committed") != NULL);
  CHECK_INT(kv_begin(db, 0, &help_err), KV_EREADONLY);
  (void)kv_close(db, NULL);
  share_leave(&liar);
  db = help_open_full("log");
  CHECK_STR(help_all(db), "a=1 b=2");
  MUST(kv_close(db, &help_err));
}

int main(void) {
  test_flush_lacks();
  for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
    test_lie_at_leaving(&lies[i], false);
    test_lie_at_leaving(&lies[i], true);
  }
  for (int mode = KV_SYNC_OFF; mode <= KV_SYNC_FULL; mode++) {
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) test_lie(&lies[i], (kv_sync)mode);
  }
  return unit_done();
}
