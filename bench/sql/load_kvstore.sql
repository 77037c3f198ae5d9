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

-- A hundred entries in one statement.
-- @measure hundred
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99)
  INSERT OR REPLACE INTO kv SELECT :key || '/' || i, :value FROM n;
