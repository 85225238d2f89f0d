-- Every built-in type that a column can have, every kind of table, and values that are written in more ways than one.
CREATE SCHEMA "Odd ""Names"", (quoted)";
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN pairs AS pair[];
CREATE TABLE numbers (
    s smallint, i int, b bigint, n numeric, n2 numeric(10, 2), r real, d double precision, m money, o oid, x xid, c cid,
    p positive
);
INSERT INTO numbers VALUES
    (1, 2, 3, 'NaN', 1.5, 0.1, 0.1, 12.34, 1, '2', '3', 1),
    (-32768, -2147483648, -9223372036854775808, -1e100, 0, 'NaN', '-Infinity', -0.01, 4294967295, '4294967295', '0', 7),
    (NULL, NULL, NULL, 1e-100, NULL, 1e-45, 5e-324, NULL, NULL, NULL, NULL, NULL),
    (0, 0, 0, 0.00, 0.00, -0.0, -0.0, 0, 0, '0', '0', 2);
INSERT INTO numbers (r, d) SELECT random() * 10 ^ (n % 40 - 20), random() * 10 ^ (n % 600 - 300) FROM generate_series(1, 500) n;
CREATE TABLE texts (t text, v varchar(5), c char(5), q "char", n name, y bytea, j json, jb jsonb, jp jsonpath, u uuid, ts tsvector,
    tq tsquery, xm xml);
INSERT INTO texts VALUES
    (E'tab\there\nline\rreturn\\back\b\f\v', 'v', 'c', 'q', 'n', '\x00ff0a5c', '{"a" : 1.0}', '{"a" : 1.0}', '$.a[*]', '00000000-0000-0000-0000-000000000001',
     'a:1A fat cat', 'fat & (cat | rat:B)', '<a>1</a>'),
    ('\N', '\.', '', '', '', '', 'null', 'null', '$', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '', '', ''),
    ('', 'öäü', '日本', 'x', 'ü', '\x5c2e0a', '"\u00e4"', '"\u00e4"', 'strict $."a b"', NULL, NULL, NULL, NULL);
CREATE TABLE times (d date, t time, tt timetz, ts timestamp, tz timestamptz, i interval);
INSERT INTO times VALUES
    ('2024-02-29', '23:59:59.999999', '12:00:00+05:45', '1999-12-31 23:59:60', '2024-03-31 02:30:00 Europe/Berlin', '1 year 2 mons -3 days 04:05:06.789'),
    ('infinity', '24:00', '00:00-15:59', '-infinity', 'infinity', '-1 mon'), ('0044-03-15 BC', '0:0', NULL, '4713-01-01 BC', '0001-01-01 BC', '0');
CREATE TABLE places (p point, l line, s lseg, b box, h path, g polygon, c circle, i inet, d cidr, m macaddr, m8 macaddr8, bi bit(3),
    vb varbit, pl pg_lsn, tx pg_snapshot, ti tid);
INSERT INTO places VALUES ('(0.1,1e300)', '{1,2,3}', '((0,0),(1,1))', '((0,0),(1,1))', '[(0,0),(1,1)]', '((0,0),(1,1))', '<(0,0),5>', '10.0.0.1/8', '10.0.0.0/8',
    '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', B'101', B'', 'FF/1', '10:20:10,14', '(0,1)');
CREATE TABLE made (e mood, ea mood[], c pair, ca pair[], dp pairs, r int4range, nr numrange, tr tstzrange, mr int4multirange,
    a int[], aa text[][], rc regclass, rp regprocedure, rt regtype, rr regrole, rn regnamespace, rg regconfig, ro regoperator,
    iv int2vector, ov oidvector);
