#!/bin/sh
# demo.sh - shows what kvstore does, in the real sqlite3 shell, in ten to twenty seconds.
#
# Works in a folder of its own on the disk under build/, since on a tmpfs fsync costs nothing.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
here=$top/build/demo
rm -rf "$here"
mkdir -p "$here"
cd "$here"

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
# Run the shell on standard input, its commands shown as they run. The extension stands at the top.
shell() { sqlite3 -batch -echo -cmd ".load $top/kvstore" "${1:-:memory:}"; }

say "1. A table whose rows are lines of a log."
shell <<'SQL'
CREATE VIRTUAL TABLE kv USING kvstore('test.dat');
INSERT INTO kv VALUES('test/val', 'this is a test val');
INSERT INTO kv VALUES('test/number', 42), ('other', NULL);
SELECT key, value FROM kv WHERE key GLOB 'test/*' ORDER BY key;
SQL
say "   The log is a text file; the INSERT is the line that begins with WRITE:"
cat test.dat

say "2. A new process reads the log and has it all back."
shell <<'SQL'
CREATE VIRTUAL TABLE kv USING kvstore('test.dat');
SELECT key, value FROM kv;
SQL

say "3. What does fsync cost, and how much of it does group commit give back?"
cat <<'TEXT'
   One connection, autocommit INSERTs of random keys. With synchronous=NORMAL a COMMIT returns when
   its line is with the operating system, and one fsync follows for every group_size commits.
TEXT
"$top/bench/experiment.tcl" "$here" NORMAL 1 2 1 10 50
cat <<'TEXT'
   The same with synchronous=FULL, where every COMMIT waits for the fsync that covers it: one
   connection pays for each by itself, eight (a thread each, on one log) share.
TEXT
for threads in 1 8; do
  echo "   $threads connection(s):"
  "$top/bench/experiment.tcl" "$here" FULL $threads 1 1
done

say "4. A real tree: every file under /usr/share, its size under its path."
find /usr/share -type f -printf '%p\t%s\n' 2>/dev/null | sed 's|^/||' > files.tsv
shell <<'SQL'
CREATE VIRTUAL TABLE kv USING kvstore('files.dat', synchronous=NORMAL);
CREATE TABLE files(path TEXT, size INTEGER);
.mode tabs
.import files.tsv files
.mode column
.timer on

-- One transaction, one flush: all of it is durable or nothing.
INSERT OR IGNORE INTO kv SELECT path, size FROM files;
SELECT count(*) AS files, sum(value) AS bytes FROM kv;

-- The children of a folder, whatever lies below them. Folders are nodes without a value.
SELECT name, children, descendants FROM kvstore_tree('kv', 'usr/share')
 WHERE depth = 3 ORDER BY descendants DESC LIMIT 5;

-- A subtree's total: the table's argument is its root.
SELECT count(*) AS files, sum(value) AS bytes FROM kv('usr/share/doc');

-- The ten largest subtrees, of all folders.
SELECT t.path, t.descendants AS nodes, (SELECT sum(value) FROM kv(t.path)) AS bytes
  FROM kvstore_tree('kv') AS t WHERE NOT has_value ORDER BY bytes DESC LIMIT 10;

-- And a prefix, in order, without a sort.
SELECT key, value FROM kv WHERE key GLOB 'usr/share/doc/s*' ORDER BY key DESC LIMIT 3;
EXPLAIN QUERY PLAN
SELECT key, value FROM kv WHERE key GLOB 'usr/share/doc/s*' ORDER BY key DESC LIMIT 3;

.timer off
SELECT file, keys, nodes, memory_bytes, log_bytes, commits, flushes FROM kvstore_stat;
SQL
say "   What is left: $(ls -l "$here"/*.dat | awk '{print $5, "bytes in", $NF}' | sed "s|$top/||" | paste -sd, -)"
say "Done. README.md goes on from here."
