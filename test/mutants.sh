#!/bin/bash
# Breaks the engine on purpose, in one way after another, and tells whether the tests notice: a test
# that nothing makes fail proves nothing. `make mutants` calls this; it takes some minutes.
#
#   test/mutants.sh              all of them
#   test/mutants.sh checkpoint   those whose name or test has this in it
#   DRY=1 test/mutants.sh        only whether each still finds its place in the sources
#   PART=1/2 test/mutants.sh     every second one, beginning with the first; 2/2 has the others
#
# Each works on a copy of the sources in build/mutants; parts that run at the same time need a clone of
# the tree each. A mutant is killed if the test named with it fails, or does not come to its end in time.
# If a test fails without a mutant, its mutants are not tried. The last line is `N killed, N survived`;
# exit status 1 if any survived, 2 if any was not tried or the list no longer fits the sources.
set -u
cd "$(dirname "$0")/.." || exit 2

TREE=$PWD/build/mutants
LIMIT=${LIMIT:-240} # seconds for one test
PATTERN=${1-}
PART=${PART:-1/1}
count=0 killed=0 survived=0 untried=0
declare -A sound # of each test: how many seconds it may take with a mutant; 0: it fails without one

# The copy is kept between calls, so that only what differs is compiled.
prepare() {
  local file folders=(src ext test bench scripts)
  mkdir -p "$TREE" || exit 2
  while read -r file; do
    cmp -s "$file" "$TREE/$file" || install -D "$file" "$TREE/$file"
  done < <(find "${folders[@]}" -type f; echo Makefile; echo VERSION)
  while read -r file; do
    [[ -f $file ]] || rm "$TREE/$file"
  done < <(cd "$TREE" && find "${folders[@]}" -type f)
}

build() { # TEST: leave its command in the array `run`
  local test=${1%% *} args=() targets
  [[ $1 == *' '* ]] && args=("${1#* }")
  if [[ $test == *.test ]]; then
    targets=(all build/release/test/reap)
    run=(env "KVSTORE_LIB=$TREE/kvstore.so" "KVSTORE_BIN=$TREE/kvstore" BUILD=build/release
      test/run.sh "${test%.test}")
  else
    targets=("build/release/test/unit/$test")
    [[ $test == fuzz_* ]] && targets=("build/release/test/fuzz/$test")
    run=("$TREE/${targets[0]}" "${args[@]}")
  fi
  make -C "$TREE" --no-print-directory SETUP=: CI= WERROR= CFLAGS="-O1 -g" "${targets[@]}" >"$TREE/build.txt" 2>&1
}

# passes SECONDS: whether the test in `run` does so in time, in a folder of its own.
passes() {
  local limit=$1
  if [[ ${run[0]} == env ]]; then
    (cd "$TREE" && timeout -k 5 "$limit" "${run[@]}" >"$TREE/run.txt" 2>&1 </dev/null)
  else
    rm -rf "$TREE/tmp" && mkdir "$TREE/tmp" &&
      (cd "$TREE/tmp" && timeout -k 5 "$limit" "${run[@]}" >"$TREE/run.txt" 2>&1 </dev/null)
  fi
}

# Without a mutant a test has to pass, or its failing would say nothing. Asked once for each. How long
# that took tells when a mutant has to be taken for one that never ends.
check_sound() { # TEST
  local start=$SECONDS limit
  if [[ ! ${sound[$1]-} ]]; then
    build "$1" || { cat "$TREE/build.txt" >&2; exit 2; }
    if passes "$LIMIT"; then
      limit=$((30 + 3 * (SECONDS - start)))
      sound[$1]=$((limit < LIMIT ? limit : LIMIT))
    else
      echo "$1 fails as it is" >&2
      cat "$TREE/run.txt" >&2
      sound[$1]=0
    fi
  fi
  ((sound[$1] > 0))
}

# mutant NAME TEST FILE PERL...: apply each PERL to the whole text of FILE; TEST has to fail then.
mutant() {
  local name=$1 test=$2 file=$3 start perl why=
  shift 3
  [[ "$name $test" == *"$PATTERN"* ]] || return
  ((++count % ${PART#*/} == ${PART%/*} % ${PART#*/})) || return
  if [[ ! ${DRY-} ]] && ! check_sound "$test"; then
    printf '%-46s %-24s        not tried\n' "$name" "$test"
    ((++untried))
    return
  fi
  start=$SECONDS
  cp "src/$file" "$TREE/src/$file.mutant"
  for perl; do
    cp "$TREE/src/$file.mutant" "$TREE/src/$file.before"
    perl -0pi -e "$perl" "$TREE/src/$file.mutant"
    if cmp -s "$TREE/src/$file.mutant" "$TREE/src/$file.before"; then
      echo "$name: $file has nothing like this any more: $perl" >&2
      why='not tried'
    fi
  done
  if [[ $why || ${DRY-} ]]; then
    rm -f "$TREE/src/$file.mutant" "$TREE/src/$file.before"
    [[ $why ]] && ((++untried))
    return
  fi
  mv "$TREE/src/$file.mutant" "$TREE/src/$file"
  rm -f "$TREE/src/$file.before"
  if ! build "$test"; then
    echo "$name: does not compile" >&2
    cat "$TREE/build.txt" >&2
    cp "src/$file" "$TREE/src/$file"
    ((++untried))
    return
  fi
  passes "${sound[$test]}" 2>/dev/null
  local rc=$?
  case $rc in
    0) why=SURVIVED ;;
    124 | 137) why='killed: did not end' ;;
    *)
      why=$(grep -aE -m 1 'failed: |ssertion|\.[ch]:[0-9]+: |: FAILED$' "$TREE/run.txt" | tr -d '\0')
      why="killed: $(sed -E 's#^( +|test/(unit|fuzz)/)##' <<<"${why:-exit status $rc}" | cut -c 1-60)"
      ;;
  esac
  if ((rc == 0)); then ((++survived)); else ((++killed)); fi
  printf '%-46s %-24s %3d s  %s\n' "$name" "$test" $((SECONDS - start)) "$why"
  cp "src/$file" "$TREE/src/$file"
}

prepare

# --- flushing -------------------------------------------------------------------------------------------

mutant 'a flush that flushes nothing' 'test_crash commits' commit.c \
  's/rc = log_writer_sync\(&log, err\);/rc = KV_OK;/'
mutant 'published before the flush' 'test_crash commits' commit.c \
  's/>= seq && seq - durable <= version->window;/>= seq;/' \
  's/(q->flusher.deadline_ns = 0;\n  write_out\(q\);)/$1 show(q);/'
mutant 'a flush covers what was written after it began' 'test_crash flush' commit.c \
  's/(if \(rc == KV_OK\) \{\n)(    share_raise\(&page->durable_seq, covered)/$1 covered = atomic_load(&page->written_seq);\n$2/'
