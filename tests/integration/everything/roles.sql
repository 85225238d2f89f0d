-- Roles belong to the whole cluster. Tests that load databases side by side share them. They are made in the order of
-- their names, as pg_dumpall makes them: a policy lists its roles in the order of their OIDs.
CREATE ROLE "Cellar ""Master"" ö" LOGIN PASSWORD 'role-password-one' CONNECTION LIMIT 7 VALID UNTIL '2099-01-01';
CREATE ROLE cellar_keyholder LOGIN NOINHERIT;
CREATE ROLE cellar_owner NOLOGIN;
CREATE ROLE cellar_reader NOLOGIN;
GRANT cellar_reader TO cellar_keyholder WITH ADMIN OPTION;
ALTER ROLE cellar_keyholder SET work_mem = '8MB';
COMMENT ON ROLE cellar_reader IS 'reads, and no more';
