-- table_sqlite_memory.sql - table_kvstore.sql in an ordinary WITHOUT ROWID table of a memory database.
.parameter set :key "'data/0000012/034'"
.parameter set :value "'goober'"
.parameter set :folder "'data/0000012'"

-- @setup
CREATE TABLE kv(key TEXT NOT NULL PRIMARY KEY, value) WITHOUT ROWID;

-- @load
INSERT OR REPLACE INTO kv VALUES(:key, :value);

-- @measure get
SELECT value FROM kv WHERE key = :key;

-- @measure scan
SELECT key, value FROM kv;

-- @measure sum
SELECT count(*), sum(length(key) + length(value)) FROM kv;

-- A hundred rows: the keys that begin with the folder and a slash. '0' is the byte behind '/'.
-- @measure subtree
SELECT key, value FROM kv WHERE key >= :folder || '/' AND key < :folder || '0';
