-- table_sqlite_file.sql - table_kvstore.sql in an ordinary WITHOUT ROWID table of a database file in WAL
-- mode, all settings SQLite's defaults. The loading ends with a checkpoint, so that reading does not have
-- to look through the WAL.
.open sqlite.db
.parameter set :key "'data/0000012/034'"
.parameter set :value "'goober'"
.parameter set :folder "'data/0000012'"

-- @setup
PRAGMA busy_timeout = 60000;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS kv(key TEXT NOT NULL PRIMARY KEY, value) WITHOUT ROWID;

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

-- @measure insert
INSERT OR REPLACE INTO kv VALUES(:key, :value);

-- @measure checkpoint
PRAGMA wal_checkpoint(TRUNCATE);
