-- A column of every built-in type with ordinary, extreme and empty values, and the same in arrays.
CREATE TABLE app.every_type (
    id int PRIMARY KEY,
    c_smallint smallint, c_int int, c_bigint bigint, c_numeric numeric, c_numeric_20_5 numeric(20,5), c_numeric_3_m2 numeric :precision,
    c_real real, c_double double precision, c_money money,
    c_char char(5), c_varchar varchar(20), c_text text, c_one_char "char", c_name name,
    c_bytea bytea,
    c_timestamp timestamp, c_timestamp_2 timestamp(2), c_timestamptz timestamptz, c_date date, c_time time, c_timetz timetz,
    c_interval interval, c_interval_ym interval year to month,
    c_boolean boolean,
    c_point point, c_line line, c_lseg lseg, c_box box, c_path path, c_polygon polygon, c_circle circle,
    c_cidr cidr, c_inet inet, c_macaddr macaddr, c_macaddr8 macaddr8,
    c_bit bit(3), c_varbit bit varying,
    c_tsvector tsvector, c_tsquery tsquery, c_uuid uuid, c_xml xml, c_json json, c_jsonb jsonb, c_jsonpath jsonpath,
    c_int4range int4range, c_int8range int8range, c_numrange numrange, c_tsrange tsrange, c_tstzrange tstzrange, c_daterange daterange,
    c_int4multirange int4multirange, c_int8multirange int8multirange, c_nummultirange nummultirange,
    c_tsmultirange tsmultirange, c_tstzmultirange tstzmultirange, c_datemultirange datemultirange,
    c_oid oid, c_xid xid, c_xid8 xid8, c_cid cid, c_tid tid, c_pg_lsn pg_lsn, c_pg_snapshot pg_snapshot, c_txid_snapshot txid_snapshot,
    c_regclass regclass, c_regproc regproc, c_regprocedure regprocedure, c_regoper regoper, c_regoperator regoperator,
    c_regtype regtype, c_regnamespace regnamespace, c_regrole regrole, c_regcollation regcollation,
    c_regconfig regconfig, c_regdictionary regdictionary,
    c_int2vector int2vector, c_oidvector oidvector, c_aclitem aclitem, c_refcursor refcursor
);
INSERT INTO app.every_type VALUES (
    1,
    32767, 2147483647, 9223372036854775807, 123456789012345678901234567890.123456789, 3.14159, 12345,
    3.4028235e38, 1.7976931348623157e308, 12.34,
    'abc', 'varchar', E'tab\t newline\n return\r backslash\\ quote'' double" bell\x07 \\. end', 'x', 'a name',
    '\x00ff5c2e0a0d',
    '2024-02-29 23:59:59.999999', '2024-02-29 12:00:00.12', '2024-03-31 02:30:00+02', '2024-02-29', '23:59:59.999999', '12:00:00+14',
    '1 year -2 mons +3 days -04:05:06.789', '1-2',
    true,
    '(1,2)', '{1,2,3}', '[(0,0),(1,1)]', '(1,1),(0,0)', '((0,0),(1,1),(2,0))', '((0,0),(1,1),(2,0))', '<(0,0),2>',
    '10.0.0.0/8', '::1/64', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05',
    B'101', B'10101010101',
    'a:1A fat:2B,4C cat:5D ''q''''uote'':7', 'fat & (cat | !rat) <-> ca:*AB', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
    '<a b="c">text &amp; more<!-- note --></a>', '{"a" :  1, "a": 2, "\u00e9": "\\"}', '{"a": [1, 2.50, null, "\n"], "b": {}}', '$.a[*] ? (@ > 2)',
    '[1,10)', '(,5]', '[1.5,2.5]', '[2024-01-01,infinity)', '[2024-01-01 00:00+00,)', 'empty',
    '{[1,3),[5,7)}', '{}', '{(,)}', '{[2024-01-01,2024-02-01)}', '{[2024-01-01 00:00+00,2024-02-01 00:00+00)}', '{[2024-01-01,2024-01-05)}',
    4294967295, '4294967295', '18446744073709551615', '7', '(4294967294,65535)', 'FFFFFFFF/FFFFFFFF', '10:20:10,14,15', '10:20:10,14,15',
    'app.every_type', 'pg_catalog.now', 'pg_catalog.lower(text)', 'pg_catalog.||/', 'pg_catalog.+(integer,integer)',
    'app.address', 'app', 'cellar_owner', '"C"', 'app.wine', 'app.stemmer',
    '1 2 3', '4 5 6', 'cellar_owner=r*w/cellar_owner', 'a cursor');
INSERT INTO app.every_type (id, c_smallint, c_int, c_bigint, c_numeric, c_real, c_double, c_money, c_char, c_varchar, c_text, c_one_char, c_name, c_bytea,
    c_timestamp, c_timestamptz, c_date, c_time, c_timetz, c_interval, c_boolean, c_point, c_inet, c_varbit, c_tsvector, c_json, c_jsonb,
    c_int4range, c_tsrange, c_oid, c_regclass) VALUES
    (2, -32768, -2147483648, -9223372036854775808, 'NaN', 'NaN', 'NaN', -92233720368547758.08, '', '', '', '', '', '',
    '-infinity', 'infinity', '-infinity', '24:00', '00:00-15:59:59', '-178000000 years', false, '(NaN,Infinity)', '0.0.0.0/0', B'', '', '""', 'null',
    'empty', '(,)', 0, '-'),
    (3, 0, 0, 0, :infinity, '-Infinity', 'Infinity', 0, '     ', ' ', '\N', E'\\200', '\N', '\x5c4e',
    '0001-01-01 BC', '4714-11-24 00:00:00+00 BC', '5874897-12-31', '00:00', '00:00+15:59:59', '0', NULL, '(-0,1e-300)', '255.255.255.255', B'1', 'a', '[]', '[]',
    '[-2147483648,2147483646]', '[-infinity,infinity]', 1, '16777215'),
    (4, 1, 1, 1, -(:infinity)::numeric, 1.17549435e-38, 4.9406564584124654e-324, 0.01, 'ü', '€', '🍷 ä ñ 漢字 ‏עברית‏', '"', 'ü', '\x',
    'infinity', '-infinity', 'infinity', '12:00', '12:00:00.000001-05:30', '1 mon -1 day', true, '(0,-0)', 'fe80::1', B'0', E'''\\n''', '{}', '{}',
    NULL, NULL, NULL, NULL);
INSERT INTO app.every_type (id) VALUES (5);
INSERT INTO app.every_type (id, c_numeric, c_double) VALUES (6, repeat('9', 1000)::numeric / 7, 0.1 + 0.2), (7, ('1e-' || 1000)::numeric, -0.0);
\if :v17
UPDATE app.every_type SET c_interval = 'infinity' WHERE id = 5;
\endif

-- Arrays of the same values: with bounds, two-dimensional, empty, with a null, null.
DO $$
DECLARE columns text; flat text; square text;
BEGIN
    SELECT string_agg(format('%I %s', attname, format_type(t.typarray, -1)), ', ' ORDER BY attnum),
           string_agg(format('ARRAY[%1$I, NULL, %1$I]', attname), ', ' ORDER BY attnum),
           string_agg(format('ARRAY[ARRAY[%1$I, %1$I], ARRAY[%1$I, %1$I]]', attname), ', ' ORDER BY attnum)
      INTO columns, flat, square
      FROM pg_catalog.pg_attribute JOIN pg_catalog.pg_type t ON t.oid = atttypid
     WHERE attrelid = 'app.every_type'::regclass AND attnum > 0;
    EXECUTE format('CREATE TABLE app.every_array (%s)', columns);
    EXECUTE format('INSERT INTO app.every_array SELECT %s FROM app.every_type', flat);
    EXECUTE format('INSERT INTO app.every_array SELECT %s FROM app.every_type WHERE id < 3', square);
    EXECUTE 'INSERT INTO app.every_array DEFAULT VALUES';
END $$;
INSERT INTO app.every_array (c_int, c_text) VALUES ('{}', '{}'), ('[-2:0]={1,2,3}', '{"", "NULL", NULL, "{,}", "\"\\"}');

CREATE TABLE app.own_types (
    id int PRIMARY KEY,
    colour app.colour, colours app.colour[], empty app.nothing_in_it, address app.address, person app.person, people app.person[],
    positive app.positive, small app.small_positive, codes app.codes, settled app.settled_person,
    vintage app.vintage, vintages app.vintages, span app.name_span, weight app.weight, weights app.weight[],
    row_of_table app.every_type
);
INSERT INTO app.own_types
    SELECT 1, 'rosé', '{red,"sparkling
two lines",NULL}', NULL, ('Allee "1", \ (west)', 7, '(1,2)')::app.address, ('Ann', ARRAY[('', NULL, NULL)::app.address, NULL], 'it''s orange')::app.person,
           ARRAY[('Bob', NULL, NULL)::app.person], 1, 999, '{a,b}', ('Cy', '{}', 'red')::app.person,
           '[1.5,Infinity]', '{[1,2),[3,NaN]}', '["a","z")', '7', '{1,2}', e
      FROM app.every_type e WHERE id = 1;
INSERT INTO app.own_types (id, codes) VALUES (2, '{}');
ALTER TYPE app.colour RENAME VALUE 'grey' TO 'gray';
CREATE INDEX ON app.own_types (weight);
CREATE INDEX ON app.own_types USING hash (weight);
CREATE INDEX ON app.own_types USING gist (vintage);

-- Every byte, alone and together.
CREATE TABLE app.every_byte (n int PRIMARY KEY, b bytea NOT NULL);
INSERT INTO app.every_byte SELECT n, set_byte('\x00', 0, n) FROM generate_series(0, 255) n;
INSERT INTO app.every_byte SELECT 256, string_agg(b, '' ORDER BY n) FROM app.every_byte;
CREATE TABLE app.every_character (c text);
INSERT INTO app.every_character SELECT chr(n) FROM generate_series(1, 1500) n;

-- Out of line: compressed and not, and one value of the size that was asked for.
CREATE TABLE app.toasted (id int PRIMARY KEY, doc jsonb, raw json, packed text :pglz, loose text);
ALTER TABLE app.toasted ALTER loose SET STORAGE EXTERNAL;
INSERT INTO app.toasted
    SELECT i, jsonb_object_agg('key ' || k, md5(k::text || i)), json_agg(md5(k::text)), repeat('wine ', 10000 * i), string_agg(md5((k * i)::text), '')
      FROM generate_series(1, 3) i, generate_series(1, 20000) k GROUP BY i;
CREATE TABLE app.big_values (id int PRIMARY KEY, t text, b bytea);
INSERT INTO app.big_values VALUES (1, left(repeat('0123456789 big value ', :big / 21 + 1), :big), NULL);
INSERT INTO app.big_values VALUES (2, NULL, decode(left(repeat('00ff5c0a', :big / 8 + 1), (:big / 2) * 2), 'hex'));
