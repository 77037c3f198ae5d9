-- experiment_kvstore.sql - the experiment that this project follows, and every benchmark of single
-- commits: autocommit INSERTs of `goober` under random keys out of 100 x 100.
--
-- :synchronous is FULL, NORMAL or OFF, :group_size how many commits a flush waits for. The sections and
-- parameters are those of bench/sql_file.h; `sqlite3 < bench/sql/experiment_kvstore.sql` runs each once.
.load ./kvstore
.parameter set :synchronous "'NORMAL'"
.parameter set :group_size 50
.parameter set :key "'12/34'"
.parameter set :value "'goober'"

-- @setup
PRAGMA busy_timeout = 60000;
CREATE VIRTUAL TABLE kv USING kvstore('kvstore.dat');
INSERT INTO kv(kv, value) VALUES('synchronous', :synchronous);
INSERT INTO kv(kv, value) VALUES('group_size', :group_size);
INSERT OR REPLACE INTO kv VALUES('first', 'goober');

-- @measure insert
INSERT OR REPLACE INTO kv VALUES(:key, :value);

-- The same, and the clock stops when all of it is on stable storage.
-- @measure insert_all
INSERT OR REPLACE INTO kv VALUES(:key, :value);

-- @finish insert_all
INSERT INTO kv(kv) VALUES('flush');

-- @figures
SELECT commits, written_bytes FROM kvstore_stat;
