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
# or leaves with an error although it counted no failure, is one failure more.
set -u
cd "$(dirname "$0")/.." || exit 1

export BUILD=${BUILD:-build/release}
# Scratch folders of the release build are build/test-tmp, of build/asan build/asan/test-tmp.
export KVSTORE_TMP=${KVSTORE_TMP:-$PWD/${BUILD%/release}/test-tmp}
# Seconds for one file; ThreadSanitizer makes some ten times slower.
[[ ${SAN-} == thread ]] && TIMEOUT=${TIMEOUT:-900}
export TIMEOUT=${TIMEOUT:-300}
OUT=$(mktemp -d) || exit 1
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

# An earlier tclsh on PATH may lack SQLite's binding; Debian's has it.
if [ -x /usr/bin/tclsh ]; then TCLSH=${TCLSH:-/usr/bin/tclsh}; else TCLSH=${TCLSH:-tclsh}; fi
export TCLSH

# run_one N FILE: run a file, leaving its output and its exit code in $OUT/N; print N when done.
run_one() {
  if [[ $2 == *.test ]]; then
    set -- "$1" "$2" env ${PRELOAD:+"LD_PRELOAD=$PRELOAD"} "$TCLSH" "$2"
  else
    set -- "$1" "$2" "$PWD/$2"
    dir=$KVSTORE_TMP/$(basename "$2")
    rm -rf "$dir" && mkdir -p "$dir" && cd "$dir" || return
  fi
  # timeout leads a process group of its own, which Ctrl-C would not reach.
  start=${EPOCHREALTIME/./}
  timeout -k 10 "$TIMEOUT" "${@:3}" >"$OUT/$1.txt" 2>&1 </dev/null &
  trap 'kill $!' INT TERM
  wait $!
  echo $? $((${EPOCHREALTIME/./} - start)) >"$OUT/$1.end"
  echo "$1"
}
export -f run_one

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
  if ((f > 0)) || [[ ${SHOW-} ]]; then sed 's/^/      /' "$OUT/$1.txt"; fi
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
