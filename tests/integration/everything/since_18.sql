CREATE TABLE app.virtual_columns (a int, v int GENERATED ALWAYS AS (a * 2) VIRTUAL, s int GENERATED ALWAYS AS (a * 3) STORED);
INSERT INTO app.virtual_columns (a) VALUES (1), (NULL), (3);
CREATE TABLE app.only_virtual (v int GENERATED ALWAYS AS (7)); INSERT INTO app.only_virtual DEFAULT VALUES;
CREATE TABLE app.constraints_18 (
    id int, during int4range, hen int,
    CONSTRAINT temporal PRIMARY KEY (id, during WITHOUT OVERLAPS),
    CONSTRAINT not_enforced CHECK (id > 100) NOT ENFORCED,
    CONSTRAINT named_not_null NOT NULL hen,
    FOREIGN KEY (hen) REFERENCES app.hen NOT ENFORCED);
INSERT INTO app.constraints_18 VALUES (1, '[1,5)', 999), (1, '[5,9)', 1);
CREATE TABLE app.temporal_reference (id int, during int4range, FOREIGN KEY (id, PERIOD during) REFERENCES app.constraints_18 (id, PERIOD during));
INSERT INTO app.temporal_reference VALUES (1, '[2,7)');
CREATE TABLE app.nulls_not_validated (a int); INSERT INTO app.nulls_not_validated VALUES (NULL);
ALTER TABLE app.nulls_not_validated ADD CONSTRAINT later NOT NULL a NOT VALID;
CREATE INDEX gin_parallel ON app.virtual_columns USING gin ((ARRAY[a]));
CREATE PUBLICATION generated FOR TABLE app.virtual_columns WITH (publish_generated_columns = stored);
