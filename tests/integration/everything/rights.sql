-- Owners, grants, default privileges, row security.
GRANT USAGE ON SCHEMA app TO cellar_reader, "Cellar ""Master"" ö";
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO "Cellar ""Master"" ö" WITH GRANT OPTION;
ALTER TABLE app.options OWNER TO cellar_owner;
ALTER TABLE app.by_range OWNER TO cellar_owner;
ALTER VIEW app.simple OWNER TO "Cellar ""Master"" ö";
ALTER FUNCTION app.add(int, int, int[]) OWNER TO cellar_owner;
ALTER TYPE app.colour OWNER TO cellar_owner;
ALTER SEQUENCE app.down OWNER TO cellar_owner;
GRANT SELECT, INSERT ON app.options TO cellar_reader;
GRANT UPDATE (t, n), REFERENCES (id) ON app.options TO cellar_reader;
GRANT SELECT ON app.every_type TO PUBLIC;
GRANT ALL ON app.hen TO "Cellar ""Master"" ö" WITH GRANT OPTION;
SET ROLE "Cellar ""Master"" ö"; GRANT SELECT ON app.hen TO cellar_reader; RESET ROLE;
REVOKE ALL ON app.empty FROM CURRENT_USER;
GRANT USAGE ON SEQUENCE app.not_called TO cellar_reader;
REVOKE ALL ON FUNCTION app.careful(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.careful(text) TO cellar_reader;
REVOKE USAGE ON TYPE app.person FROM PUBLIC;
GRANT USAGE ON TYPE app.person TO cellar_reader;
REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;
GRANT USAGE ON LANGUAGE second_plpgsql TO cellar_reader;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_logdir() TO cellar_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE cellar_owner IN SCHEMA app GRANT SELECT ON TABLES TO cellar_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE cellar_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE cellar_owner GRANT USAGE ON SCHEMAS TO cellar_reader;

CREATE TABLE app.secured (id int PRIMARY KEY, owner name DEFAULT current_user, secret text);
INSERT INTO app.secured VALUES (1, 'cellar_owner', 'one'), (2, 'nobody', 'hidden from everybody but a superuser');
ALTER TABLE app.secured OWNER TO cellar_owner;
ALTER TABLE app.secured ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.secured FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON app.secured USING (owner = current_user) WITH CHECK (owner = current_user);
CREATE POLICY "readers ""may"" look" ON app.secured AS RESTRICTIVE FOR SELECT TO cellar_reader, "Cellar ""Master"" ö" USING (id > 0);
COMMENT ON POLICY own_rows ON app.secured IS 'everybody their own';

-- Large objects: empty, all bytes, more than a page, with a hole, with an owner, rights and comments.
SELECT lo_create(0) AS empty_lo, lo_from_bytea(0, (SELECT b FROM app.every_byte WHERE n = 256)) AS bytes_lo,
       lo_from_bytea(0, convert_to(repeat('large object ', 100000), 'UTF8')) AS long_lo, lo_from_bytea(0, 'start') AS hole_lo \gset
SELECT lo_put(:hole_lo, 300000, 'end') \g /dev/null
ALTER LARGE OBJECT :bytes_lo OWNER TO cellar_owner;
GRANT SELECT, UPDATE ON LARGE OBJECT :long_lo TO cellar_reader;
GRANT SELECT ON LARGE OBJECT :bytes_lo TO PUBLIC;
COMMENT ON LARGE OBJECT :long_lo IS 'long, and ''quoted''';
UPDATE app.from_extensions SET large = :long_lo WHERE id = 1;
