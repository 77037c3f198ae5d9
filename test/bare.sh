#!/bin/bash
# Runs README's two commands on machines that have nothing but gcc, git and make: `make test-bare`, as
# root. Each machine is a bare Debian (debootstrap's minbase) in build/bare, made new each time. The
# last commit is cloned there, and `make demo` and `make test` run four times: as root and as an
# ordinary user, each without LANG and with LANG=de_DE.UTF-8.
#
#   test/bare.sh                        Debian 12 and 13
#   test/bare.sh trixie                 one of them
#   TESTS='smoke torn*' test/bare.sh    with these test files only, and without the demo
#
# Before that, an ordinary user builds the extension alone (test/bare_loadable.sh). The first full run, root's
# without LANG, installs what is missing, and so proves that the project's own files do. test/bare_run.sh
# is what happens inside; it looks for processes and files that are left. At the end clang compiles everything.
# The very last line is `N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

BARE=$PWD/build/bare
MIRROR=${MIRROR:-http://deb.debian.org/debian}
passed=0 failed=0

stop() {
  printf 'bare: %s\n' "$@" >&2
  echo '0 passed, 1 failed'
  exit 1
}

# inside RELEASE COMMAND...: run it as the first process of a namespace, so that it sees all processes
# that its descendants leave, and none outlives it.
inside() {
  # shellcheck disable=SC2016 # the inner shell expands it
  unshare --mount --pid --fork bash -c '
    mount --make-rprivate / && mount --bind "$0" "$0" && mount -t proc proc "$0/proc" && mount -t devpts devpts "$0/dev/pts" &&
      mount -t tmpfs tmpfs "$0/dev/shm" && cd / || exit 1
    exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb \
      DEBIAN_FRONTEND=noninteractive chroot "$0" "$@"' "$BARE/$1" "${@:2}" </dev/null
}

# make_machine RELEASE: a bare one with gcc, git and make, an ordinary user, and the last commit.
make_machine() {
  rm -rf --one-file-system "${BARE:?}/$1" && mkdir -p "$BARE/$1" &&
    debootstrap --variant=minbase "$1" "$BARE/$1" "$MIRROR" &&
    git clone --quiet --no-hardlinks . "$BARE/$1/source" &&
    inside "$1" sh -ec 'apt-get -q update
      apt-get -q -y install --no-install-recommends gcc git make
      useradd --create-home user
      git config --system safe.directory "*"'
}

# A machine gets the locale after the first run, which must do without the packages it comes in.
make_locale() {
  inside "$1" sh -ec 'apt-get -q -y install --no-install-recommends locales
    localedef -i de_DE -f UTF-8 de_DE.UTF-8'
}

# run RELEASE USER LANG [SCRIPT]: one run, and its line.
run() {
  local script=${4:-run} out=$BARE/$1-${4:-$2}${3:+-$3}.txt p=0 f=0 one bad
  local name="$1${4:+, $4,} as $2 ${3:+in $3}"
  inside "$1" bash "/source/test/bare_$script.sh" "$2" "$3" "${TESTS-}" >"$out" 2>&1
  # What the run counts: the demo, the tests, what was left behind; the last of them says it ended.
  while read -r one _ bad _; do ((p += one, f += bad)); done \
    < <(grep -aE '^(demo: |loadable: |clang: |left behind: )?[0-9]+ passed, [0-9]+ failed$' "$out" | sed 's/.*: //')
  if [[ $script == run ]]; then
    grep -aqE '^[0-9]+ passed, [0-9]+ failed$' "$out" && grep -aq '^left behind: ' "$out" || ((++f))
  fi
  ((p > 0)) || ((++f))
  printf '%s  %-34s %8d passed, %d failed\n' "$( ((f > 0)) && echo FAIL || echo 'ok  ')" "$name" $p $f
  ((f == 0)) || grep -av '^ok  \|^  CC \|^  LINK ' "$out" | sed 's/^/      /'
  ((passed += p, failed += f))
}

(($(id -u) == 0)) || stop 'a machine of its own can be made by root alone'
command -v debootstrap >/dev/null || stop 'this needs debootstrap: apt-get install debootstrap'
mkdir -p "$BARE" || exit 1

for release in "${@:-bookworm trixie}"; do
  for one in $release; do
    make_machine "$one" >"$BARE/$one.txt" 2>&1 || {
      cat "$BARE/$one.txt"
      stop "$one cannot be installed"
    }
    run "$one" user '' loadable
    run "$one" root ''
    run "$one" user ''
    make_locale "$one" >"$BARE/$one.txt" 2>&1 || stop "no locale on $one" "$(cat "$BARE/$one.txt")"
    run "$one" root de_DE.UTF-8
    run "$one" user de_DE.UTF-8
    run "$one" user '' clang
    rm -rf --one-file-system "${BARE:?}/$one"
  done
done
echo "$passed passed, $failed failed"
((failed == 0))
