-- children.sql - the ten direct children of a folder, whatever lies below them: `wide` has ten children
-- and a million nodes below these, `narrow` ten and nothing below. And the first ten of a folder whose
-- direct children are a million. :nodes is 1000000.
.load ./kvstore
.parameter set :nodes 1000000

-- @setup
CREATE VIRTUAL TABLE kv USING kvstore(':memory:');
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9)
  INSERT INTO kv SELECT 'narrow/' || i, 'goober' FROM n;
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9)
  INSERT INTO kv SELECT 'wide/' || i, 'goober' FROM n;
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :nodes - 1)
  INSERT INTO kv SELECT 'wide/' || (i % 10) || '/' || i, 'goober' FROM n;
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :nodes - 1)
  INSERT INTO kv SELECT 'flat/' || i, 'goober' FROM n;

-- @measure narrow
SELECT name, value FROM kv WHERE parent = 'narrow';

-- @measure wide
SELECT name, value FROM kv WHERE parent = 'wide';

-- @measure flat
SELECT name, value FROM kv WHERE parent = 'flat' LIMIT 10;
