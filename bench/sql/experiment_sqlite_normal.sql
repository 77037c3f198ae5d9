-- experiment_sqlite_normal.sql - the INSERTs of experiment_kvstore.sql into an ordinary table of a database
-- file in WAL mode, synchronous=NORMAL: it is flushed when a checkpoint is made, and not by a commit.
.open sqlite.db
.parameter set :key "'12/34'"
.parameter set :value "'goober'"

-- @setup
PRAGMA busy_timeout = 60000;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS kv(key TEXT NOT NULL PRIMARY KEY, value) WITHOUT ROWID;
INSERT OR REPLACE INTO kv VALUES('first', 'goober');

-- @measure insert
INSERT OR REPLACE INTO kv VALUES(:key, :value);
