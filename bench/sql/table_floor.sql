-- table_floor.sql - the point get of table_kvstore.sql from a virtual table that does nothing.
.load build/release/bench/floor
.parameter set :key "'data/0000012/034'"

-- @setup
CREATE VIRTUAL TABLE kv USING floor;

-- @measure get
SELECT value FROM kv WHERE key = :key;
