CREATE EXTENSION hstore SCHEMA ext;
CREATE EXTENSION citext SCHEMA ext;
CREATE EXTENSION pg_trgm SCHEMA ext;
CREATE EXTENSION ltree SCHEMA ext;
CREATE EXTENSION "uuid-ossp" SCHEMA ext;
CREATE EXTENSION btree_gist SCHEMA ext;
CREATE EXTENSION cube SCHEMA ext;
CREATE EXTENSION intarray SCHEMA ext;
CREATE EXTENSION seg SCHEMA ext;
CREATE EXTENSION isn SCHEMA ext;
CREATE EXTENSION lo SCHEMA ext;
CREATE EXTENSION bloom SCHEMA ext;
CREATE EXTENSION unaccent SCHEMA ext;
CREATE EXTENSION pgcrypto;
CREATE EXTENSION tablefunc;
CREATE EXTENSION postgres_fdw;
CREATE EXTENSION file_fdw;
CREATE EXTENSION dblink;
COMMENT ON EXTENSION hstore IS 'a changed comment on an extension';

CREATE TABLE app.from_extensions (
    id int PRIMARY KEY,
    pairs ext.hstore,
    words ext.citext UNIQUE,
    path ext.ltree,
    question ext.lquery,
    corner ext.cube,
    measure ext.seg,
    book ext.isbn13,
    large ext.lo,
    made uuid DEFAULT ext.uuid_generate_v4(),
    numbers int[],
    during tstzrange,
    EXCLUDE USING gist (id WITH =, during WITH &&)
);
INSERT INTO app.from_extensions VALUES
    (1, 'a=>1, "b \" c"=>NULL, ""=>"\\"', 'Größe', 'Top.Science.Astronomy', '*.Science.*', '(1,2),(3,4)', '1.5 .. 2.5',
     '978-0-393-04002-9', NULL, '6ba7b810-9dad-11d1-80b4-00c04fd430c8', '{1,2,3}', '[2024-01-01 00:00+00,2024-02-01 00:00+00)'),
    (2, '', 'second', '', NULL, '(0)', '5(+-)0.3', NULL, NULL, '6ba7b811-9dad-11d1-80b4-00c04fd430c8', '{}', 'empty'),
    (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE INDEX ON app.from_extensions USING gin (pairs);
CREATE INDEX ON app.from_extensions USING gist (path ext.gist_ltree_ops (siglen = 100));
CREATE INDEX ON app.from_extensions USING gin (numbers ext.gin__int_ops);
CREATE INDEX "trigrams of words" ON app.from_extensions USING gin ((words::text) ext.gin_trgm_ops);
CREATE INDEX ON app.from_extensions USING bloom (id) WITH (length = 80, col1 = 2);
CREATE TRIGGER unlink_large BEFORE UPDATE OR DELETE ON app.from_extensions FOR EACH ROW EXECUTE FUNCTION ext.lo_manage(large);
