-- open_kvstore.sql - opening a log: from .load to the first row of the first SELECT, measured as setup_s.
.load ./kvstore

-- @setup
CREATE VIRTUAL TABLE kv USING kvstore('kvstore.dat', synchronous=FULL, auto_checkpoint=0);
SELECT value FROM kv LIMIT 1;

-- @measure get
SELECT value FROM kv WHERE key = :key;

-- @figures
SELECT keys, live_bytes, memory_bytes, log_bytes, replay_us FROM kvstore_stat;
