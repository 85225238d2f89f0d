-- Every extension of the selection, each with rows whose values, indexes or catalogs need it.
CREATE EXTENSION postgis;
CREATE EXTENSION postgis_raster;
CREATE EXTENSION postgis_topology;
CREATE EXTENSION fuzzystrmatch;
CREATE EXTENSION postgis_tiger_geocoder;
CREATE EXTENSION address_standardizer;
CREATE EXTENSION address_standardizer_data_us;
CREATE EXTENSION postgis_sfcgal;
SET search_path = public;
CREATE TABLE places (id serial PRIMARY KEY, at geometry(Point, 4326), area geography(Polygon), box box2d, tin geometry(TinZ));
INSERT INTO places (at, area, box, tin) SELECT ST_SetSRID(ST_MakePoint(n, n / 2.0), 4326),
    ST_Buffer(ST_SetSRID(ST_MakePoint(n, n / 3.0), 4326)::geography, 1000), ST_MakeBox2D(ST_Point(0, 0), ST_Point(n, n)),
    'TIN Z (((0 0 0, 0 0 1, 0 1 0, 0 0 0)))'::geometry FROM generate_series(1, 50) n;
CREATE INDEX ON places USING gist (at);
CREATE INDEX ON places USING spgist (at);
INSERT INTO spatial_ref_sys (srid, auth_name, auth_srid, srtext, proj4text) VALUES (990001, 'wine', 1, 'LOCAL_CS["cellar"]', '+proj=longlat');
CREATE TABLE tiles (id int PRIMARY KEY, rast raster);
INSERT INTO tiles SELECT n, ST_AddBand(ST_MakeEmptyRaster(8, 8, n, -n, 1, -1, 0, 0, 4326), '8BUI'::text, n, 0) FROM generate_series(1, 20) n;
SELECT AddRasterConstraints('public'::name, 'tiles'::name, 'rast'::name);
SELECT topology.CreateTopology('streets', 4326);
CREATE TABLE roads (id int PRIMARY KEY);
SELECT topology.AddTopoGeometryColumn('streets', 'public', 'roads', 'line', 'LINESTRING');
INSERT INTO roads (id, line) SELECT n, topology.toTopoGeom(ST_SetSRID(ST_MakeLine(ST_MakePoint(0, n), ST_MakePoint(9, n)), 4326), 'streets', 1) FROM generate_series(1, 5) n;
UPDATE tiger.geocode_settings SET setting = '9' WHERE name = 'debug_normalize_address';
INSERT INTO tiger.state (region, division, statefp, statens, stusps, name) VALUES ('1', '1', '99', '0', 'XX', 'Cellar');
INSERT INTO tiger.pagc_rules (rule, is_custom) VALUES ('1 2 3 -1 5', true);

CREATE EXTENSION vector;
CREATE TABLE embeddings (id int PRIMARY KEY, v vector(3), h halfvec(3), s sparsevec(5), b bit(3));
INSERT INTO embeddings SELECT n, ARRAY[n, 1.0 / n, sqrt(n)]::vector, ARRAY[n, 1, 2]::vector::halfvec, ('{1:' || n || ',3:0.5}/5')::sparsevec, B'101' FROM generate_series(1, 100) n;
CREATE INDEX ON embeddings USING hnsw (v vector_l2_ops);
CREATE INDEX ON embeddings USING ivfflat (v vector_cosine_ops) WITH (lists = 2);

CREATE SCHEMA partman;
CREATE EXTENSION pg_partman SCHEMA partman;
CREATE TABLE events (at timestamptz NOT NULL, what text) PARTITION BY RANGE (at);
SELECT partman.create_parent('public.events', 'at', '1 year', p_start_partition => '2024-01-01', p_template_table => NULL);
INSERT INTO events SELECT '2024-01-01'::timestamptz + n * interval '20 days', md5(n::text) FROM generate_series(0, 40) n;

CREATE EXTENSION hypopg;
CREATE EXTENSION hll;
CREATE TABLE visits (day date PRIMARY KEY, who hll);
INSERT INTO visits SELECT date '2024-01-01' + n, hll_add_agg(hll_hash_integer(m)) FROM generate_series(0, 5) n, generate_series(1, 500) m GROUP BY n;

CREATE EXTENSION ip4r;
CREATE TABLE networks (a ip4, r ip4r, b ip6, s ip6r, e ipaddress, f iprange);
INSERT INTO networks SELECT ('10.0.0.' || n)::ip4, ('10.0.' || n || '.0/24')::ip4r, '2001:db8::1', '2001:db8::/32', '10.1.2.3', ('10.0.0.0-10.0.0.' || n)::iprange FROM generate_series(1, 20) n;
CREATE INDEX ON networks USING gist (r);

CREATE EXTENSION pgaudit;
CREATE EXTENSION pg_stat_statements;

