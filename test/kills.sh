#!/bin/sh
# kills.sh - kill -9 at any moment, so many times: processes that write through SQL, servers under load,
# and processes of all kinds on one log, in each with checkpoints running. `make kills` builds first
# and calls this.
#
#     test/kills.sh 1000       kills in each of the five parts: SQL in FULL, NORMAL and OFF (a quarter),
#                              the server in FULL and NORMAL; then about as many in test_processes
#
# Prints what each part has counted; ends with an error if anything acknowledged was lost.
set -eu
cd "$(dirname "$0")/.."
kills=${1:-1000}
export TIMEOUT=7200 SHOW=1
# A round of test_processes kills some 400 processes.
KILL_ROUNDS=$kills PROCESS_MS=3000 PROCESS_ROUNDS=$(((kills + 399) / 400)) \
  test/run.sh kill server_kill test_processes
