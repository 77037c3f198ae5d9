#!/bin/bash
# Runs the test/*.test files in several releases of SQLite, and checks that one which is too old is
# refused: `make test-matrix`. The releases come with the npm package better-sqlite3, which carries
# SQLite's amalgamation; each is built once, with the options of Debian's that matter here, as a
# libsqlite3.so.0 that tclsh, python3 and the sqlite3 shell then run instead of their own.
#
#   test/matrix.sh                    every row
#   test/matrix.sh query 'shell*'     with these test files only
#   RELEASES='system 3.38.2' test/matrix.sh   some of the rows; only what they need is fetched and built
#
# The rows by name: `system` (this machine's SQLite), a release (built for it and run in it), A-in-B (built for A,
# run in B), `static` (built into the newest) and `refused` (what a SQLite that is too old says).
#
# A row is the header kvstore.so was built with and the SQLite it runs in. Before its tests run, all
# three programs have to say by kvstore_debug() that they have just these. Everything is made in
# build/matrix. The very last line is `N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

OLDEST=3.38.2  # the oldest that is supported and that the package carried: it skipped 3.38.0 and .1
NEWEST=3.54.1
TOO_OLD=3.37.2
# Where SQLite's planner changed under virtual tables: LIMIT is taken from the second one on (ext/plan.c).
BEFORE_LIMITS=3.45.3
SINCE_LIMITS=3.46.0

ROWS="system $OLDEST $BEFORE_LIMITS $SINCE_LIMITS $NEWEST system-in-$OLDEST system-in-$NEWEST $NEWEST-in-$OLDEST static
  refused"
RELEASES=${RELEASES:-$ROWS}

# What carries which release, and the sum of its tarball.
declare -A PACKAGE=(
  [3.37.2]='7.5.0 c6feb7b1dfa1a985725e6e25fa3a72c55042fb44ded28aa2f7ee7a08ce642d4c'
  [3.38.2]='7.5.1 36f24ec3543ac8dd25471188bb6576673b5eb185d7fcf70f061740957bf8afbd'
  [3.45.3]='9.6.0 7054d0a4cb1fa48cf3b241218de8bd2a3f523f6203bfeb424e7127b7efb75457'
  [3.46.0]='11.0.0 7d45ffde103d487327e3832b4ff3300adc3c537c701e4ed863b3a33918ec2c33'
  [3.54.1]='13.2.0 40487589df3496f2ee0079d22b73c63fccebe7db0e8ee9a2c42421861e321e0b'
)

# Those that change what SQL does, and those without which Debian's programs miss a function. This amalgamation
# has a parser for DELETE and UPDATE with LIMIT.
export OPTIONS='-DSQLITE_THREADSAFE=1 -DSQLITE_USE_URI -DSQLITE_LIKE_DOESNT_MATCH_BLOBS
  -DSQLITE_SECURE_DELETE -DSQLITE_SOUNDEX -DSQLITE_ENABLE_COLUMN_METADATA
  -DSQLITE_ENABLE_MATH_FUNCTIONS -DSQLITE_ENABLE_PREUPDATE_HOOK -DSQLITE_ENABLE_RTREE
  -DSQLITE_ENABLE_SESSION -DSQLITE_ENABLE_STMTVTAB -DSQLITE_ENABLE_UNLOCK_NOTIFY
  -DSQLITE_ENABLE_UPDATE_DELETE_LIMIT'
export CC=${CC:-cc} M=$PWD/build/matrix
JOBS=${JOBS:-$(nproc)}

# The same programs as run.sh and tester.tcl choose.
TCLSH=${TCLSH:-$([ -x /usr/bin/tclsh ] && echo /usr/bin/tclsh || echo tclsh)}
PYTHON=${PYTHON:-$([ -x /usr/bin/python3 ] && echo /usr/bin/python3 || echo python3)}
SHELL3=$(command -v "${SQLITE3:-sqlite3}")
export TCLSH PYTHON

stop() {
  printf 'matrix: %s\n' "$@" >&2
  echo '0 passed, 1 failed'
  exit 1
}

# --- what is made ---------------------------------------------------------------------------------

