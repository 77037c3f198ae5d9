#!/bin/bash
# The first run on a bare machine, for test/bare.sh: an ordinary user, who cannot install anything, builds
# the extension. What is missing is named in one line; with SQLite's header alone `make loadable` builds it;
# and the program, which needs more, says what.
#
#   bare_loadable.sh USER
#
# Prints `loadable: N passed, N failed`.
set -u
user=$1
home=$(getent passwd "$user" | cut -d: -f6)
passed=0 failed=0

as_user() { setpriv --reuid="$user" --regid="$user" --init-groups env HOME="$home" "$@"; }

# check WHAT GOT PATTERN: all that was printed fits the pattern
check() {
  # shellcheck disable=SC2053 # the pattern is one
  if [[ $2 == $3 ]]; then
    ((++passed))
  else
    ((++failed))
    printf '%s: got:\n%s\n' "$1" "$2"
  fi
}

cd "$home" && rm -rf kvstore && as_user git clone --quiet /source kvstore && cd kvstore || exit 1
check 'nothing is there' "$(as_user make loadable 2>&1)" "setup: this needs the C library, SQLite's header; as root: \
apt-get install libc6-dev libsqlite3-dev"$'\n'*
apt-get -q -y install --no-install-recommends libsqlite3-dev >/tmp/install.txt 2>&1 || cat /tmp/install.txt
rm -f /tmp/install.txt
check 'the header is there' "$(as_user make loadable WERROR=1 2>&1; ls kvstore.so)" '*kvstore.so'
check 'the library needs less' "$(as_user make static WERROR=1 2>&1; ls build/release/libkvstore.a)" '*libkvstore.a'
check 'the program needs more' "$(as_user make 2>&1)" "setup: this needs libuv, hiredis; as root: \
apt-get install libuv1-dev libhiredis-dev"$'\n'*
echo "loadable: $passed passed, $failed failed"
