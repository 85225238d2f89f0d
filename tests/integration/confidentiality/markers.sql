-- One marker in every place of a database that can hold text. No label provider is at hand without SELinux, so security
-- labels are left to the tests of the manifest.

CREATE SCHEMA k7mqzx_schema;
CREATE EXTENSION pgcrypto SCHEMA k7mqzx_schema;
CREATE TYPE k7mqzx_schema.k7mqzx_type AS ENUM ('k7mqzx label', 'other');
CREATE DOMAIN k7mqzx_domain AS text DEFAULT 'k7mqzx' CONSTRAINT k7mqzx_check CHECK (VALUE <> 'k7mqzx never');
CREATE SEQUENCE k7mqzx_sequence;
CREATE TABLE k7mqzx_table (
    k7mqzx_column int PRIMARY KEY DEFAULT nextval('k7mqzx_sequence'),
    label text DEFAULT 'k7mqzx default' CONSTRAINT k7mqzx_constraint CHECK (label <> 'k7mqzx never'),
    other int CONSTRAINT k7mqzx_key REFERENCES k7mqzx_table
);
CREATE INDEX k7mqzx_index ON k7mqzx_table (label) WHERE label <> 'k7mqzx';
INSERT INTO k7mqzx_table VALUES (1, 'k7mqzx value', 1);
CREATE TABLE k7mqzx_left_out AS SELECT 'k7mqzx' AS label;
CREATE TABLE k7mqzx_rewritten AS SELECT 'k7mqzx' AS label;
CREATE TABLE plain (id int PRIMARY KEY);
INSERT INTO plain VALUES (1);
CREATE VIEW k7mqzx_view AS SELECT 'k7mqzx' AS "k7mqzx column" FROM plain;
CREATE MATERIALIZED VIEW k7mqzx_materialized AS SELECT 'k7mqzx' AS label;
CREATE FUNCTION k7mqzx_function() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'k7mqzx'; RETURN NEW; END $$;
CREATE FUNCTION k7mqzx_called(k7mqzx_argument text DEFAULT 'k7mqzx') RETURNS text LANGUAGE sql SET work_mem = '8MB'
    AS $$ SELECT 'k7mqzx' $$;
CREATE TRIGGER k7mqzx_trigger BEFORE INSERT ON plain EXECUTE FUNCTION k7mqzx_function('k7mqzx');
CREATE RULE k7mqzx_rule AS ON DELETE TO k7mqzx_left_out DO INSTEAD NOTHING;
CREATE POLICY k7mqzx_policy ON plain USING (current_user <> 'k7mqzx');
CREATE FUNCTION k7mqzx_event() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN NULL; /* k7mqzx */ END $$;
CREATE EVENT TRIGGER k7mqzx_event_trigger ON sql_drop WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION k7mqzx_event();
CREATE PUBLICATION k7mqzx_publication FOR TABLE plain;
CREATE SUBSCRIPTION k7mqzx_subscription CONNECTION 'host=k7mqzx.example.invalid password=k7mqzx'
    PUBLICATION k7mqzx WITH (connect = false, slot_name = 'k7mqzx_slot');
CREATE FOREIGN DATA WRAPPER k7mqzx_wrapper OPTIONS (k7mqzx 'k7mqzx');
CREATE SERVER k7mqzx_server TYPE 'k7mqzx' VERSION 'k7mqzx' FOREIGN DATA WRAPPER k7mqzx_wrapper OPTIONS (k7mqzx 'k7mqzx');
CREATE USER MAPPING FOR k7mqzx_owner SERVER k7mqzx_server OPTIONS (password 'k7mqzx');
CREATE FOREIGN TABLE k7mqzx_foreign (k7mqzx int OPTIONS (k7mqzx 'k7mqzx')) SERVER k7mqzx_server OPTIONS (k7mqzx 'k7mqzx');
CREATE TEXT SEARCH CONFIGURATION k7mqzx_schema.k7mqzx_search (COPY = pg_catalog.english);
CREATE TEXT SEARCH DICTIONARY k7mqzx_dictionary (TEMPLATE = simple);
CREATE COLLATION k7mqzx_collation FROM "C";
CREATE OPERATOR <~~> (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
CREATE STATISTICS k7mqzx_statistics ON label, other FROM k7mqzx_table;
SELECT lo_from_bytea(4711, 'k7mqzx large object');
COMMENT ON LARGE OBJECT 4711 IS 'k7mqzx';
COMMENT ON SCHEMA k7mqzx_schema IS 'k7mqzx';
COMMENT ON EXTENSION pgcrypto IS 'k7mqzx';
COMMENT ON TABLE plain IS 'k7mqzx';
COMMENT ON COLUMN plain.id IS 'k7mqzx';
COMMENT ON INDEX plain_pkey IS 'k7mqzx';
COMMENT ON FUNCTION k7mqzx_function IS 'k7mqzx';
COMMENT ON TRIGGER k7mqzx_trigger ON plain IS 'k7mqzx';
COMMENT ON POLICY k7mqzx_policy ON plain IS 'k7mqzx';
COMMENT ON EVENT TRIGGER k7mqzx_event_trigger IS 'k7mqzx';
COMMENT ON PUBLICATION k7mqzx_publication IS 'k7mqzx';
COMMENT ON SUBSCRIPTION k7mqzx_subscription IS 'k7mqzx';
COMMENT ON SERVER k7mqzx_server IS 'k7mqzx';
COMMENT ON OPERATOR <~~> (int, int) IS 'k7mqzx';
GRANT SELECT ON plain TO k7mqzx_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE k7mqzx_owner GRANT SELECT ON TABLES TO k7mqzx_reader;
