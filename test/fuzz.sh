#!/bin/bash
# Lets libFuzzer search for inputs that break something. `make fuzz` builds the targets and calls this.
#
#   test/fuzz.sh 10              all targets, ten minutes altogether
#   test/fuzz.sh 10 log table    these
#   FUZZ_SECONDS=60 test/fuzz.sh '' log    so long for each target
#
# As many run at a time as there are processors. Each begins with its folder in test/fuzz/corpus and
# what earlier searches left in build/fuzz/NAME, where new inputs go too. What breaks something is kept
# as build/fuzz/NAME-crash-... (or -leak-, -timeout-); mend it, and put it into the corpus under a name
# that says what it shows. To take from what was found the little that reaches more of the code:
#
#   build/libfuzzer/test/fuzz/fuzz_NAME -merge=1 test/fuzz/corpus/NAME build/fuzz/NAME
#
# The last line is `N passed, N failed`.
set -u
cd "$(dirname "$0")/.." || exit 1

BUILD=$PWD/build/libfuzzer/test/fuzz
OUT=$PWD/build/fuzz
JOBS=${JOBS:-$(nproc)}
minutes=${1:-10}
shift
names=("$@")
if ((${#names[@]} == 0)); then
  for file in test/fuzz/fuzz_*.c; do
    file=${file##*/fuzz_}
    names+=("${file%.c}")
  done
fi
jobs=$((JOBS < ${#names[@]} ? JOBS : ${#names[@]}))
FUZZ_SECONDS=${FUZZ_SECONDS:-$((minutes * 60 * jobs / ${#names[@]}))}
((FUZZ_SECONDS > 0)) || FUZZ_SECONDS=1 # 0 is for ever

# The targets work on files that nobody flushes: they belong into memory.
WORK=$(mktemp -d /dev/shm/kvstore-fuzz.XXXXXX 2>/dev/null || mktemp -d) || exit 1
trap 'rm -rf "$WORK"' EXIT
trap 'exit 130' INT TERM
export BUILD OUT WORK FUZZ_SECONDS ROOT=$PWD
export LSAN_OPTIONS=${LSAN_OPTIONS:-suppressions=$PWD/test/lsan.supp:print_suppressions=0}

# fuzz_one NAME: search, leaving what libFuzzer says in build/fuzz/NAME.txt, and tell how it went.
fuzz_one() {
  local name=$1 text=$OUT/$1.txt code runs cover inputs
  mkdir -p "$OUT/$name" "$WORK/$name"
  cd "$WORK/$name" || return
  nice "$BUILD/fuzz_$name" -max_total_time="$FUZZ_SECONDS" -timeout=60 -max_len=4096 \
    -print_final_stats=1 -artifact_prefix="$OUT/$name-" "$OUT/$name" \
    "$ROOT/test/fuzz/corpus/$name" >"$text" 2>&1 </dev/null
  code=$?
  runs=$(grep -a -o 'number_of_executed_units: *[0-9]*' "$text" | grep -o '[0-9]*$')
  cover=$(grep -a -o ' cov: [0-9]*' "$text" | tail -n 1 | grep -o '[0-9]*$')
  inputs=$(find "$OUT/$name" -type f | wc -l)
  printf '%s  %-10s %10s inputs run, %s edges reached, %s inputs in build/fuzz/%s\n' \
    "$([[ $code == 0 ]] && echo 'ok  ' || echo FAIL)" "$name" "${runs:--}" "${cover:--}" \
    "$inputs" "$name"
  [[ $code == 0 ]] && return
  : >"$WORK/failed-$name"
  local file
  grep -a -E 'failed:|ERROR|SUMMARY|runtime error|    #[0-9]+ .* in ' "$text" |
    grep -a -v -E 'fuzzer::|/libc|deadly' | head -n 20 | sed 's/^/      /'
  file=$(grep -a -o 'Test unit written to .*' "$text" | tail -n 1)
  [[ $file ]] && printf '      again: %s %s\n' "$BUILD/fuzz_$name" "${file#Test unit written to }"
}
export -f fuzz_one

echo "searching for $FUZZ_SECONDS s with each of ${#names[@]} targets, $jobs at a time"
# shellcheck disable=SC2016 # $1 is for the inner shell
printf '%s\0' "${names[@]}" | xargs -0 -n 1 -P "$jobs" bash -c 'fuzz_one "$1"' fuzz_one
failed=$(find "$WORK" -name 'failed-*' | wc -l)
echo "$((${#names[@]} - failed)) passed, $failed failed"
((failed == 0))
