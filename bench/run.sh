#!/bin/sh
# run.sh - what fsync costs on this disk, and how much of it group commit gives back. QUICK=1 takes
# half a minute, else three. BUILD is the folder of the built programs; FOLDER where the logs go (build/bench,
# which should be on a disk: on a tmpfs fsync costs nothing).
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
program=$top/${BUILD:-build/release}/bench/group_commit
folder=${FOLDER:-$top/build/bench}
seconds=$([ -n "${QUICK:-}" ] && echo 2 || echo 10)
mkdir -p "$folder"
export KVSTORE_LIB="$top/kvstore"

echo "One connection, synchronous=NORMAL, autocommit INSERTs:"
"$program" --folder "$folder" --seconds "$seconds" 1 10 50 1000
for threads in 1 2 4 8 20; do
  echo
  echo "$threads connection(s), synchronous=FULL, every COMMIT on stable storage when it returns:"
  "$program" --folder "$folder" --synchronous FULL --threads "$threads" --seconds "$seconds" 1
done
