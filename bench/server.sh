#!/bin/bash
# What a durable SET and a GET cost through the server, beside redis-server with appendfsync always:
# redis-benchmark with 50 clients, without and with pipelines of 16, both servers on one disk, in turn.
# Prints the medians as a table, and each round as CSV into $OUT.
#
#   bench/server.sh              7 rounds; needs redis-benchmark and redis-server
#   QUICK=1 bench/server.sh      3 rounds of fewer requests
#
# From the environment: KVSTORE_BIN (./kvstore), DIR for the data (build/bench-server: not a tmpfs),
# OUT (build/bench-server.csv), CLIENTS (50), ROUNDS, REQUESTS (of each test: tens of thousands).
set -euo pipefail
cd "$(dirname "$0")/.."

BIN=${KVSTORE_BIN:-$PWD/kvstore}
DIR=${DIR:-$PWD/build/bench-server}
OUT=${OUT:-build/bench-server.csv}
CLIENTS=${CLIENTS:-50}
ROUNDS=${ROUNDS:-${QUICK:+3}}
ROUNDS=${ROUNDS:-7}
# Ports that nobody listens on.
read -r -a PORTS <<<"$(tclsh <<'TCL'
foreach i {1 2} { lappend sockets [socket -server {} -myaddr 127.0.0.1 0] }
foreach s $sockets { lappend ports [lindex [fconfigure $s -sockname] 2] }
puts $ports
TCL
)"
pids=()

for program in redis-benchmark redis-server redis-cli; do
  command -v $program >/dev/null || { echo "bench: no $program here (Debian: redis-server)" >&2; exit 1; }
done
rm -rf "$DIR" && mkdir -p "$DIR/kvstore" "$DIR/redis"
trap 'kill "${pids[@]}" 2>/dev/null; wait; rm -rf "$DIR"' EXIT

"$BIN" server "$DIR/kvstore/data" --port "${PORTS[0]}" 2>"$DIR/kvstore.log" &
pids+=($!)
redis-server --port "${PORTS[1]}" --bind 127.0.0.1 --appendonly yes --appendfsync always --save '' \
  --dir "$DIR/redis" >"$DIR/redis.log" &
pids+=($!)
for port in "${PORTS[@]}"; do
  for _ in {1..100}; do
    [[ $(redis-cli -p "$port" ping 2>/dev/null) == PONG ]] && continue 2
    sleep 0.1
  done
  cat "$DIR"/*.log >&2
  exit 1
done

# rate PORT TEST PIPELINE REQUESTS: requests per second
rate() {
  redis-benchmark -p "$1" -c "$CLIENTS" -t "$2" -P "$3" -n "$4" -r 100000 --csv |
    tail -n 1 | cut -d, -f2 | tr -d '"'
}

median() { sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

echo 'round,server,test,pipeline,rate' >"$OUT"
for ((round = 1; round <= ROUNDS; round++)); do
  for what in 'set 1 60000' 'get 1 60000' 'set 16 300000' 'get 16 600000'; do
    read -r name pipeline requests <<<"$what"
    [[ ${QUICK-} ]] && requests=$((requests / 3))
    requests=${REQUESTS:-$requests}
    for i in 0 1; do
      server=$([[ $i == 0 ]] && echo kvstore || echo redis)
      echo "$round,$server,$name,$pipeline,$(rate "${PORTS[i]}" "$name" "$pipeline" "$requests")" >>"$OUT"
    done
  done
done

echo '| requests/s, medians of '"$ROUNDS"' rounds | kvstore | redis-server | ratio |'
echo '| --- | --- | --- | --- |'
for what in 'set 1' 'get 1' 'set 16' 'get 16'; do
  read -r name pipeline <<<"$what"
  ours=$(grep ",kvstore,$name,$pipeline," "$OUT" | cut -d, -f5 | median)
  theirs=$(grep ",redis,$name,$pipeline," "$OUT" | cut -d, -f5 | median)
  awk -v n="${name^^}" -v p="$pipeline" -v a="$ours" -v b="$theirs" 'BEGIN {
    how = (p > 1) ? ", -P " p : ""
    printf("| %s%s | %.0f | %.0f | %.2f |\n", n, how, a, b, a / b) }'
done
