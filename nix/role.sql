-- The role that may read everything and change nothing. A standby has what its primary has.
\set ON_ERROR_STOP on
SELECT pg_is_in_recovery() AS standby \gset
\if :standby
\quit
\endif
SELECT 'CREATE ROLE pgcellar LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pgcellar') \gexec
ALTER ROLE pgcellar LOGIN BYPASSRLS;
GRANT pg_read_all_data TO pgcellar;
ALTER ROLE pgcellar SET lo_compat_privileges = on;
