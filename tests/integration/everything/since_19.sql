CREATE PUBLICATION every_sequence FOR ALL SEQUENCES;
CREATE PUBLICATION tables_and_sequences FOR ALL TABLES, ALL SEQUENCES;
CREATE PUBLICATION all_but FOR ALL TABLES EXCEPT (TABLE app.options, ONLY app.parent);
COMMENT ON PUBLICATION every_sequence IS 'their values, too';
CREATE TABLE app.types_19 (id int PRIMARY KEY, long_oid oid8, long_oids oid8[], base regdatabase, bases regdatabase[]);
INSERT INTO app.types_19 VALUES
    (1, '18446744073709551615', '{0,12345678901,NULL}', 'postgres', '{template0,NULL,-}'), (2, 0, '{}', '-', '{}'), (3, NULL, NULL, NULL, NULL);
CREATE INDEX ON app.types_19 (long_oid);
CREATE INDEX ON app.types_19 USING hash (long_oid);
CREATE TABLE app.virtual_partitioned (id int, v int GENERATED ALWAYS AS (id * 2) VIRTUAL, n int CHECK (n > 0) NOT ENFORCED) PARTITION BY RANGE (id);
CREATE TABLE app.virtual_partitioned_low PARTITION OF app.virtual_partitioned FOR VALUES FROM (0) TO (10);
INSERT INTO app.virtual_partitioned (id, n) VALUES (1, -1), (2, 2);
CREATE FOREIGN DATA WRAPPER with_connections HANDLER postgres_fdw_handler VALIDATOR postgres_fdw_validator CONNECTION postgres_fdw_connection;
SELECT to_regclass('pg_catalog.pg_propgraph_element') IS NOT NULL AS graphs \gset
\if :graphs
CREATE TABLE app.vineyard (id int PRIMARY KEY, name text);
CREATE TABLE app.road (id int PRIMARY KEY, source int REFERENCES app.vineyard, target int REFERENCES app.vineyard, km numeric);
INSERT INTO app.vineyard VALUES (1, 'north'), (2, 'south'), (3, 'hill');
INSERT INTO app.road VALUES (1, 1, 2, 1.50), (2, 2, 3, 0.7), (3, 3, 1, 12);
CREATE PROPERTY GRAPH app.roads
    VERTEX TABLES (app.vineyard KEY (id) LABEL place PROPERTIES (id, name))
    EDGE TABLES (app.road KEY (id) SOURCE KEY (source) REFERENCES vineyard (id) DESTINATION KEY (target) REFERENCES vineyard (id)
        LABEL way PROPERTIES (km));
COMMENT ON PROPERTY GRAPH app.roads IS 'one way each';
GRANT SELECT ON PROPERTY GRAPH app.roads TO cellar_reader;
CREATE VIEW app.neighbours AS SELECT * FROM GRAPH_TABLE (app.roads MATCH (a IS place)-[w IS way]->(b IS place) COLUMNS (a.name AS a, w.km, b.name AS b));
\else
\warn property graphs
\endif