mutant 'twice as much unflushed in NORMAL' 'test_crash commits' commit.c \
  's/: 2 \* \(uint64_t\)settings->group_size/: 4 * (uint64_t)settings->group_size/'
mutant 'a flush that fails counts' 'test_crash failed' commit.c \
  's/if \(rc == KV_OK\) \{\n    share_raise/if (rc != 1) {\n    share_raise/' \
  's/if \(rc != KV_OK\) return rc;\n  if \(q->log.fd == log.fd/if (q->log.fd == log.fd/'
mutant 'goes on after a failed flush' 'test_kv_faults' commit.c \
  's/(flush\);\n    if \(rc != KV_OK\)) fail\(q, rc, why.text\);/$1 share_raise(\&q->page->durable_seq, seq);/'
mutant 'pages that a failed flush left clean stay so' 'test_crash failed' log_write.c \
  's/(void log_writer_soil\(log_writer \*w\) \{\n)/$1  if (w->end > 0) return;\n/'
mutant 'closing does not flush' 'test_crash' commit.c \
  's/q->promised && q->failed == KV_OK \? commit_flush\(q, err\) : KV_OK/KV_OK/'

# --- writing --------------------------------------------------------------------------------------------

mutant 'a write that fails counts' 'test_kv_faults' commit.c \
  's/  if \(rc != KV_OK\) \{\n    fail\(q, rc, why.text\);\n    return;\n  \}\n  q->stats.bytes/  q->stats.bytes/'
mutant 'a full disk is for ever' 'test_kv_faults' commit.c \
  's/if \(rc == KV_EFULL && q->log.size == q->log.end\) \{/if (rc == 1) {/'
mutant 'what the full disk refused is seen' 'test_kv_faults' commit.c \
  's/  tree_take_back\(q->tree, kept_version\(q\)\);\n//'
mutant 'what the full disk refused can come back' 'test_commit' commit.c \
  's/return ticket->lost \? is_cut_soft\(q\) : /return !ticket->lost \&\& /'
mutant 'a lost commit is done by its number' 'test_commit' commit.c \
  's/return ticket->lost \? is_cut_soft\(q\) : (!is_done\(q, ticket\));/return $1 \&\& (!ticket->lost || is_cut_soft(q));/'
mutant 'what was moved is taken back to' 'test_commit' commit.c \
  's/while \(version != q->tree->head && version->next->seq <= q->kept_seq\)/while (version->seq < q->kept_seq)/'
mutant 'moves on what may be lost' 'test_kv_faults' store_tidy.c \
  's/  commit_settle\(&s->queue\);\n//'
mutant 'an edit on what was refused is committed' 'test_commit' commit.c \
  's/    rc = tell_loss\(q, err\); \/\* the edit[^\n]*\n//'
mutant 'what was taken back is not freed' 'test_tree_versions' tree_version.c \
  's/  if \(head->top != to->top && head->top != 0\) garbage_add\(t, head->top, stamp\);\n//'
mutant 'what was taken back frees what is kept' 'test_tree_versions' tree_version.c \
  's/    if \(garbage_birth\(&entry\) > stamp\) t->garbage/    t->garbage/'
mutant 'half of a failed write stays' 'test_kv_faults' log_write.c \
  's/    w->size = UINT64_MAX; \/\* unknown \*\/\n    log_writer_trim\(w\);\n//'
mutant 'a short write counts as whole' 'test_fault_lives' os.c \
  's/size -= \(size_t\)wrote;/size = 0;/'

# --- a new file -----------------------------------------------------------------------------------------

mutant 'creation does not sync the folder' 'test_crash commits' log_write.c \
  's/if \(os_sync_folder\(path\) != 0\) rc/if (old_fd >= 0 \&\& os_sync_folder(path) != 0) rc/'
mutant 'a checkpoint does not sync the folder' 'test_crash checkpoint' log_write.c \
  's/if \(os_sync_folder\(path\) != 0\) rc/if (old_fd < 0 \&\& os_sync_folder(path) != 0) rc/'
mutant 'the new file is not synced before its rename' 'test_crash checkpoint' log_write.c \
  's/if \(os_sync_file\(draft->writer.fd\) != 0\) rc/if (draft->writer.fd < 0) rc/'
mutant 'what a crash left of a new file stays' 'test_crash checkpoint' log_write.c \
  's/(void log_draft_clean\(const char \*path\) \{\n)/$1  if (*path) return;\n/'

# --- checkpoint -----------------------------------------------------------------------------------------

mutant 'a checkpoint does not copy the rest' 'test_crash checkpoint' checkpoint.c \
  's/  if \(rc == KV_OK\) rc = copy_until\(c, end\);\n(.*?log_draft_match)/$1/'
mutant 'a checkpoint copies under the old id' 'test_crash checkpoint' checkpoint.c \
  's/crc32c\(0, c->draft.writer.header.id, LOG_ID_SIZE\);\n  int rc = KV_OK;/crc32c(0, c->reader.id, LOG_ID_SIZE);\n  int rc = KV_OK;/'
mutant 'a checkpoint has a wrong base-seq' 'test_crash checkpoint' checkpoint.c \
  's/c->pin.seq - 1, c->err/c->pin.seq, c->err/'
mutant 'a checkpoint of nothing has no line' 'test_crash checkpoint' checkpoint.c \
  's/c->pin.top == 0 &&/c->pin.top == 0 \&\& seq == 0 \&\&/' # refused by the grammar alone
mutant 'a checkpoint does not raise what is durable' 'test_crash checkpoint' commit.c \
  's/  share_raise\(&page->durable_seq, q->handed_seq\);\n  share_raise\(&page->published_seq, q->handed_seq\);/  share_raise(\&page->published_seq, q->handed_seq);/'
mutant 'goes on after a rename that may not last' 'test_crash checkpoint' checkpoint.c \
  's/    commit_break\(&s->queue, rc, why.text\);\n//'
mutant 'a checkpoint forgets the sums of earlier parts' 'test_crash checkpoint' checkpoint.c \
  's/  c->crc = crc32c\(c->crc, c->lines.data, c->lines.size\);\n//'
mutant 'a draft is dropped that has become the log' 'test_crash checkpoint' log_write.c \
  's/  \*draft = \(log_draft\)\{.writer.fd = -1\}; \/\* nothing[^\n]*\n//'

# --- the log's name -------------------------------------------------------------------------------------

mutant 'any file under the name is the log' 'moved_log.test' log_place.c \
  's/if \(is_same\(&facts, &named\)\) return LOG_IN_PLACE;/if (!S_ISLNK(named.st_mode)) return LOG_IN_PLACE;/'
mutant 'a checkpoint does not ask again before it renames' 'test_checkpoint' log_write.c \
  's/int rc = log_place_check\(old_fd, path, err\);/int rc = old_fd < 0 ? KV_EIO : KV_OK;/'
mutant 'a flush does not ask where the name leads' 'moved_log.test' commit.c \
  's/  if \(synced\) rc = log_place_check_flushed[^\n]*\n//'
