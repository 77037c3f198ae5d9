#!/bin/bash
# Runs the unit programs, the fuzz targets and the test/*.test files, as many at a time as there are
# processors, and prints a line for each in a stable order, everything a failing one printed, and as
# the very last line `N passed, N failed`. `make test` builds first and calls this.
#
#   test/run.sh                    all of them
#   test/run.sh smoke 'test_*'     those whose names match
#   SHOW=1 test/run.sh kill        everything that passing ones printed, too
#
# A file counts by the last line it prints of the form `N passed, N failed`. One that prints none,
# or leaves with an error although it counted no failure, is one failure more. So is one that leaves a
# process running: test/reap.c names it, and ends it, and all of them if this runner is killed.
set -u
cd "$(dirname "$0")/.." || exit 1

# Texts, numbers and messages are the same in every user's language, and UTF-8 is UTF-8 in Tcl.
export LC_ALL=C.UTF-8
export BUILD=${BUILD:-build/release}
export REAP=${REAP:-$PWD/$BUILD/test/reap}
if [[ ! -x $REAP ]]; then
  echo "there is no $REAP: \`make test\` builds it"
  echo '0 passed, 1 failed'
  exit 1
fi
[[ ${REAP_FD-} ]] || exec "$REAP" "$PWD/test/run.sh" "$@"

# Scratch folders of the release build are build/test-tmp, of build/asan build/asan/test-tmp.
export KVSTORE_TMP=${KVSTORE_TMP:-$PWD/${BUILD%/release}/test-tmp}
# Seconds for one file; ThreadSanitizer makes some ten times slower.
[[ ${SAN-} == thread ]] && TIMEOUT=${TIMEOUT:-900}
export TIMEOUT=${TIMEOUT:-300}
mkdir -p "$KVSTORE_TMP" && OUT=$(mktemp -d "$KVSTORE_TMP/run.XXXXXX") || exit 1
export OUT
trap 'rm -rf "$OUT"' EXIT

# A sanitizer's runtime has to be in a process before the extension that needs it. Only the tests'
# own interpreter gets it here; what that starts inherits it.
case ${SAN-} in
  address) PRELOAD=$(${CC:-gcc} -print-file-name=libasan.so) ;;
  thread) PRELOAD=$(${CC:-gcc} -print-file-name=libtsan.so) ;;
  *) PRELOAD= ;;
esac
export PRELOAD
# Leaks are looked for everywhere but in what is not ours.
export LSAN_OPTIONS=${LSAN_OPTIONS:-suppressions=$PWD/test/lsan.supp:print_suppressions=0}

# A process that has a flush thread forks, as users' programs do, and its child opens a log of its own.
export TSAN_OPTIONS=${TSAN_OPTIONS:-die_after_fork=0}

# An earlier tclsh on PATH may lack SQLite's binding; Debian's has it.
if [ -x /usr/bin/tclsh ]; then TCLSH=${TCLSH:-/usr/bin/tclsh}; else TCLSH=${TCLSH:-tclsh}; fi
export TCLSH

# empty FOLDER: make it anew, whatever a test that was killed has left there, read-only folders too.
empty() {
  [[ ! -d $1 ]] || chmod -R u+rwX "$1"
  rm -rf "$1" && mkdir -p "$1"
}

# run_one N FILE: run a file, leaving its output and its exit code in $OUT/N; print N when done. A
# .test file makes its folder itself (test/tester.tcl).
run_one() {
  local start=${EPOCHREALTIME/./} code=1 dir=$KVSTORE_TMP/${2##*/}
  if [[ $2 == *.test ]]; then
    set -- "$1" "$2" env ${PRELOAD:+"LD_PRELOAD=$PRELOAD"} "$TCLSH" "$2"
  else
    set -- "$1" "$2" "$PWD/$2"
  fi
  if [[ $2 == *.test ]] || { empty "$dir" && cd "$dir"; } >"$OUT/$1.txt" 2>&1; then
    "$REAP" timeout -k 10 "$TIMEOUT" "${@:3}" >"$OUT/$1.txt" 2>&1 </dev/null &
    # reap leads all of it, also what Ctrl-C would not reach.
    trap 'kill $!' INT TERM
    wait $!
    code=$?
  fi
  echo $code $((${EPOCHREALTIME/./} - start)) >"$OUT/$1.end"
  echo "$1"
}
export -f empty run_one

# show N FILE: the line about a file that has ended, and its output if it failed; adds to the totals.
show() {
  local code us count name=${2##*/} mark='ok  '
  read -r code us <"$OUT/$1.end"
  count=$(grep -aE '^[0-9]+ passed, [0-9]+ failed$' "$OUT/$1.txt" | tail -n 1)
  [[ $count ]] || echo "no count: the file did not come to its end (exit code $code)" >>"$OUT/$1.txt"
  ((code == 124)) && echo "stopped after $TIMEOUT s" >>"$OUT/$1.txt"
  count=${count:-0 passed, 0 failed}
  local p=${count%% *} f=${count#*, }
  f=${f%% *}
  ((code != 0 && f == 0)) && f=1
  [[ $count == '0 passed, 0 failed' && $f == 0 ]] && f=1 # nothing ran
  ((f > 0)) && mark=FAIL
  printf '%s  %-28s %6d passed %8d.%02d s\n' "$mark" "${name%.test}" "$p" \
    $((us / 1000000)) $((us / 10000 % 100))
  if ((f > 0)) || [[ ${SHOW-} ]]; then
    sed 's/^/      /' "$OUT/$1.txt"
  else
    grep -a '^skipped' "$OUT/$1.txt" | sed 's/^/      /'
  fi
  ((passed += p, failed += f))
}

files=()
for file in "$BUILD"/test/unit/test_* "$BUILD"/test/fuzz/fuzz_* test/*.test; do
  [[ -f $file && ($file == *.test || ${file##*/} != *.*) ]] || continue
  name=${file##*/}
  for pattern in "${@:-*}"; do
    # shellcheck disable=SC2053 # the pattern is one
    [[ ${name%.test} == $pattern || $name == $pattern ]] && files+=("$file") && break
  done
done

# Files end in any order; each is shown when all before it have been.
passed=0 failed=0 next=0 ended=()
while read -r n; do
  ended[n]=1
  while [[ ${ended[next]-} ]]; do
    show "$next" "${files[next]}"
    ((++next))
  done
done < <(for n in "${!files[@]}"; do printf '%s\0%s\0' "$n" "${files[n]}"; done |
  xargs -0 -r -n 2 -P "${JOBS:-$(nproc)}" bash -c 'run_one "$@"' run_one)

if ((${#files[@]} == 0)); then
  echo "no test is named: $*"
  failed=1
elif ((next < ${#files[@]})); then
  echo "${files[next]} was lost"
  ((++failed))
fi
echo "$passed passed, $failed failed"
((failed == 0))
