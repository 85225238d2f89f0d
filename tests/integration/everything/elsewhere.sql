-- Foreign data, publications and subscriptions. Nothing here is connected to.
CREATE FOREIGN DATA WRAPPER of_our_own OPTIONS (debug 'true');
CREATE FOREIGN DATA WRAPPER with_functions HANDLER postgres_fdw_handler VALIDATOR postgres_fdw_validator;
CREATE SERVER far_away TYPE 'old' VERSION '1.0' FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'db.example.invalid', port '5433', dbname 'it''s');
CREATE SERVER "odd ""server""" FOREIGN DATA WRAPPER of_our_own;
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE USER MAPPING FOR CURRENT_USER SERVER far_away OPTIONS (user 'me', password 'mapping-password');
CREATE USER MAPPING FOR PUBLIC SERVER far_away OPTIONS (user 'guest');
CREATE USER MAPPING FOR cellar_reader SERVER far_away OPTIONS (user 'reader', password_required 'false');
GRANT USAGE ON FOREIGN SERVER far_away TO cellar_reader;
GRANT USAGE ON FOREIGN DATA WRAPPER of_our_own TO cellar_reader;
COMMENT ON SERVER far_away IS 'far';
COMMENT ON FOREIGN DATA WRAPPER of_our_own IS 'ours';
CREATE FOREIGN TABLE app.far_table (id int OPTIONS (column_name 'ID') NOT NULL, t text DEFAULT 'x' COLLATE "C", CHECK (id > 0))
    SERVER far_away OPTIONS (schema_name 'public', table_name 'other');
CREATE FOREIGN TABLE app.file_table (line text) SERVER files OPTIONS (filename '/nonexistent/file.csv', format 'csv');
CREATE TABLE app.partly_far (id int, t text) PARTITION BY LIST (id);
CREATE TABLE app.partly_far_here PARTITION OF app.partly_far FOR VALUES IN (1, 2);
CREATE FOREIGN TABLE app.partly_far_there PARTITION OF app.partly_far FOR VALUES IN (3) SERVER far_away;
INSERT INTO app.partly_far_here VALUES (1, 'here');
COMMENT ON FOREIGN TABLE app.far_table IS 'not ours';

CREATE PUBLICATION everything FOR ALL TABLES WITH (publish = 'insert, truncate');
\if :v15
CREATE PUBLICATION part_of_it FOR TABLE app.options (id, n) WHERE (id > 5), ONLY app.parent WITH (publish = 'insert');
CREATE PUBLICATION "odd ""publication""" FOR TABLES IN SCHEMA public WITH (publish_via_partition_root = true);
\else
CREATE PUBLICATION part_of_it FOR TABLE app.options, ONLY app.parent WITH (publish = 'insert');
\endif
CREATE PUBLICATION of_nothing;
ALTER PUBLICATION of_nothing OWNER TO cellar_owner;
COMMENT ON PUBLICATION part_of_it IS 'a few rows of a few columns';
CREATE SUBSCRIPTION incoming CONNECTION 'host=db.example.invalid dbname=other password=subscription-password' PUBLICATION one, "Two"
    WITH (connect = false, slot_name = NONE, synchronous_commit = 'off' :binary);
COMMENT ON SUBSCRIPTION incoming IS 'never connected';