mutant 'who does not flush does not ask' 'moved_log.test' commit.c \
  's/    check_place\(q\);\n//'
mutant 'a checkpoint of another process is a foreign file' 'test_checkpoint_stops' checkpoint.c \
  's/  share_announce\(page, c->file.id, c->file.inode\);\n//'
mutant 'a log that cannot be looked at was replaced' 'test_fault_lives' store_join.c \
  's/    rc = log_error\(err, "fstat", s->path\);\n  \} else if/  } else if/'
mutant 'a question that fails is an answer' 'test_fault_lives' log_place.c \
  's/return errno == ENOENT \|\| errno == ENOTDIR \? LOG_MOVED : LOG_UNKNOWN/return LOG_MOVED/'
mutant 'a copy of the log is the log' 'moved_log.test' share.c \
  's/ && \(file->inode == 0 \|\| file->inode == inode\);/;/'
mutant 'after a death the log is whatever is there' 'moved_log.test' store_follow.c \
  's/  if \(rc != KV_OK \|\| announced.id\[0\].*?LOG_REPLACED, s->path, err\);\n  \}\n//s'
mutant 'a checkpoint by itself takes a free name' 'moved_log.test' checkpoint.c \
  's/if \(c->is_asked && is_free\(c->place\)\)/if (is_free(c->place))/'
mutant 'a rescue has what was lost' 'test_kv_faults' checkpoint.c \
  's/(  uint64_t end)(;\n  int rc =) commit_end\(&s->queue, &end, c->err\); \/\* what is lost[^\n]*\n  if \(rc != KV_OK\) return rc;\n/$1 = 0$2 KV_OK;\n/' \
  's/rc = commit_failure\(&s->queue, c->err\); \/\* a flush/rc = commit_end(\&s->queue, \&end, c->err); \/* a flush/'
mutant 'a rescue has what was refused' 'moved_log.test' checkpoint.c \
  's/tree_pin_published\(&s->tree, &c->pin\)/tree_pin_head(\&s->tree, \&c->pin)/'
mutant 'a foreign file is damage' 'moved_log.test' check.c \
  's/\? store_check_named\(s, \(uint64_t\)facts.st_ino, err\)/? KV_OK/'
mutant 'a link to nothing is a name' 'links.test' store.c \
  's/next = real != NULL \? follow_link\(real\) : NULL;/next = NULL, errno = ENOENT;/'
mutant 'a relative link starts anywhere' 'links.test' store.c \
  's/size_t folder_size = target\[0\] != .\/. \?.*?: 0;/size_t folder_size = 0;/s'
mutant 'a checkpoint that can never be is tried again' 'mounted_log.test' checkpoint.c \
  's/c.is_hopeless \? UINT64_MAX : //'

# --- the tree -------------------------------------------------------------------------------------------

mutant 'each node of a walk counts the rest of its keypath anew' 'deep_tree.test' tree_walk.c \
  's/w->counted\.ref == w->below && /false \&\& /'
mutant 'counts of an edge go on from those of another' 'test_walk' tree_walk.c \
  's/w->counted\.ref == w->below && w->counted\.from/w->counted.ref != 0 \&\& w->counted.from/'
mutant 'a walk takes the label of the first child for all' 'test_walk' tree_walk.c \
  's/if \(step->index > 1\) w->label/if (step->index > 2) w->label/'
mutant 'a reply of KV.TREE has no limit' 'deep_tree.test' cli/cmd_tree.c \
  's/TREE_REPLY_MAX \(\(size_t\)64 << 20\)/TREE_REPLY_MAX (SIZE_MAX \/ 2)/'
mutant 'a reply of KV.CHILDREN has no limit' 'deep_tree.test' cli/cmd_tree.c \
  's/ \|\| is_too_large\(x, begin\)\) break;\n  }\n  kv_walk_close\(walk\);\n  if \(is_too_large\(x, begin\)\) \{\n    refuse\(x, begin, "SCAN/) break;\n  }\n  kv_walk_close(walk);\n  if (0) {\n    refuse(x, begin, "SCAN/'
mutant 'a text has no NUL behind it' 'test_tree' tree_node.c \
  's/at\[value_size\] = .\\0.;/at[value_size] = 1;/'
mutant 'a large text has no NUL behind it' 'test_tree' tree_node.c \
  's/bytes->data\[size\] = .\\0.;/bytes->data[size] = 1;/'

# --- recovery -------------------------------------------------------------------------------------------

mutant 'applies what its COMMIT does not verify' 'test_crash commits' log_read.c \
  's/  if \(s.crc != commit.crc\) return KV_ETORN;\n//'
mutant 'applies all but the last line of a transaction' 'test_crash commits' recover.c \
  's/i < t->ops/i + 1 < t->ops/'
mutant 'applies a transaction that is not the next' 'test_kv' recover.c \
  's/if \(rc == KV_OK && t.seq != p->found->seq \+ 1\) rc = KV_ETORN;\n//'
mutant 'does not look ahead at a torn place' 'damage.test' recover.c \
  's/if \(promised.broken\) \{/if (promised.broken \&\& p->path == NULL) {/'
mutant 'takes every torn tail for damage' 'test_crash torn' recover.c \
  's/ \|\| t->durable_seq < p->damaged_seq\) return true/) return true/'
mutant 'a torn tail is not cut off' 'test_crash torn' recover.c \
  's/if \(rc == KV_OK && os_truncate\(fd, found->end\) != 0\) rc/if (rc == 1) rc/'
mutant 'the recovered log is not synced' 'test_crash' recover.c \
  's/  if \(os_sync_file\(fd\) != 0\) \{/  if (fd < 0) {/'
mutant 'the recovered name is not synced' 'test_crash name' recover.c \
  's/  if \(os_sync_folder\(path\) != 0\) return log_error\(err, "fsync of the folder", path\);\n//'
mutant 'believes what is left of the shared page' 'test_crash failed' share.c \
  's/  atomic_store\(&page->broken, 0\);\n//'

# --- many processes -------------------------------------------------------------------------------------

mutant 'half an append stays when its writer died' 'test_fault_death' store_follow.c \
  's/if \(!s->follow.at.original && \(uint64_t\)facts.st_size > end\) \{/if (s->follow.fd < 0) {/'
mutant 'who inherits the turn repairs nothing' 'test_fault_death' store_turn.c \
  's/if \(rc == KV_OK && atomic_load\(&page->unrepaired\)\) rc = store_repair\(s, err\);\n//'
mutant 'a new file is not noticed after a death' 'test_fault_death' store_follow.c \
  's/if \(rc == KV_OK && share_is_file\(&file, place.header.id, inode\)\)/if (file.generation > 0)/'
mutant 'follows a new file at the old place' 'test_fault_lives' store_follow.c \
  's/    place->end = file->snapshot_end;\n/    place->end = s->follow.at.end;\n/'
