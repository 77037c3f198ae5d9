#!/bin/sh
# Installs what building and testing kvstore needs and this machine lacks. `make` runs it each time:
# where nothing is missing it says nothing, changes nothing and takes a tenth of a second. With the
# argument `fuzz` it also sees to clang and its libFuzzer, which only `make fuzz` needs.
#
# Each need is checked by using the real thing, not by asking the package manager, so that a
# compiler or a Tcl from elsewhere counts as well. Root is needed only where apt-get is.
#
# shellcheck disable=SC2086 # flags, $apt and $missing are lists of words, meant to be split
set -u

what=${1-}
missing= # Debian packages
why=     # what they are for, in words

need() { # need PACKAGE REASON: note that it is missing
  missing="$missing $1"
  why="${why:+$why, }$2"
}

has() { command -v "$1" >/dev/null 2>&1; }

# Debian's own interpreters go first: one earlier on PATH may lack the SQLite binding.
debian() { if [ -x "/usr/bin/$1" ]; then echo "/usr/bin/$1"; else echo "$1"; fi; }

# compiles HEADERS LIBRARY...: whether a program with these can be built
compiles() {
  headers=$1
  shift
  { printf '#include <%s>\n' $headers && echo 'int main(void) { return 0; }'; } |
    $cc ${CPPFLAGS-} -DSQLITE_CORE -x c - -o /dev/null ${LDFLAGS-} "$@" >/dev/null 2>&1
}

# libFuzzer comes in a package of clang's release, which a machine without clang cannot tell.
check_fuzzer() {
  if ! has clang; then
    need clang 'clang (make fuzz)'
  elif ! echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' |
    clang -fsanitize=fuzzer,address,undefined -x c - -o /dev/null >/dev/null 2>&1; then
    release=$(clang -dumpversion)
    need "libclang-rt-${release%%.*}-dev" 'libFuzzer (make fuzz)'
  fi
}

check() {
  missing='' why=''
  cc=${CC:-cc}
  [ "$what" != fuzz ] || check_fuzzer
  has "${cc%% *}" || need gcc 'a C compiler'
  has make || has gmake || need make 'make'
  has sqlite3 || need sqlite3 'the sqlite3 shell'
  has strace || need strace 'strace (a test counts flushes with it)'

  # One program that needs all headers and libraries; only if it fails, find out which packages. libuv
  # is the server's event loop, hiredis the client's protocol.
  if ! compiles 'sqlite3ext.h uv.h hiredis/hiredis.h' -lsqlite3 -luv -lhiredis; then
    compiles stdlib.h || need libc6-dev 'the C library'
    compiles sqlite3ext.h -lsqlite3 || need libsqlite3-dev "SQLite's header and library"
    compiles uv.h -luv || need libuv1-dev 'libuv'
    compiles hiredis/hiredis.h -lhiredis || need libhiredis-dev 'hiredis'
  fi
  has redis-cli && has redis-benchmark || need redis-tools 'redis-cli and redis-benchmark (tests)'

  tclsh=$(debian tclsh)
  has "$tclsh" || need tcl 'tclsh (the tests are written in Tcl)'
  echo 'if {[catch {package require sqlite3}]} {exit 1}' | "$tclsh" >/dev/null 2>&1 ||
    need libsqlite3-tcl "SQLite's Tcl binding"

  "$(debian python3)" -c 'import sqlite3; sqlite3.Connection.enable_load_extension' \
    >/dev/null 2>&1 || need python3 'python3 with sqlite3 (some tests use it)'
  # Only `make coverage` draws pages.
  [ -z "${COVERAGE-}" ] || has gcovr || need gcovr 'gcovr'

  [ -z "$missing" ]
}

install() { # install: as root, or through a sudo that asks nothing
  sudo=
  if [ "$(id -u)" -ne 0 ]; then
    if ! has sudo || ! sudo -n true 2>/dev/null; then return 1; fi
    sudo='sudo -n'
  fi
  apt="$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300"
  # Package lists that are absent or old name packages that can no longer be fetched.
  $apt install --no-install-recommends $missing </dev/null && return 0
  $apt update </dev/null && $apt install --no-install-recommends $missing </dev/null
}

# Twice, because what goes with clang is only known when that is there.
for _ in 1 2; do
  check && exit 0
  if ! has apt-get; then
    echo "setup: missing $why. Please install what Debian calls:$missing" >&2
    exit 1
  fi
  echo "setup: installing$missing for $why"
  log=$(install 2>&1) || break
done
check && exit 0
printf '%s\n' "$log" >&2
echo "setup: still missing $why. Please run: apt-get install$missing" >&2
exit 1
