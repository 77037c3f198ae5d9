-- table_floor.sql - the point get, scan and subtree of table_kvstore.sql from a virtual table that does
-- nothing. :rows is 1000000.
.load build/release/bench/floor
.parameter set :key "'data/0000012/034'"
.parameter set :rows 1000000

-- @setup
CREATE VIRTUAL TABLE kv USING floor;

-- @measure get
SELECT value FROM kv WHERE key = :key;

-- @measure scan
SELECT key, value FROM kv(:rows);

-- A hundred rows.
-- @measure subtree
SELECT key, value FROM kv(100);
