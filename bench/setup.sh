#!/bin/sh
# Installs the peers that the benchmarks compare with, and gnuplot, where they are missing and apt-get is
# to be had; says so. Never fails: what cannot be had is told in the table. `setup.sh valgrind` installs
# what counting instructions needs, and that alone.
#
# shellcheck disable=SC2086 # $missing is a list of words, meant to be split
set -u

has() { command -v "$1" >/dev/null 2>&1; }
compiles() { printf '#include <%s>\nint main(void) { return 0; }\n' "$1" | ${CC:-cc} -x c - -o /dev/null "$2" 2>/dev/null; }

only=${1-}

check() {
  missing=
  if [ "$only" = valgrind ]; then
    has valgrind || missing=' valgrind'
    [ -z "$missing" ]
    return
  fi
  compiles lmdb.h -llmdb || missing="$missing liblmdb-dev"
  compiles rocksdb/c.h -lrocksdb || missing="$missing librocksdb-dev"
  has redis-server || missing="$missing redis-server"
  has redis-benchmark || missing="$missing redis-tools"
  has gnuplot || missing="$missing gnuplot-nox"
  [ -z "$missing" ]
}

# A server that a package starts by itself would take part in the measurement.
install() {
  sudo=
  if [ "$(id -u)" -ne 0 ]; then
    has sudo && sudo -n true 2>/dev/null || return 1
    sudo='sudo -n'
  fi
  apt="$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -q -y -o DPkg::Lock::Timeout=300"
  $apt install --no-install-recommends $missing </dev/null && return 0
  $apt update </dev/null && $apt install --no-install-recommends $missing </dev/null
}

check && exit 0
if has apt-get; then
  echo "bench: installing$missing" >&2
  log=$(install 2>&1) && check && exit 0
  printf '%s\n' "$log" | tail -n 5 >&2
fi
check || echo "bench: without$missing; what cannot be measured for that is said where it would stand" >&2
exit 0