CREATE EXTENSION rum;
CREATE TABLE texts (id serial PRIMARY KEY, t text, v tsvector);
INSERT INTO texts (t, v) SELECT 'wine ' || n, to_tsvector('simple', 'wine cellar ' || n) FROM generate_series(1, 100) n;
CREATE INDEX ON texts USING rum (v rum_tsvector_ops);

CREATE EXTENSION pgrouting;
CREATE TABLE edges (id bigint PRIMARY KEY, source bigint, target bigint, cost float8, reverse_cost float8);
INSERT INTO edges SELECT n, n, n + 1, n, -1 FROM generate_series(1, 20) n;
CREATE TABLE route AS SELECT seq, node, edge, agg_cost FROM pgr_dijkstra('SELECT id, source, target, cost, reverse_cost FROM public.edges', 1, 20);

CREATE EXTENSION pointcloud;
CREATE EXTENSION pointcloud_postgis;
INSERT INTO pointcloud_formats (pcid, srid, schema) VALUES (1, 4326, '<?xml version="1.0" encoding="UTF-8"?><pc:PointCloudSchema xmlns:pc="http://pointcloud.org/schemas/PC/1.1" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><pc:dimension><pc:position>1</pc:position><pc:size>4</pc:size><pc:name>X</pc:name><pc:interpretation>int32_t</pc:interpretation><pc:scale>0.01</pc:scale></pc:dimension><pc:dimension><pc:position>2</pc:position><pc:size>4</pc:size><pc:name>Y</pc:name><pc:interpretation>int32_t</pc:interpretation><pc:scale>0.01</pc:scale></pc:dimension><pc:metadata><Metadata name="compression">dimensional</Metadata></pc:metadata></pc:PointCloudSchema>');
CREATE TABLE scans (id int PRIMARY KEY, pt pcpoint(1), pa pcpatch(1));
INSERT INTO scans SELECT n, PC_MakePoint(1, ARRAY[n, n / 2.0]), (SELECT PC_Patch(PC_MakePoint(1, ARRAY[m, m])) FROM generate_series(1, 9) m) FROM generate_series(1, 10) n;

CREATE EXTENSION orafce;
CREATE TABLE oracle_table (id int, a oracle.varchar2(20), b oracle.nvarchar2(10), d oracle.date);
INSERT INTO oracle_table SELECT n, 'a' || n, 'b' || n, ('2024-01-02 03:04:0' || n % 10)::oracle.date FROM generate_series(1, 10) n;

CREATE EXTENSION age;
LOAD 'age';
SET search_path = ag_catalog, public;
SELECT create_graph('cellar');
SELECT * FROM cypher('cellar', $$ CREATE (a:Wine {name: 'Riesling', year: 2021})-[:FROM {since: 1900}]->(b:Region {name: 'Mosel'}) RETURN a $$) AS (a agtype);
SELECT * FROM cypher('cellar', $$ UNWIND range(1, 30) AS n CREATE (:Wine {name: 'wine ' + toString(n), n: n}) $$) AS (a agtype);
SET search_path = public;

CREATE EXTENSION timescaledb;
CREATE TABLE readings (at timestamptz NOT NULL, sensor int NOT NULL, value float8, PRIMARY KEY (at, sensor));
SELECT create_hypertable('readings', by_range('at', interval '1 day'));
INSERT INTO readings SELECT '2024-01-01'::timestamptz + n * interval '1 hour', n % 3, sqrt(n) FROM generate_series(0, 500) n;
CREATE INDEX ON readings (sensor, at DESC);
CREATE TABLE "Odd name" ("At" bigint NOT NULL, x text);
SELECT create_hypertable('"Odd name"', by_range('At', 100), create_default_indexes => false);
SELECT add_dimension('"Odd name"', by_hash('x', 2));
INSERT INTO "Odd name" SELECT n, md5(n::text) FROM generate_series(0, 350) n;
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.value := NEW.value + 1; RETURN NEW; END';
CREATE TRIGGER noted BEFORE INSERT ON readings FOR EACH ROW EXECUTE FUNCTION noted();
CREATE VIEW daily AS SELECT time_bucket('1 day', at) AS day, count(*), sum(value) FROM readings GROUP BY 1;
CREATE MATERIALIZED VIEW daily_kept AS SELECT * FROM daily;

CREATE EXTENSION pglogical;
SELECT pglogical.create_node(node_name := 'cellar', dsn := 'host=/nowhere dbname=cellar password=wine');
SELECT pglogical.create_replication_set('wines');
SELECT pglogical.replication_set_add_table('wines', 'public.places');