mutant 'a tree that is made anew keeps what it had' 'test_fault_lives' store_follow.c \
  's/int rc = tree_edit_clear\(&s->tree\);/int rc = KV_OK;/'
mutant 'a failed read while following goes unnoticed' 'test_fault_lives' store_follow.c \
  's/rc = recover_continue\(s->follow.fd, s->path, &s->tree, size, last_seq, &to, err\);/rc = recover_continue(s->follow.fd, s->path, \&s->tree, size, last_seq, \&to, err);\n  if (rc == KV_EIO) to.seq = last_seq, rc = KV_OK;/'
mutant 'memory that fails in a header is no failure' 'test_kv_memory' store_join.c \
  's/rc == KV_EIO \|\| rc == KV_ENOMEM/rc == KV_EIO/'

# --- what is seen ---------------------------------------------------------------------------------------

mutant 'a statement is content with what it has' 'test_sql_history' store_follow.c \
  's/published <= s->queue.handed_seq\)/published <= s->queue.handed_seq + 1)/'
mutant 'our own see it before the others can' 'test_sql_history' commit.c \
  's/      share_raise\(&page->published_seq, next->seq\);\n//'
mutant 'a writer builds on what it has' 'test_sql_history' store_follow.c \
  's/uint64_t written = atomic_load\(&page->written_seq\);/uint64_t written = 0;/'

# --- bugs that were there once ---------------------------------------------------------------------------
# Each takes out again what mended a bug that one of the tests had found.

mutant 'bug: an overtaken checkpoint goes on' 'test_checkpoint_stops' checkpoint.c \
  's/(static int check_overtaken\(checkpoint \*c\) \{\n)/$1  if (c->fd >= 0) return KV_OK;\n/'
mutant 'bug: a draft is removed after its lock' 'test_checkpoint_stops' log_write.c \
  's/(    if \(has_name\) os.unlink\(draft->temporary_path\);\n)(    os_close_locked\(draft->writer.fd\);\n)/$2$1/'
mutant 'bug: written during a failed flush' 'test_crash failed' commit.c \
  's/    log.end = share_end\(page, generation\);\n//'
mutant 'bug: a readonly handle flushes nothing' 'test_share' kv.c \
  's/if \(db->txn.store->readonly\) return store_sync_read/if (db == NULL) return store_sync_read/'
mutant 'bug: a flush meets a new file' 'test_checkpoint_stops' commit.c \
  's/return rc == KV_EBUSY \? flush_untold\(q, generation, covered, err\) : rc;/return rc;/'
mutant 'bug: who joins in vain removes the shared file' 'test_process_stops' share.c \
  's/if \(locked && others == 0 && s->page == NULL\) remove_if_ours\(s\)/if (others == 0 \&\& s->page == NULL \&\& s->fd >= 0) os.unlink(s->path)/'
mutant 'bug: a file in the way is removed' 'test_share' share.c \
  's/ S_ISREG\(facts.st_mode\) && facts.st_size == 0 &&//; s/if \(created\) remove_if_ours/remove_if_ours/'
mutant 'bug: who leaves removes the file of others' 'test_share' share.c \
  's/if \(has_name\(s->fd, s->path\) == 1\) os.unlink/if (s->fd >= 0) os.unlink/'
mutant 'bug: a new end is taken for the old' 'test_checkpoint_stops' commit.c \
  's/(void commit_switch.*?page = q->page;\n)(.*?)(  share_file now)/$1  share_set_end(page, log->end, log->size);\n$2  os_pause(50000000);\n$3/s'
mutant 'bug: who joins reads on in another file' 'test_checkpoint_stops' store_join.c \
  's/facts.st_dev == named.st_dev && facts.st_ino == named.st_ino/named.st_ino > 0/'
mutant 'bug: empty while a checkpoint changes over' 'test_checkpoint_stops' store_join.c \
  's/    last = recover_last_seq\(&head.header, last\);/    last = last;/'
mutant 'bug: a repair makes one version of many' 'test_process_stops' store_follow.c \
  's/rc = store_follow_written\(s, err\);(\n  if \(rc == KV_OK\) rc = read_on)/rc = follow_file(s, NULL, err);$1/'
mutant 'bug: a file with the number of an older one' 'test_follow' store_follow.c \
  's/(  bool same_file = facts.st_dev == ours)/  ours = s->follow.seen;\n$1/'
mutant 'bug: a commit in the tick of the last look' 'test_follow' store_follow.c \
  's/original \|\| is_settled\(&facts\)/facts.st_size > 0/'
mutant 'bug: zeros for a snapshot are room' 'checkpoint.test' inspect.c \
  's/used == 0 && !missing/used == 0/'
mutant 'bug: a member is its own heir' 'test_share' share.c \
  's/if \(reserved \|\| heir == s->member\) heir = 0;/if (reserved) heir = 0;/'
mutant 'bug: more is durable than there is' 'test_page_lies' store_follow.c \
  's/atomic_load\(&page->durable_seq\) <= seq && (atomic_load\(&page->published_seq\) <= seq;\n  bool as_it_was)/$1/'
mutant 'bug: a reader waits for a dead checkpoint' 'test_checkpoint_stops' store_follow.c \
  's/: os.now_ns\(\) \+ SWITCH_SOON_NS/: os.now_ns() + 10000000000u/' \
  's/if \(rc != KV_EBUSY \|\| s->share.member == 0\) return rc;/if (rc <= KV_OK) return rc;/'
mutant 'bug: published by another, it is not looked at' 'test_waits' kv.c \
  's/  if \(published != SHARE_CLOSED && published > [^{]*\{/  if (published == 0) {/'
mutant 'bug: a stalled flush is waited for' 'test_waits' share.c \
  's/  \*orphaned = take_from_stalled\(s, lock, watch\);/  if (s == NULL) *orphaned = take_from_stalled(s, lock, watch);/'
mutant 'bug: a dead heir keeps its place' 'test_share_join' share.c \
  's/if \(owner == 0 \|\| \(heir != 0 && is_alive\(s, heir\)\)\) return;/if (owner == 0 || heir != 0) return;/'
mutant 'a further handle believes what it cannot look at' 'test_paths' store.c \
  's/return errno == ENOENT \|\| errno == ENOTDIR \? KV_OK : log_error\(err, "stat", s->path\);/return KV_OK;/'
mutant 'a lone reader believes what it cannot look at' 'test_paths' store_follow.c \
  's/return errno == ENOENT \|\| errno == ENOTDIR \? KV_OK : log_error\(err, "stat", s->path\);/return KV_OK;/'
mutant 'bug: an idle heir is not passed over' 'test_waits' share.c \
  's/return since_ns >= SHARE_RESERVE_NS \|\| !is_alive\(s, heir\);/return since_ns == 0 || !is_alive(s, heir);/'
mutant 'bug: a dead heir is waited for' 'test_waits' share.c \
  's/since_ns >= SHARE_RESERVE_NS \|\| !is_alive\(s, heir\);/since_ns >= SHARE_RESERVE_NS;/'