# fetch VERSION: its sqlite3.c, sqlite3.h and sqlite3ext.h in $M/VERSION.
fetch() {
  local dir=$M/$1 package sum tarball
  read -r package sum <<<"${PACKAGE[$1]}"
  tarball=$M/better-sqlite3-$package.tgz
  if ! echo "$sum  $tarball" | sha256sum --quiet --check >/dev/null 2>&1; then
    command -v npm >/dev/null ||
      stop "SQLite $1 comes with the npm package better-sqlite3 $package:" \
        'this needs the program npm, which Debian calls npm too (apt-get install npm)'
    (cd "$M" && npm pack --silent "better-sqlite3@$package") >"$M/npm.log" 2>&1 ||
      stop "npm cannot fetch better-sqlite3 $package:" "$(<"$M/npm.log")"
    echo "$sum  $tarball" | sha256sum --quiet --check >/dev/null 2>&1 ||
      stop "${tarball#"$PWD"/} is not what it was: its SHA-256 is not $sum"
  fi
  [[ -f $dir/sqlite3.c ]] && return
  rm -rf "$dir.part" && mkdir "$dir.part" || exit 1
  if ! tar -xzf "$tarball" -C "$dir.part" --strip-components=3 package/deps/sqlite3 ||
    ! grep -q "^#define SQLITE_VERSION  *\"$1\"" "$dir.part/sqlite3.h"; then
    stop "better-sqlite3 $package does not carry SQLite $1"
  fi
  mv "$dir.part" "$dir" || exit 1
}

# compile OBJECT SOURCE FLAG...: unless it was compiled just so before.
compile() {
  local command="$CC -O1 -fPIC $OPTIONS ${*:3} -c -o $1 $2"
  [[ -f $1 && -f $1.cmd && $(<"$1.cmd") == "$command" ]] && return
  rm -f "$1.cmd"
  # shellcheck disable=SC2086 # words
  $command && echo "$command" >"$1.cmd"
}
export -f compile

# loadable DIR VARIABLE...: build the extension for a header.
loadable() {
  mkdir -p "$1"
  make -j "$JOBS" --no-print-directory loadable SETUP=: SAN= B="$1" OUT="$1/" "${@:2}" \
    >"$1/make.log" 2>&1 || stop "kvstore.so does not build in ${1#"$PWD"/}:" "$(<"$1/make.log")"
}

# Debian's shell stops in a SQLite other than its own. It asks this library what it is in.
shell_for() { # shell_for VERSION
  local dir=$M/$1
  echo "const char *sqlite3_sourceid(void) { return \"$SOURCE_ID\"; }" >"$dir/sourceid.c"
  $CC -fPIC -shared -o "$dir/sourceid.so" "$dir/sourceid.c" || stop "no ${dir#"$PWD"/}/sourceid.so"
  printf '#!/bin/sh\nLD_PRELOAD=%s exec %s "$@"\n' "'$dir/sourceid.so'" "'$SHELL3'" >"$dir/sqlite3"
  chmod +x "$dir/sqlite3"
}

# The newest with the extension inside, which registers itself in every connection, and with another
# behind it. Tests load the extension; here they load one that only looks whether both are there.
build_static() {
  cat >"$M/static/init.c" <<'END'
#include <sqlite3.h>
int sqlite3_kvstore_init(sqlite3 *, char **, const struct sqlite3_api_routines *);
int matrix_init(const char *unused);

static void another(sqlite3_context *context, int argc, sqlite3_value **argv) {
  (void)argc, (void)argv;
  sqlite3_result_int(context, 1);
}

static int another_init(sqlite3 *db) {
  return sqlite3_create_function(db, "another", 0, SQLITE_UTF8, 0, another, 0, 0);
}

int matrix_init(const char *unused) {
  (void)unused;
  int rc = sqlite3_auto_extension((void (*)(void))sqlite3_kvstore_init);
  return rc == SQLITE_OK ? sqlite3_auto_extension((void (*)(void))another_init) : rc;
}
END
  cat >"$M/static/there.c" <<'END'
#include <sqlite3ext.h>
#include <string.h>
SQLITE_EXTENSION_INIT1
int sqlite3_kvstore_init(sqlite3 *, char **, const sqlite3_api_routines *);

static int count(void *total, int columns, char **values, char **names) {
  (void)columns, (void)names;
  *(int *)total += strcmp(values[0], "kvstore_version") == 0 || strcmp(values[0], "another") == 0;
  return 0;
}

int sqlite3_kvstore_init(sqlite3 *db, char **message, const sqlite3_api_routines *api) {
  SQLITE_EXTENSION_INIT2(api);
  int total = 0;
  int rc = sqlite3_exec(db, "PRAGMA function_list", count, &total, message);
  if (rc != SQLITE_OK || total == 2) return rc;
  *message = sqlite3_mprintf("%d of the two extensions inside are there", total);
  return SQLITE_ERROR;
}
END
  local include="-isystem $M/$NEWEST"
  rm -f "$M/static/libsqlite3.so.0"
  # shellcheck disable=SC2086 # words
  $CC $include -fPIC -c -o "$M/static/init.o" "$M/static/init.c" || stop 'init.c does not compile'
  # shellcheck disable=SC2086 # words
  $CC $include -fPIC -shared -o "$M/static/kvstore.so" "$M/static/there.c" ||
    stop 'there.c does not compile'
  loadable "$M/static" CPPFLAGS="$include -DSQLITE_CORE ${CPPFLAGS-}" \
    SO="$M/static/libsqlite3.so.0" LDLIBS="$M/static/sqlite3.o $M/static/init.o -lm -ldl ${LDLIBS-}"
}

