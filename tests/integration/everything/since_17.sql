CREATE TABLE app.identity_partitioned (id int GENERATED ALWAYS AS IDENTITY, part int) PARTITION BY LIST (part);
CREATE TABLE app.identity_partitioned_1 PARTITION OF app.identity_partitioned FOR VALUES IN (1);
INSERT INTO app.identity_partitioned (part) SELECT 1 FROM generate_series(1, 5);
CREATE TABLE app.excluded_partitioned (part int, during int4range, EXCLUDE USING gist (part WITH =, during WITH &&)) PARTITION BY LIST (part);
CREATE TABLE app.excluded_partitioned_1 PARTITION OF app.excluded_partitioned FOR VALUES IN (1);
CREATE COLLATION app.builtin_utf8 (provider = builtin, locale = 'C.UTF-8');
GRANT MAINTAIN ON app.options TO cellar_reader;
CREATE TABLE app.partitioned_second_heap (a int) PARTITION BY LIST (a) USING second_heap;
CREATE TABLE app.partitioned_second_heap_1 PARTITION OF app.partitioned_second_heap FOR VALUES IN (1);
