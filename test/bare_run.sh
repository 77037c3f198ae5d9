#!/bin/bash
# One run of README's two commands on a bare machine, for test/bare.sh: clones /source for a user, runs
# `make demo` and `make test` in the user's name, and looks for what they leave behind. Has to be the
# first process of a process namespace.
#
#   bare_run.sh USER LANG TESTS     LANG may be empty: none; TESTS may be empty: all, and the demo
#
# Prints `demo: N passed, N failed`, what `make test` prints, and `left behind: N passed, N failed`.
set -u
user=$1 lang=$2 tests=$3
home=$(getent passwd "$user" | cut -d: -f6)

as_user() {
  setpriv --reuid="$user" --regid="$user" --init-groups env HOME="$home" ${lang:+LANG="$lang"} "$@"
}

cd "$home" && rm -rf kvstore && as_user git clone --quiet /source kvstore && cd kvstore || exit 1
touch /before

if [[ ! $tests ]]; then
  if time as_user make demo >/demo.txt 2>&1; then
    echo 'demo: 1 passed, 0 failed'
  else
    tail -n 40 /demo.txt
    echo 'demo: 0 passed, 1 failed'
  fi
fi
as_user make test WERROR=1 ${tests:+"TESTS=$tests"} 2>&1

left=0
for process in /proc/[0-9]*; do
  pid=${process#/proc/}
  [[ $pid != "$$" && -s $process/cmdline ]] || continue
  echo "process $pid is left: $(tr '\0' ' ' <"$process/cmdline")"
  kill -9 "$pid"
  left=1
done
# Installing changes the system's own folders; everything else stays as it was, but for the clone.
files=$(find / -xdev \( -path "$home/kvstore" -o -path /usr -o -path /var -o -path /etc -o -path /run \
  -o -path /proc -o -path /dev -o -path /before -o -path /demo.txt \) -prune -o ! -type d -newer /before -print)
if [[ $files ]]; then
  printf 'left are the files:\n%s\n' "$files"
  left=1
fi
as_user make clean >/dev/null || left=1
if [[ $(as_user git status --porcelain --ignored) ]]; then
  echo 'make clean leaves:' "$(as_user git status --porcelain --ignored)"
  left=1
fi
echo "left behind: $((1 - left)) passed, $left failed"
