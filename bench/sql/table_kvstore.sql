-- table_kvstore.sql - a table with many keys, data/0000012/034 and so on: point gets, scans, subtrees,
-- and durable commits among them. The loading is in transactions of 100,000 entries.
.load ./kvstore
.parameter set :key "'data/0000012/034'"
.parameter set :value "'goober'"
.parameter set :folder "'data/0000012'"

-- @setup
PRAGMA busy_timeout = 60000;
CREATE VIRTUAL TABLE kv USING kvstore('kvstore.dat', synchronous=FULL, auto_checkpoint=0);

-- @load
INSERT OR REPLACE INTO kv VALUES(:key, :value);

-- @measure get
SELECT value FROM kv WHERE key = :key;

-- @measure scan
SELECT key, value FROM kv;

-- @measure sum
SELECT count(*), sum(length(key) + length(value)) FROM kv;

-- A hundred rows.
-- @measure subtree
SELECT key, value FROM kv(:folder);

-- @measure insert
INSERT OR REPLACE INTO kv VALUES(:key, :value);

-- @measure checkpoint
INSERT INTO kv(kv) VALUES('checkpoint');

-- @figures
SELECT keys, live_bytes, memory_bytes, log_bytes, replay_us FROM kvstore_stat;