mutant 'bug: believes a flush that was not ended' 'test_waits' commit.c \
  's/int rc = orphaned \?.*?: KV_OK;/int rc = KV_OK;/s'
mutant 'bug: what is flushed of another file' 'test_waits' share.c \
  's/now >> SYNCED_BITS == to >> SYNCED_BITS && //'
mutant 'bug: opening has no limit' 'test_waits' share.c \
  's/    if \(os.now_ns\(\) >= limit->deadline_ns\) \{/    if (os.now_ns() == 0) {/'
mutant 'bug: an interrupt does not end a wait' 'test_waits' store_turn.c \
  's/wait->limit == NULL \|\| is_interrupted\(wait\)\) return false/wait->limit == NULL) return false/'
mutant 'bug: an interrupted commit waits for its group' 'test_waits' commit.c \
  's/    if \(!hurries\) hurries = is_interrupted\(q, ticket\);\n//'
mutant 'bug: the server looks for the turn now and then' 'stops.test' cli/command.c \
  's/    turn_await\(s\);\n//'
mutant 'bug: flushed by another, it sleeps on' 'test_checkpoint_stops' commit.c \
  's/uint64_t until_ns = os.now_ns\(\) \+ RELUCTANCE_NS;/uint64_t until_ns = UINT64_MAX;/'
mutant 'bug: the flush that it waited for leaves it out' 'test_commit' commit.c \
  's/    wait_until\(&ticket->wake, &q->lock, until_ns\);/    if (q->flushing) pthread_cond_wait(&ticket->wake, &q->lock); else wait_until(&ticket->wake, &q->lock, until_ns);/'
mutant 'bug: who cannot read it waits for another' 'test_share' store_join.c \
  's/rc == KV_EIO \|\| rc == KV_ENOMEM/rc == KV_ENOMEM/'
mutant 'bug: busy with a checkpoint' 'test_checkpoint_stops' checkpoint.c \
  's/store_turn_take_briefly/store_turn_take/'
mutant 'bug: busy with a checkpoint that is still asleep' 'test_checkpoint_stops' store_turn.c \
  's/  s->turn.brief = heir != NULL && heir->brief;\n//'

# --- what the fuzz targets see --------------------------------------------------------------------------

mutant 'a number with a zero in front is read' 'fuzz_record' log_format.c \
  's/ \|\| \(\*at == .0. && end - at > 1\)\) return false/) return false/'
mutant 'a REAL with digits too many is read' 'fuzz_record' log_format.c \
  's/d.count > DBL_DIG \|\| fabs/fabs/'
mutant 'inspection forgets the last promise' 'fuzz_log' inspect.c \
  's/promised_seq >= i->next_seq/promised_seq > i->next_seq/'
mutant 'a transaction in the place of the header is damaged' 'tools_check.test' inspect.c \
  's/ \|\| is_first\) \{/ || (is_first \&\& false)) {/'
mutant 'a missing header is no loss' 'fuzz_log' repair.c \
  's/  if \(row->offset == 0\) r->summary.header_missing[^\n]*\n//'
mutant 'what was read while it was written is damaged' 'test_inspect' inspect.c \
  's/a.found && i->second_looks\+\+/!a.found \&\& i->second_looks++/'
mutant 'opening forgets the last promise' 'fuzz_log' recover.c \
  's/t->durable_seq < p->damaged_seq\)/t->durable_seq <= p->damaged_seq)/'
mutant 'repair keeps a number twice' 'fuzz_log' repair.c \
  's/if \(p.seq <= last\)/if (p.seq < last)/'
mutant 'repair keeps malformed lines' 'fuzz_log' repair.c \
  's/n->whole && !n->malformed\) return buf/n->whole) return buf/'
mutant 'two slashes across two words' 'fuzz_keypath' keypath.c \
  's/    if \(key\[i \+ 7\] == [^\n]*\n//'
mutant 'a surrogate is a character' 'fuzz_keypath' keypath.c 's/lead == 0xed \? 0x9f : //'
mutant 'an escaped character begins a range' 'fuzz_glob' cli/glob.c 's/!escaped && i \+ 2/i + 2/'
mutant 'a star takes one byte too many' 'fuzz_glob' cli/glob.c 's/t = \+\+star_t;/t = star_t += 2;/'
mutant 'a piece that ends behind CR is a request' 'fuzz_resp' cli/resp.c \
  's/  if \(i \+ 1 == size\) return RESP_MORE;[^\n]*\n//'
mutant 'a size may begin with a zero' 'redis_replies.test' cli/resp.c \
  's/  if \(has_zero && [^\n]*\n//'
mutant 'nil is the same in both protocols' 'redis_replies.test' cli/reply.c \
  's/protocol == 3 \? "_/protocol == 4 ? "_/'
mutant 'a key set and deleted again was not touched' 'server_observe.test' cli/call.c \
  's/  if \(x->server->absent.count > 0\)[^\n]*\n//'
mutant 'CLIENT KILL closes nobody' 'server_observe.test' cli/cmd_client.c \
  's/      conn_kill\(c\);/      (void)c;/'
mutant 'MONITOR shows passwords' 'server_observe.test' cli/monitor.c \
  's/i > 0 && x->command->flags & CMD_SECRET/i > x->count/'
mutant 'a lost write is acknowledged' 'disk_full.test' cli/conn.c \
  's/  if \(kept == c->hold_count && \(!depends/  if (kept < c->hold_count) {\n    conn_publish(c, UINT64_MAX);\n    return;\n  }\n$&/'
mutant 'a size is forgotten between two pieces' 'fuzz_resp' cli/resp.c \
  's/    p->has_size = false;\n//'
mutant 'a name with a NUL is another name' 'fuzz_command' cli/command.c \
  's/strlen\(found->name\) == size && memcmp/strncmp/'
mutant 'an array is one reply short' 'fuzz_command' cli/cmd_string.c \
  's/reply_array\(x->out, x->count - 1\)/reply_array(x->out, x->count)/'
mutant 'an integer beyond the largest' 'fuzz_words' cli/value.c 's/\(negative \? 1 : 0\)/1/'
mutant 'a NUL is text' 'fuzz_words' cli/value.c 's/at\[i\] < 0x80 \? at\[i\] != 0/at[i] < 0x80 ? 1/'
mutant 'an argument without a message' 'fuzz_table' ../ext/args.c \
  's/"kvstore: %s", text/"%s", text/'
mutant 'a log behind a byte-order mark is foreign' 'verdict.test' log_judge.c \
  's/if \(rc == KV_OK && found\) v->code = KV_EDAMAGED;//'
mutant 'a line that no original log has is one' 'verdict.test' inspect.c \
  's/row->status = INSPECT_FOREIGN;//'
mutant 'a line that a crash has cut is foreign' 'convert.test' log_judge.c \
  's/\(content == 0 \|\| is_cut_line\(line, content\)\)/content == 0/'
