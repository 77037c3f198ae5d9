-- load_kvstore.sql - many entries into an empty table in one transaction, on stable storage at its end.
.load ./kvstore
.parameter set :key "'data/0000012/034'"
.parameter set :value "'goober'"

-- @setup
CREATE VIRTUAL TABLE kv USING kvstore('kvstore.dat', synchronous=FULL);

-- @begin insert
BEGIN;

-- @measure insert
INSERT INTO kv VALUES(:key, :value);

-- @finish insert
COMMIT;

-- Each entry a transaction of its own, for a log of many records.
-- @measure record
INSERT INTO kv VALUES(:key, :value);
