#!/bin/sh
# Installs what building and testing kvstore needs and this machine lacks. `make` calls it with what its
# goals need; where nothing is missing it prints nothing, changes nothing and takes a tenth of a second.
#
#     scripts/setup.sh PURPOSE...
#
#     engine        the engine alone: a C compiler
#     extension     kvstore.so: the engine's, and SQLite's header
#     program       the program kvstore: the engine's, libuv and hiredis
#     demo          what the demonstration runs
#     tests         all that the tests run
#     matrix        the tests', and npm, which fetches other releases of SQLite
#     fuzz          the tests', and clang with libFuzzer
#     coverage      the tests', and gcovr
#     instructions  the tests', and valgrind, which counts instructions
#     bench         the tests', and the peers to compare with. A peer that cannot be installed is not
#                   an error: the benchmark's table says which are not here
#     bare          debootstrap, which makes bare machines
#     format        clang-format
#
# Each need is checked by using the real thing, not by asking the package manager, so that a compiler or a
# Tcl from elsewhere counts as well. Only apt-get needs root, or a sudo that asks for no password.
#
# shellcheck disable=SC2086 # flags, $apt and $missing are lists of words, meant to be split
set -u

missing= # Debian packages
why=     # what they are for, in words

need() { # need PACKAGE REASON: note that it is missing, once
  case " $missing " in *" $1 "*) return ;; esac
  missing="$missing${missing:+ }$1"
  why="${why:+$why, }$2"
}

has() { command -v "$1" >/dev/null 2>&1; }

# Debian's own interpreters go first: one earlier on PATH may lack the SQLite binding.
debian() { if [ -x "/usr/bin/$1" ]; then echo "/usr/bin/$1"; else echo "$1"; fi; }

# compiles HEADER LIBRARY...: whether a program with these can be built
compiles() {
  header=$1
  shift
  printf '#include <%s>\nint main(void) { return 0; }\n' "$header" |
    $cc ${CPPFLAGS-} -DSQLITE_CORE -x c - -o /dev/null ${LDFLAGS-} "$@" >/dev/null 2>&1
}

need_engine() {
  has "${cc%% *}" || need gcc 'a C compiler'
  compiles stdlib.h || need libc6-dev 'the C library'
}

need_extension() {
  need_engine
  compiles sqlite3ext.h || need libsqlite3-dev "SQLite's header"
}

need_program() {
  need_engine
  compiles uv.h -luv || need libuv1-dev 'libuv'
  compiles hiredis/hiredis.h -lhiredis || need libhiredis-dev 'hiredis'
}

need_demo() {
  need_extension
  need_program
  compiles sqlite3.h -lsqlite3 || need libsqlite3-dev "SQLite's library"
  has sqlite3 || need sqlite3 'the sqlite3 shell'
  tclsh=$(debian tclsh)
  has "$tclsh" || need tcl 'tclsh'
  echo 'if {[catch {package require sqlite3}]} {exit 1}' | "$tclsh" >/dev/null 2>&1 ||
    need libsqlite3-tcl "SQLite's Tcl binding"
}

need_tests() {
  need_demo
  has strace || need strace 'strace'
  has redis-cli && has redis-benchmark || need redis-tools 'redis-cli and redis-benchmark'
  "$(debian python3)" -c 'import sqlite3; sqlite3.Connection.enable_load_extension' \
    >/dev/null 2>&1 || need python3 'python3 with sqlite3'
}

need_matrix() {
  need_tests
  has npm || need npm 'npm'
}

# libFuzzer comes in a package of clang's release, which a machine without clang cannot name.
need_fuzz() {
  need_tests
  if ! has clang; then
    need clang 'clang'
  elif ! echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' |
    clang -fsanitize=fuzzer,address,undefined -x c - -o /dev/null >/dev/null 2>&1; then
    release=$(clang -dumpversion)
    need "libclang-rt-${release%%.*}-dev" 'libFuzzer'
  fi
}

need_coverage() {
  need_tests
  has gcovr || need gcovr 'gcovr'
}

need_instructions() {
  need_tests
  has valgrind || need valgrind 'valgrind'
}

need_bench() {
  need_tests
  compiles lmdb.h -llmdb || need liblmdb-dev 'LMDB'
  compiles rocksdb/c.h -lrocksdb || need librocksdb-dev 'RocksDB'
  has redis-server || need redis-server 'redis-server'
  has gnuplot || need gnuplot-nox 'gnuplot'
}

need_bare() { has debootstrap || need debootstrap 'debootstrap'; }
need_format() { has clang-format || need clang-format 'clang-format'; }

check() {
  missing='' why='' cc=${CC:-cc}
  for purpose in $purposes; do "need_$purpose"; done
  [ -z "$missing" ]
}

can_install() {
  has apt-get || return 1
  sudo=
  [ "$(id -u)" -eq 0 ] && return
  sudo='sudo -n'
  has sudo && sudo -n true 2>/dev/null
}

# A server that a package starts by itself (RUNLEVEL says not to) would take part in a measurement.
install() {
  apt="$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -q -y -o DPkg::Lock::Timeout=300"
  # Package lists that are absent or old name packages that can no longer be fetched.
  $apt install --no-install-recommends $missing </dev/null && return 0
  $apt update </dev/null && $apt install --no-install-recommends $missing </dev/null
}

purposes=$*
for purpose in $purposes; do
  type "need_$purpose" >/dev/null 2>&1 || { echo "setup: no purpose '$purpose'" >&2; exit 2; }
done
case " $purposes " in *' bench '*) optional=yes ;; *) optional= ;; esac

# Twice, because what goes with clang is only known when that is there.
for _ in 1 2; do
  check && exit 0
  if ! can_install; then
    echo "setup: this needs $why; as root: apt-get install $missing" >&2
    break
  fi
  echo "setup: installing $missing for $why"
  log=$(install 2>&1) && continue
  printf '%s\n' "$log" >&2
  break
done
check && exit 0
[ ! "$optional" ] || { purposes=tests && check && exit 0; }
[ -z "${log+set}" ] || echo "setup: apt-get has not installed $missing" >&2
exit 1