mutant 'zeros behind an original log are foreign' 'convert.test' log_judge.c \
  's/\(content == 0 \|\| is_cut_line/(content > 0 \&\& is_cut_line/'
mutant 'any text behind an original log is a cut line' 'convert.test' log_judge.c \
  's/if \(memcmp\(line, original_word, compare\) != 0\) return false;//'
mutant 'a file without a line is an original log' 'convert.test' log_judge.c \
  's/v->records > 0 && \(/(/'
mutant 'a cut line is lost by the conversion' 'convert.test' recover.c \
  's/\|\| found\.torn_size == 0/|| true/'
mutant 'a conversion that failed once forgets where the log ends' 'test_kv_faults' recover.c \
  's/found->end = verdict\.end;//'
mutant 'a conversion that fails leaves the cut line twice' 'convert.test' recover.c \
  's/if \(rc != KV_OK\) os\.unlink\(name\); \/\* the log still has it \*\///'
mutant 'the draft of a conversion that was killed stays' 'convert.test' store_join.c \
  's/  log_draft_clean\(s->path\);\n//'
mutant 'a log may be a side file of a database' 'side_files.test' side_file.c \
  's/if \(is_same\(base, database\) && /if (false \&\& /'
mutant 'a side file of a database that is not attached' 'side_files.test' side_file.c \
  's/ && is_database\(base\)/ \&\& false/'
mutant 'a second name of a side file' 'side_files.test' side_file.c \
  's/if \(is_same_file\(path, side\)\)/if (false)/'
mutant 'a database is attached later' 'side_files.test' ../ext/table.c \
  's/int rc = session_check_name\(.*?\);/int rc = SQLITE_OK;/'
mutant 'a look at a database takes its locks away' 'side_files.test' ../ext/session.c \
  's/options\.is_database = database_is_at/options.is_database = NULL/'
mutant 'only the own database is no log' 'side_files.test' ../ext/session.c \
  's/options\.databases = databases;/options.databases = NULL;/'
mutant 'a log may be called as a draft is' 'side_files.test' side_file.c \
  's/without_suffix\(path, size, "-kvstore-new"\)/0/'
mutant 'a log may be called as a shared file is' 'side_files.test' side_file.c \
  's/base_size = without_suffix\(path, size, "-shm"\)/base_size = 0/'
mutant 'what memdb calls a file is one' 'volatile_vfs.test' ../ext/database.c \
  's/bool is_memory = .*?;/bool is_memory = false;/' 's/!is_unix && !side_file_is_regular\(file\)/false/'
mutant 'a bare name is a file' 'volatile_vfs.test' ../ext/database.c \
  's/file\[0\] != .\/./file[0] == 0/' 's/bool is_memory = .*?;/bool is_memory = false;/' \
  's/!is_unix && !side_file_is_regular\(file\)/false/'
mutant 'the log of a read-only database is opened for writing' 'readonly_database.test' ../ext/session.c \
  's/return sqlite3_db_readonly\(.*?;/return false;/'
mutant 'a read-only database has to have its logs' 'readonly_database.test' store_join.c \
  's/&& s->may_be_missing\) return KV_OK/\&\& false) return KV_OK/'
mutant 'a log that was missing is not looked for again' 'readonly_database.test' store_follow.c \
  's/if \(s->follow\.fd < 0\) return store_look\(s, err\)/if (s->follow.fd < 0) return KV_OK/'
mutant 'the database is taken for a log' 'side_files.test' side_file.c \
  's/if \(is_same\(path, database\)\)/if (false)/'
mutant 'RELEASE keeps the savepoint' 'fuzz_kv' txn.c \
  's/savepoints\[i - 1\].number >= number/savepoints[i - 1].number > number/'
mutant 'an undo leaves what was there before' 'fuzz_kv' txn.c \
  's/if \(leaf == NULL\) return txn_delete/if (leaf != NULL) return txn_delete/'

# --- beside an ordinary table, in every SQLite --------------------------------------------------------

mutant 'LIMIT is taken from every SQLite' 'limit.test' ../ext/plan.c \
  's/HONEST_LIMITS_VERSION_MIN 3046000/HONEST_LIMITS_VERSION_MIN 3038000/'
mutant 'a row that matches twice moves twice' 'update_from.test' ../ext/write.c \
  's/if \(!kv_has\(t->link->db, old.bytes, old.size\)\) return delete_row\(t, argv\[0\]\);//'
mutant 'an UPDATE of no row inserts one' 'update_from.test' ../ext/write.c \
  's/if \(insert && sqlite3_value_type\(argv\[1\]\) != SQLITE_NULL\) return SQLITE_OK;//'
mutant 'OR IGNORE fails for a blob' 'rows.test' ../ext/write.c \
  's/SQLITE_CONSTRAINT_DATATYPE/SQLITE_MISMATCH/'
mutant 'a foreign key finds an index' 'foreign_key.test' ../ext/table.c \
  's/PRIMARY KEY\(key COLLATE " KEY_COLLATION "\)/PRIMARY KEY(key)/'
mutant 'the encoding is asked by PRAGMA alone' 'authorizer.test' ../ext/face.c \
  's/SELECT .UTF-8.", -1/PRAGMA encoding", -1/'
mutant 'a shared memory database is everybody'"'"'s' 'shared_cache.test' ../ext/owner.c \
  's/is_claimed\(m, database, shared\) \|\|/false ||/'
mutant 'a shared table looks empty after its owner' 'shared_cache.test' ../ext/owner.c \
  's/is_main && m->shares && !create/false/'

# --- what hardly ever happens -----------------------------------------------------------------------------

mutant 'an undo takes what was moved for changed' 'test_kv' tree.c \
  's/return a->tag == b->tag;/return a == b;/'
mutant 'a moved leaf is another write' 'test_tree_move' tree_move.c \
  's/(  tree_retire\(t, \*at\);\n)(  \*at = leaf_ref\(copy\);)/$1  copy->tag = t->stamp << 16 | (copy->tag \& 0xffff);\n$2/'
mutant 'a moved leaf shares a large value uncounted' 'test_tree_move' tree_node.c \
  's/atomic_fetch_add_explicit\(&leaf_bytes\(leaf\)->references, 1, memory_order_relaxed\);\n    pool/pool/'
mutant 'a leaf that was moved is freed at once' 'test_tree_versions' tree_move.c \
  's/  tree_retire\(t, \*at\);/  ref_free(\&t->memory, *at);/'
mutant 'only leaves are moved' 'test_tree_move' tree_move.c \
  's/if \(pool_is_sparse\(node, ref_alloc_size\(inner_ref\(node\)\)\)\)/if (false)/'
mutant 'a pass begins again and again' 'test_tree_move' tree_move.c \
  's/tree_cursor_seek\(&c, t->move.key, t->move.key_size, TREE_GE\)/tree_cursor_first(\&c)/'
