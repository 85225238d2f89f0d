//! Custom archives whose large tables are read by several sessions: the same bytes as pg_dump's, or pg_dump's own.

use crate::common::{Cluster, Database};

mod bytes;
mod faults;
mod restores;

/// Tables which differ in everything that a range may depend on, [`SPLIT`] of them safe to be read in ranges. None was analysed, and
/// `toasted` has 30 MB of large values and three pages.
const TABLES: &str = "
    CREATE TABLE rows AS SELECT n, md5(n::text) AS label FROM generate_series(1, 250000) n;
    CREATE INDEX rows_label ON rows (lower(label)) WHERE n > 7;
    CREATE TABLE bloated (n int, filler text) WITH (autovacuum_enabled = off);
    INSERT INTO bloated SELECT n, repeat('x', 200) FROM generate_series(1, 60000) n;
    DELETE FROM bloated WHERE n % 50 <> 0;
    UPDATE bloated SET n = -n WHERE n % 100 = 0;
    CREATE TABLE toasted (n int, inline text, large text);
    ALTER TABLE toasted ALTER inline SET STORAGE PLAIN, ALTER large SET STORAGE EXTERNAL;
    INSERT INTO toasted SELECT n, repeat('x', 3000), repeat(chr(64 + n), 5000000) || n FROM generate_series(1, 6) n;
    CREATE TABLE dropped (a int, b text, \"C \"\"d\" int, e int GENERATED ALWAYS AS (a + 1) STORED);
    INSERT INTO dropped SELECT n, 'x', -n FROM generate_series(1, 1000) n; ALTER TABLE dropped DROP COLUMN b;
    ALTER TABLE dropped ADD f text DEFAULT 'later';
    CREATE TABLE parent (n int); CREATE TABLE child (m int) INHERITS (parent);
    INSERT INTO parent SELECT generate_series(1, 100); INSERT INTO child SELECT n, n FROM generate_series(1, 200) n;
    CREATE TABLE guarded (n int); INSERT INTO guarded SELECT generate_series(1, 50);
    ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; ALTER TABLE guarded FORCE ROW LEVEL SECURITY;
    CREATE UNLOGGED TABLE unlogged AS SELECT n FROM generate_series(1, 5) n;
    CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; CREATE TABLE empty (n int);
    CREATE TABLE root (n int, label text) PARTITION BY HASH (n);
    CREATE TABLE part_0 PARTITION OF root FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE part_1 (label text, n int); ALTER TABLE root ATTACH PARTITION part_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    INSERT INTO root SELECT n, 'x' || n FROM generate_series(1, 1000) n;
    CREATE FUNCTION theirs(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1; END';
    CREATE TABLE indexed AS SELECT generate_series(1, 100) AS n; CREATE INDEX ON indexed (theirs(n));
    SELECT lo_from_bytea(0, decode(repeat('ab', 1000000), 'hex')); SELECT lo_create(0);
    CREATE SEQUENCE counted; SELECT nextval('counted')";

/// Number of the tables above that several sessions read.
const SPLIT: usize = 11;

/// The tables above in a new database.
fn large<'a>(cluster: &'a Cluster, purpose: &str) -> Database<'a> {
    let database = cluster.create(purpose);
    database.sql(TABLES);
    database
}
