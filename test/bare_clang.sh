#!/bin/bash
# The last run on a bare machine, for test/bare.sh: everything is compiled with the release's clang, warnings
# being errors. (gcc has done so before.)
#
#   bare_clang.sh USER
#
# Prints `clang: N passed, N failed`.
set -u
user=$1
home=$(getent passwd "$user" | cut -d: -f6)
apt-get -q -y install --no-install-recommends clang >/tmp/install.txt 2>&1 || cat /tmp/install.txt
rm -f /tmp/install.txt
clang --version
cd "$home" && rm -rf kvstore && setpriv --reuid="$user" --regid="$user" --init-groups env HOME="$home" \
  bash -c 'git clone --quiet /source kvstore && make -C kvstore CC=clang WERROR=1 all unit fuzz-targets' 2>&1
failed=$?
echo "clang: $((failed == 0)) passed, $((failed != 0)) failed"
