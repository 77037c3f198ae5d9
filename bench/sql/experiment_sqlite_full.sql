-- experiment_sqlite_full.sql - the INSERTs of experiment_kvstore.sql into an ordinary table of a database
-- file in WAL mode, synchronous=FULL: every commit is on stable storage when it returns.
.open sqlite.db
.parameter set :key "'12/34'"
.parameter set :value "'goober'"

-- @setup
PRAGMA busy_timeout = 60000;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS kv(key TEXT NOT NULL PRIMARY KEY, value) WITHOUT ROWID;
INSERT OR REPLACE INTO kv VALUES('first', 'goober');

-- @measure insert
INSERT OR REPLACE INTO kv VALUES(:key, :value);
