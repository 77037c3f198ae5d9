-- load_sqlite.sql - load_kvstore.sql into an ordinary table of a database file in WAL mode.
.open sqlite.db
.parameter set :key "'data/0000012/034'"
.parameter set :value "'goober'"

-- @setup
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS kv(key TEXT NOT NULL PRIMARY KEY, value) WITHOUT ROWID;

-- @begin insert
BEGIN;

-- @measure insert
INSERT INTO kv VALUES(:key, :value);

-- @finish insert
COMMIT;