# wanted ROW: whether it is to be run.
wanted() {
  [[ " ${RELEASES//$'\n'/ } " == *" $1 "* ]]
}

# The releases that the wanted rows need: as headers, and to run in.
needed() {
  local row
  for row in $RELEASES; do
    case $row in
      system) ;;
      static) echo $NEWEST ;;
      refused) printf '%s\n' $OLDEST $NEWEST $TOO_OLD ;;
      *) printf '%s\n' "${row%-in-*}" "${row#*-in-}" ;;
    esac
  done | grep -vx system | sort -u
}

build_all() {
  local v needed
  needed=$(needed)
  mkdir -p "$M/system" "$M/static"
  for v in $needed; do fetch "$v"; done
  echo 'matrix: building; the first time takes a minute or two'
  { # compile's arguments, a line each
    for v in $needed; do echo "$M/$v/sqlite3.o $M/$v/sqlite3.c"; done
    if wanted static; then
      echo "$M/static/sqlite3.o $M/$NEWEST/sqlite3.c -DSQLITE_EXTRA_INIT=matrix_init"
    fi
  } | xargs -r -P "$JOBS" -L 1 bash -c 'compile "$@"' compile || stop 'SQLite does not compile'
  for v in $needed; do
    $CC -shared -o "$M/$v/libsqlite3.so.0" "$M/$v/sqlite3.o" -pthread -lm -ldl ||
      stop "SQLite $v does not link"
    shell_for "$v"
  done
  loadable "$M/system"
  for v in $needed; do
    [[ $v == "$TOO_OLD" ]] || loadable "$M/$v" CPPFLAGS="-isystem $M/$v ${CPPFLAGS-}"
  done
  wanted static || return 0
  build_static
  shell_for static
}

# --- rows -----------------------------------------------------------------------------------------

# within PLACE COMMAND...: run it in the SQLite of $M/PLACE, or in the machine's own.
within() {
  if [[ $1 == system ]]; then
    SQLITE3=$SHELL3 "${@:2}"
  else
    LD_LIBRARY_PATH=$M/$1${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} SQLITE3=$M/$1/sqlite3 "${@:2}"
  fi
}

passed=0 failed=0

# row NAME PASSED FAILED: its line.
row() {
  local mark='ok  '
  (($3 > 0)) && mark=FAIL
  printf '%s  %-42s %7d passed, %d failed\n' "$mark" "$1" "$2" "$3"
  ((passed += $2, failed += $3))
}

# What tclsh, python3 and the shell say when they load FOLDER's extension, a line each.
debug_lines() { # debug_lines FOLDER
  local lib=$M/$1/kvstore sql='SELECT kvstore_debug()'
  "$TCLSH" - "$lib" "$sql" <<'END' 2>&1
package require sqlite3
sqlite3 db :memory:
db enable_load_extension 1
lassign [lrange $argv end-1 end] lib sql
db eval {SELECT load_extension($lib)}
puts [db onecolumn $sql]
END
  "$PYTHON" - "$lib" "$sql" <<'END' 2>&1
import sqlite3, sys
db = sqlite3.connect(":memory:")
db.enable_load_extension(True)
db.execute("SELECT load_extension(?)", sys.argv[1:2])
print(db.execute(sys.argv[2]).fetchone()[0])
END
  "$SQLITE3" -batch -init /dev/null -cmd ".load $lib" :memory: "$sql" 2>&1
}