mutant 'moving doubles what readers hold' 'test_tree_move' tree_move.c \
  's/if \(t->garbage_size > values \/ 8 \+ HELD_SLACK\) return false;//'
mutant 'what is chosen to be emptied is allocated from' 'test_tree_move' pool.c \
  's/ && first->region->chosen\) slab_unlist/ \&\& false) slab_unlist/' 's/&& !slab->region->chosen\) \{/\&\& true) {/'
mutant 'empty regions are kept' 'test_tree_move' pool.c \
  's/if \(!r->chosen && p->empty == NULL && is_worth_keeping\(p, r\)\)/if (!r->chosen)/'
mutant 'the last reader frees nothing' 'memory.test' kv.c \
  's/if \(tree_unpin\(&s->tree, pin\)\) store_tidy_by_reader\(s\);/(void)tree_unpin(\&s->tree, pin);/'
mutant 'every reader is told to free' 'test_tree_move' tree_version.c \
  's/return stamp < atomic_load\(&t->much_until\);/return atomic_load(\&t->much_until) > 0;/'
mutant 'a follower gives nothing back' 'memory.test' store_tidy.c \
  's/while \(slices-- > 0 && slice\(s, STEPS, false\)\) continue;/(void)slices;/'
mutant 'the end of a transaction frees nothing' 'memory.test' txn.c \
  's/if \(!x->has_turn\) store_tidy_if_wanted\(x->store\);//'

mutant 'rare: appends to another log' 'test_log_write' log_write.c \
  's/if \(rc == KV_OK\) rc = log_place_compare\(fd, w->path[^\n]*\n//'
mutant 'rare: takes the draft of another' 'test_log_write' log_write.c \
  's/ &&\s+is_same_file\(facts, &named\)\) \{/) {/; s/facts->st_nlink == 1/facts->st_nlink > 0/'
mutant 'rare: a draft on another device is ours' 'test_log_write' log_write.c \
  's/return a->st_dev == b->st_dev && a->st_ino == b->st_ino;/return a->st_dev != b->st_dev || a->st_ino == b->st_ino;/'
mutant 'rare: cleans a draft that is being written' 'test_log_write' log_write.c \
  's/bool unused = has_got_name \|\| os.is_locked\(fd, 0, 0\) == 0;/bool unused = true;/'
mutant 'rare: drops the draft of another' 'test_log_write' log_write.c \
  's/if \(has_name\) os.unlink/os.unlink/'
mutant 'rare: room ahead without end' 'test_log_write' log_write.c \
  's/  if \(ahead > ALLOCATE_MAX\) ahead = ALLOCATE_MAX;\n//'
mutant 'rare: waits though it is durable' 'test_commit' commit.c \
  's/  if \(durable >= seq\) return true;\n//'
mutant 'rare: does not see that another has failed' 'test_process_stops' commit.c \
  's/(static void check_others\(commit_queue \*q\) \{\n)/$1  if (q != NULL) return;\n/'
mutant 'rare: a flush that is put off is forgotten' 'test_commit' commit.c \
  's/if \(deadline_ns != 0 && \(since_ns == 0/if (deadline_ns == 1 \&\& (since_ns == 0/'
mutant 'rare: tries again what another could not flush' 'test_commit' commit.c \
  's/if \(q->failed == KV_OK && \(durable_seq\(q\) < seq \|\| is_cut_soft\(q\)\)\) \{\n/if (durable_seq(q) < seq || is_cut_soft(q)) {\n/'
mutant 'rare: does not sync the name of an untold file' 'test_commit' commit.c \
  's/  if \(os_sync_folder\(q->log.path\) != 0\) return log_error[^\n]*\n//'
mutant 'rare: takes a told file for an untold one' 'test_commit' commit.c \
  's/  if \(atomic_load\(&page->generation\) != generation\) return KV_OK;[^\n]*\n//'
mutant 'rare: nobody flushes without a thread' 'test_commit' commit.c \
  's/    if \(!q->flushing\) flush\(q, q->handed_seq, true\);\n//'
mutant 'rare: waits for a thread that is not there' 'test_commit' commit.c \
  's/  if \(ticket->settings.synchronous == KV_SYNC_NORMAL && !q->flusher.running\) return true;\n//'
mutant 'rare: closes a file that is being flushed' 'test_commit' commit.c \
  's/ && q->log.fd != q->flushing_fd\)/)/'
mutant 'rare: never closes a file that was replaced' 'test_commit' commit.c \
  's/  if \(q->log.fd != log.fd\) os_close_locked\(log.fd\);[^\n]*\n//'
mutant 'rare: cuts a log that could not be written' 'test_commit' commit.c \
  's/  if \(q->failed == KV_OK\) \{\n    log_writer_trim/  if (q->page != NULL) {\n    log_writer_trim/'
mutant 'rare: a checkpoint that lost its draft, first' 'test_process_stops' checkpoint.c \
  's/    if \(check_overtaken\(c\) != KV_OK\) return KV_EBUSY;\n//'
mutant 'rare: a checkpoint that lost its draft, later' 'test_process_stops' checkpoint.c \
  's/int rc = check_overtaken\(c\);\n  if \(rc == KV_OK\) rc = commit_end/int rc = KV_OK;\n  if (rc == KV_OK) rc = commit_end/'
mutant 'rare: a large snapshot is flushed at once' 'test_checkpoint' checkpoint.c \
  's/c->unsynced >= SYNC_EVERY/c->unsynced > UINT64_MAX - 1/'
mutant 'rare: a checkpoint does not stop' 'test_checkpoint' checkpoint.c \
  's/return rc == KV_OK \? check_stop\(c\) : rc;/return rc;/'
mutant 'rare: no checkpoint after a thread was not to be had' 'test_checkpoint' checkpoint.c \
  's/  if \(!s->checkpointer.started\) atomic_store\(&s->checkpointer.busy, false\);\n//'
mutant 'rare: cuts an old log that has another name' 'test_checkpoint' checkpoint.c \
  's/ \|\| facts.st_nlink > 0 \|\|/ ||/'
mutant 'rare: cuts an old log that somebody reads' 'test_checkpoint' checkpoint.c \
  's/ \|\| os.is_locked\(c->fd, 0, 0\) != 0\) return;/) return;/'
mutant 'rare: a checkpoint out of memory loses a line' 'test_checkpoint' checkpoint.c \
  's/if \(rc == KV_OK && log_format_commit_end\(&c->lines, crc\) != KV_OK\) rc = no_memory\(c\);/if (rc == KV_OK) (void)log_format_commit_end(\&c->lines, crc);/'
mutant 'rare: a short read has the reason of an earlier call' 'test_checkpoint' os.c \
  's/  if \(got >= 0\) errno = EIO;\n//'
mutant 'rare: room that is being cut off is a failure' 'test_recover' recover.c \
  's/got = os_read_all\(p->reader.fd, part, size, end\);/got = os_read_exactly(p->reader.fd, part, size, end) == 0 ? (ssize_t)size : -1;/'