INSERT INTO made VALUES ('ok', '{sad,happy}', '(1,"a ""b"", c")', ARRAY[(1, NULL)::pair, (2, '\')::pair], ARRAY[(3, '')::pair],
    '[1,5)', '(,1.5]', '["2024-01-01 00:00+01",)', '{[1,3),[5,7)}', '[0:1]={1,2}', '{{a,"b c"},{NULL,"NULL"}}',
    'numbers', 'pg_catalog.lower(text)', 'mood', 'postgres', '"Odd ""Names"", (quoted)"', 'english', '+(int,int)', '1 2', '3 4');
CREATE TABLE "Odd ""Names"", (quoted)"."Tab	le.x (y)" ("select" int, "A ""b""), (c" text, "	" int GENERATED ALWAYS AS ("select" * 2) STORED);
INSERT INTO "Odd ""Names"", (quoted)"."Tab	le.x (y)" VALUES (1, 'x'), (2, NULL);
CREATE TABLE columnless ();
INSERT INTO columnless SELECT FROM generate_series(1, 3);
CREATE TABLE rowless (a int);
CREATE TABLE only_generated (g int GENERATED ALWAYS AS (1) STORED);
INSERT INTO only_generated SELECT FROM generate_series(1, 4);
CREATE TABLE dropped (a int, b text, c int);
INSERT INTO dropped VALUES (1, 'gone', 3);
ALTER TABLE dropped DROP COLUMN b;
ALTER TABLE dropped ADD COLUMN d int DEFAULT 5;
CREATE TABLE parent (a int);
CREATE TABLE child (b int) INHERITS (parent);
INSERT INTO parent VALUES (1);
INSERT INTO child VALUES (2, 3), (4, 5);
CREATE TABLE typed OF pair;
INSERT INTO typed VALUES (1, 'x');
CREATE TABLE ranged (a int, t text) PARTITION BY RANGE (a);
CREATE TABLE ranged_1 PARTITION OF ranged FOR VALUES FROM (0) TO (10);
CREATE TABLE ranged_2 (t text, a int NOT NULL);
ALTER TABLE ranged ATTACH PARTITION ranged_2 DEFAULT;
INSERT INTO ranged SELECT n, n::text FROM generate_series(1, 20) n;
CREATE TABLE hashed (e mood, n int) PARTITION BY HASH (e);
CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO hashed SELECT (ARRAY['sad', 'ok', 'happy']::mood[])[n % 3 + 1], n FROM generate_series(1, 50) n;
CREATE UNLOGGED TABLE unlogged AS SELECT 1 AS a;
CREATE TABLE secured (a int, owner name);
INSERT INTO secured VALUES (1, 'nobody'), (2, 'somebody');
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
ALTER TABLE secured FORCE ROW LEVEL SECURITY;
CREATE POLICY mine ON secured USING (owner = current_user);
CREATE MATERIALIZED VIEW seen AS SELECT count(*) FROM numbers;
CREATE SEQUENCE plain_sequence START 5;
CREATE SEQUENCE down INCREMENT -3 MINVALUE -9223372036854775808 START -1;
SELECT nextval('down'), nextval('down');
CREATE TABLE with_identity (id int GENERATED ALWAYS AS IDENTITY, n int);
INSERT INTO with_identity (n) VALUES (1), (2);
CREATE TABLE wide AS SELECT n AS id, repeat(chr(65 + n % 26), n * 1000) AS t FROM generate_series(1, 300) n;
SELECT lo_from_bytea(0, '\x00ff'), lo_from_bytea(0, ''), lo_from_bytea(0, convert_to(repeat('large', 500000), 'UTF8'));
SELECT lo_put(lo_create(0), 100000, '\x01');
-- Whoever plans a query of these evaluates the function, which fails; pg_dump plans none.
CREATE FUNCTION told() RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN 1; END';
CREATE TABLE indexed AS SELECT n FROM generate_series(1, 10) n;
CREATE INDEX ON indexed ((told()));
CREATE TABLE partly_indexed AS SELECT n FROM generate_series(1, 10) n;
CREATE INDEX ON partly_indexed (n) WHERE n > told();
CREATE TABLE estimated AS SELECT n FROM generate_series(1, 10) n;
CREATE STATISTICS estimated_together ON (n + told()), (told()) FROM estimated;
CREATE OR REPLACE FUNCTION told() RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RAISE ''this ran''; END';