# suite ROW NAME FOLDER HEADER PLACE VERSION PATTERN...: kvstore.so of $M/FOLDER, built with HEADER, in
# the SQLite of $M/PLACE, which is VERSION.
suite() {
  wanted "$1" || return 0
  shift
  local name=$1 folder=$2 place=$4 want="SQLite header $3; running in SQLite $5" out=$M/out.txt
  local builtin=0 p f
  within "$place" debug_lines "$folder" >"$out"
  if (($(grep -cF "$want" "$out") != 3)); then
    row "$name" 0 1
    echo "      tclsh, python3 and sqlite3 should say '$want', and say:"
    sed 's/^/      /' "$out"
    return
  fi
  [[ $folder == static ]] && builtin=1
  (($# > 5)) || set -- "$@" '*.test'
  within "$place" env KVSTORE_TMP="$M/$folder-in-$place" KVSTORE_BUILTIN=$builtin \
    KVSTORE_LIB="$M/$folder/kvstore.so" test/run.sh "${@:6}" >"$out" 2>&1
  read -r p _ f _ < <(grep -aE '^[0-9]+ passed, [0-9]+ failed$' "$out" | tail -n 1)
  row "$name" "${p:-0}" "${f:-1}"
  ((${f:-1} == 0)) || grep -av '^ok  \|^[0-9]* passed' "$out" | sed 's/^/      /'
}

# What a SQLite that is too old says, and that it goes on as if nothing had been. Debian's tclsh and
# shell do not start in one.
load_too_old() { # load_too_old FOLDER
  within $TOO_OLD "$PYTHON" - "$M/$1/kvstore" <<'END' 2>&1
import sqlite3, sys
db = sqlite3.connect(":memory:")
db.enable_load_extension(True)
for sql in "SELECT load_extension('%s')" % sys.argv[1], "CREATE VIRTUAL TABLE kv USING kvstore":
    try:
        print(db.execute(sql).fetchall())
    except sqlite3.Error as error:
        print(error)
print(sqlite3.sqlite_version)
END
}

check() { # check WHAT GOT WANT: count it in p or f, which are the caller's
  if [[ $2 == "$3" ]]; then
    ((++p))
  else
    ((++f))
    printf '%s: FAILED\n  expected: %s\n  got:      %s\n' "$1" "${3//$'\n'/$'\n            '}" \
      "${2//$'\n'/$'\n            '}" | sed 's/^/      /'
  fi
}

refusals() {
  local folder got
  got=$($CC -std=c11 -D_GNU_SOURCE= -DKVSTORE_VERSION='""' -Isrc -isystem "$M/$TOO_OLD" \
    -fsyntax-only ext/kvstore.c 2>&1 | grep -m 1 error)
  check "the header of $TOO_OLD" "${got#*error }" \
    '"kvstore needs the header of SQLite 3.38.0 or newer"'
  for folder in system $OLDEST $NEWEST; do
    check "kvstore.so of $folder in $TOO_OLD" "$(load_too_old "$folder")" \
      "error during initialization: kvstore needs SQLite 3.38.0 or newer, and this is $TOO_OLD
no such module: kvstore
$TOO_OLD"
  done
}

for row in $RELEASES; do
  [[ " ${ROWS//$'\n'/ } " == *" $row "* ]] || stop "RELEASES: there is no row '$row'; there are" "$ROWS"
done

[[ $SHELL3 ]] || stop 'this needs the sqlite3 shell'
mkdir -p "$M" || exit 1
read -r SYSTEM SOURCE_ID < <("$SHELL3" --version)
SOURCE_ID=${SOURCE_ID% (*} # newer ones add how many bits they have
build_all

suite system "$SYSTEM (this machine's)" system "$SYSTEM" system "$SYSTEM" "$@"
for v in $OLDEST $BEFORE_LIMITS $SINCE_LIMITS $NEWEST; do suite "$v" "$v" "$v" "$v" "$v" "$v" "$@"; done
suite "system-in-$OLDEST" "built with $SYSTEM, in $OLDEST" system "$SYSTEM" $OLDEST $OLDEST "$@"
suite "system-in-$NEWEST" "built with $SYSTEM, in $NEWEST" system "$SYSTEM" $NEWEST $NEWEST "$@"
suite "$NEWEST-in-$OLDEST" "built with $NEWEST, in $OLDEST" $NEWEST $NEWEST $OLDEST $OLDEST "$@"
suite static "built into $NEWEST" static $NEWEST static $NEWEST "$@"
if wanted refused; then
  p=0 f=0
  refusals >"$M/out.txt"
  row "refused in $TOO_OLD, and by its header" $p $f
  cat "$M/out.txt"
fi
echo "$passed passed, $failed failed"
((failed == 0))