mutant 'rare: half of a saved tail stays' 'test_recover' recover.c \
  's/  if \(rc != KV_OK\) os.unlink\(name\);\n//'
mutant 'rare: reads from what is no file' 'test_recover' recover.c \
  's/if \(!S_ISREG\(facts.st_mode\)\) \{/if (facts.st_mode == 0) {/'
mutant 'rare: ending converts what was only read' 'test_by_hand' store.c \
  's/if \(original \|\| commit_flush/if (commit_flush/'
mutant 'rare: does not see what the original program appends' 'test_by_hand' store_follow.c \
  's/if \(same_file && !original\) \{/if (same_file) {/'
mutant 'rare: an older copy is followed' 'test_by_hand' store_follow.c \
  's/place->seq < s->queue.handed_seq\)/false)/'
mutant 'rare: a file that lost its end is followed' 'test_by_hand' store_follow.c \
  's/if \(rc == KV_OK && place->seq != have\) \{/if (rc == KV_OK \&\& place->seq > have) {/'
mutant 'rare: anything may be an unconverted log' 'test_by_hand' store_follow.c \
  's/rc == KV_EFOREIGN && share_is_file\(&file, "", inode\)\)/rc == KV_EFOREIGN)/'
mutant 'rare: old times tell nothing' 'test_by_hand' store_follow.c \
  's/ && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;/;/'
mutant 'rare: what could not be repaired counts as repaired' 'test_adopt' store_follow.c \
  's/  if \(rc != KV_OK\) return rc;\n  share_set_end/  share_set_end/'
mutant 'rare: an untold file is taken over unsynced' 'test_adopt' store_follow.c \
  's/  if \(os_sync_folder\(s->path\) != 0\) return log_error\(err, "fsync of the folder", s->path\);\n//'
mutant 'rare: a file that is no longer the shared one' 'test_share' share.c \
  's/ && facts.st_ino == named.st_ino;/;/'
mutant 'files: a dump follows a link' 'tools_files.test' cli/out_file.c \
  's/O_CREAT \| O_EXCL \| O_NOFOLLOW/O_CREAT | O_TRUNC/'
mutant 'files: a dump is for all' 'tools_files.test' cli/out_file.c \
  's/\(void\)rights_give\(fd, &like, NULL\)/(void)fchmod(fd, 0644)/'
mutant 'files: what another dump writes is removed' 'tools_files.test' cli/out_file.c \
  's/flock\(fd, LOCK_EX \| LOCK_NB\) != 0 \|\| !has_name/!has_name/'
mutant 'files: stdout is replaced' 'tools_files.test' cli/out_file.c \
  's/facts\.st_ino == out\.st_ino/false/'
mutant 'whose: a page of another user is believed' 'whose.test' share.c \
  's/if \(is_trusted\(s, &facts, log\)\) return KV_OK;/return KV_OK;/'
mutant 'whose: any maker in a group is trusted' 'whose.test' share.c \
  's/if \(page->st_uid == log->owner \|\| \(log->mode & S_IWOTH\) != 0\) return true;/return true;/'
mutant 'whose: notes are taken for a page' 'whose.test' share.c \
  's/if \(is == 0\) why = [^;]*;//'
mutant 'whose: a page with two names is used' 'whose.test' share.c \
  's/facts.st_nlink > 1 /false /'
mutant 'whose: a page is believed that the log denies' 'whose.test' store_follow.c \
  's/    right = is && !behind;//'
mutant 'whose: the file may be shorter than its end' 'whose.test' share.c \
  's/return size > end \? size : end;/return size;/'
mutant 'whose: the page of root stays its own' 'whose.test' share.c \
  's/if \(\*created && rights_give\(s->fd, log, NULL\) != 0\)/if (false)/; s/  \(void\)rights_give\(s->fd, like, NULL\);//'
mutant 'whose: a new file has another owner' 'whose.test' rights.c \
  's/  if \(os.fchown\(fd, like->owner.*?\n  \}\n//s'
mutant 'whose: the ACL is lost' 'whose.test' rights.c \
  's/return os.set_attribute\(fd, ACL, value, \(size_t\)size\);/return 0;/'
mutant 'whose: the ACL of the folder stays' 'whose.test' rights.c \
  's/  return remove_acl\(fd\);/  return 0;/'
mutant 'whose: notes on the log are lost' 'whose.test' rights.c \
  's/if \(give_attributes\(fd, like->fd\) != 0\) return -1;//'
mutant 'whose: a checkpoint takes the log over' 'whose.test' log_write.c \
  's/  if \(same\) return KV_OK;/  return KV_OK;/'
mutant 'whose: a torn tail is its finder'"'"'s' 'whose.test' recover.c \
  's/ \|\| rights_give\(\*copy, &like, NULL\) != 0//'
mutant 'whose: a name without room is taken' 'whose.test' store_join.c \
  's/  if \(strlen\(name\) > name_max\) \{/  if (false) {/'
mutant 'a name that cannot be looked up is looked up for ever' 'test_fault_lives' share.c \
  's/  if \(has < 0\) return fail\(err, "stat", s->path\);\n//; s/if \(os.now_ns\(\) >= end_ns\) \{/if (false) {/'
mutant 'a child keeps files of its parent' 'test_fork' os.c \
  's/\(void\)close\(kept.fds\[i\]\);/continue;/'
mutant 'a child keeps the page of its parent' 'test_fork' os.c \
  's/i < kept.map_count; i\+\+/i < 0; i++/'
mutant 'an interrupted call is made for ever' 'test_fault_lives' os.c \
  's/ && \+\+tries < OS_EINTR_MAX//g'
mutant 'rare: a member that there cannot be lives' 'test_share' share.c \
  's/if \(place >= SHARE_MEMBERS_MAX \|\|\s+number_of/if (place >= SHARE_MEMBERS_MAX) return true;\n  if (number_of/'
mutant 'rare: nobody is there if that cannot be told' 'test_share' share.c \
  's/if \(others < 0\) rc = fail\(err, "lock", s->path\);/if (others < 0) others = 0;/'
mutant 'rare: a place for an undo is kept' 'test_kv_memory' txn.c \
  's/    tree_unpin\(&s->tree, &x->before\);\n//'
mutant 'rare: digits as long as the right ones' 'test_log_format' log_format.c \
  's/ \|\|\s+memcmp\(shortest.digits, d.digits, \(size_t\)d.count\) != 0\) \{/) {/'
mutant 'rare: a number beyond all' 'test_log_format' log_format.c \
  's/ \|\| n > UINT64_MAX \/ 10 \|\|/ ||/'
mutant 'rare: fstat fails, so it is no file' 'test_inspect' inspect.c \
  's/rc = fstat_error\(path, err\);/rc = kv_error_set(err, KV_ECANTOPEN, "no");/'

((untried == 0)) || echo "$untried not tried"
echo "$killed killed, $survived survived"
((untried == 0)) || exit 2
((survived == 0))