-- contrib
CREATE EXTENSION citext; CREATE EXTENSION cube; CREATE EXTENSION earthdistance; CREATE EXTENSION hstore; CREATE EXTENSION intarray;
CREATE EXTENSION isn; CREATE EXTENSION ltree; CREATE EXTENSION pg_trgm; CREATE EXTENSION seg; CREATE EXTENSION "uuid-ossp";
CREATE EXTENSION bloom; CREATE EXTENSION btree_gin; CREATE EXTENSION dict_int; CREATE EXTENSION dict_xsyn; CREATE EXTENSION lo;
CREATE EXTENSION tablefunc; CREATE EXTENSION tcn; CREATE EXTENSION unaccent; CREATE EXTENSION pgcrypto; CREATE EXTENSION xml2;
CREATE EXTENSION intagg; CREATE EXTENSION insert_username; CREATE EXTENSION moddatetime; CREATE EXTENSION autoinc; CREATE EXTENSION refint;
CREATE EXTENSION tsm_system_rows; CREATE EXTENSION tsm_system_time; CREATE EXTENSION postgres_fdw; CREATE EXTENSION file_fdw; CREATE EXTENSION dblink;
CREATE EXTENSION amcheck; CREATE EXTENSION pageinspect; CREATE EXTENSION pg_buffercache; CREATE EXTENSION pg_freespacemap; CREATE EXTENSION pg_prewarm;
CREATE EXTENSION pg_surgery; CREATE EXTENSION pg_visibility; CREATE EXTENSION pg_walinspect; CREATE EXTENSION pgrowlocks; CREATE EXTENSION pgstattuple;
CREATE EXTENSION sslinfo; CREATE EXTENSION plperl; CREATE EXTENSION plperlu; CREATE EXTENSION plpython3u; CREATE EXTENSION bool_plperl;
CREATE EXTENSION bool_plperlu; CREATE EXTENSION hstore_plperl; CREATE EXTENSION hstore_plperlu; CREATE EXTENSION jsonb_plperl; CREATE EXTENSION jsonb_plperlu;
CREATE EXTENSION hstore_plpython3u; CREATE EXTENSION jsonb_plpython3u; CREATE EXTENSION ltree_plpython3u;
CREATE TABLE contrib (id int PRIMARY KEY, c citext, k cube, h hstore, a int[], i isbn, l ltree, s seg, u uuid, o lo, e earth);
INSERT INTO contrib SELECT n, 'Wine' || n, cube(ARRAY[n, 2]), hstore('n', n::text), ARRAY[n, n + 1], '978-0-393-04002-9', ('a.b' || n)::ltree,
    (n || ' .. ' || n + 1)::seg, uuid_generate_v5(uuid_ns_dns(), n::text), lo_from_bytea(0, n::text::bytea), ll_to_earth(n, n) FROM generate_series(1, 30) n;
CREATE INDEX ON contrib USING gist (c gist_trgm_ops); CREATE INDEX ON contrib USING gin (h); CREATE INDEX ON contrib USING gin (a gin__int_ops);
CREATE INDEX ON contrib USING gist (l); CREATE INDEX ON contrib USING gist (k); CREATE INDEX ON contrib USING bloom (id); CREATE INDEX ON contrib USING gin (id);
CREATE TRIGGER manages BEFORE UPDATE OR DELETE ON contrib FOR EACH ROW EXECUTE FUNCTION lo_manage(o);
CREATE TEXT SEARCH DICTIONARY numbers (TEMPLATE = intdict_template, maxlen = 4);
CREATE FUNCTION in_perl(hstore) RETURNS text LANGUAGE plperl TRANSFORM FOR TYPE hstore AS 'return join ",", sort keys %{$_[0]}';
CREATE FUNCTION in_python(ltree) RETURNS int LANGUAGE plpython3u TRANSFORM FOR TYPE ltree IMMUTABLE AS 'return len(args[0])';
CREATE INDEX ON contrib (in_python(l));
CREATE MATERIALIZED VIEW hashed AS SELECT id, in_perl(h), encode(digest(c::text, 'sha256'), 'hex') AS d, unaccent('Gewürz') FROM contrib;

-- Last: its event triggers would run with each statement above.
CREATE EXTENSION btree_gist;
CREATE EXTENSION periods;
CREATE TABLE contracts (id int, f date NOT NULL, t date NOT NULL);
SELECT periods.add_period('contracts', 'validity', 'f', 't');
SELECT periods.add_unique_key('contracts', ARRAY['id'], 'validity');
SELECT periods.add_system_time_period('contracts');
SELECT periods.add_system_versioning('contracts');
CREATE TABLE invoices (id int, contract int, f date NOT NULL, t date NOT NULL);
SELECT periods.add_period('invoices', 'validity', 'f', 't');
SELECT periods.add_foreign_key('invoices', ARRAY['contract'], 'validity', 'contracts_id_validity');
INSERT INTO contracts (id, f, t) SELECT n, '2024-01-01', '2025-01-01' FROM generate_series(1, 10) n;
INSERT INTO invoices SELECT n, n, '2024-02-01', '2024-03-01' FROM generate_series(1, 10) n;
UPDATE contracts SET t = '2026-01-01' WHERE id = 1;
CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM count(*) FROM public.readings; END';
CREATE EVENT TRIGGER on_ddl ON ddl_command_end EXECUTE FUNCTION on_ddl();
