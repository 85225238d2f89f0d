-- The role that may read everything and change nothing. A standby has what its primary has.
\set ON_ERROR_STOP on
SELECT pg_is_in_recovery() AS standby, current_setting('server_version_num')::int < 140000 AS old \gset
\if :standby
\quit
\endif
SELECT 'CREATE ROLE pgcellar LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pgcellar') \gexec
ALTER ROLE pgcellar LOGIN BYPASSRLS;
ALTER ROLE pgcellar SET lo_compat_privileges = on;
\if :old
-- PostgreSQL 13 has no pg_read_all_data: in each database what is there, and what its owners make later. $PPID is psql's.
\setenv PSQL `readlink /proc/$PPID/exe`
\setenv PGHOST :HOST
\setenv PGPORT :PORT
SELECT format($script$\connect %I
SELECT format('GRANT USAGE ON SCHEMA %%1$I TO pgcellar', nspname),
    format('GRANT SELECT ON ALL TABLES IN SCHEMA %%1$I TO pgcellar', nspname),
    format('GRANT SELECT ON ALL SEQUENCES IN SCHEMA %%1$I TO pgcellar', nspname)
FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' \gexec
SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %%I GRANT %%s TO pgcellar', pg_get_userbyid(owner), what)
FROM (SELECT relowner AS owner FROM pg_class WHERE oid >= 16384 UNION SELECT nspowner FROM pg_namespace WHERE oid >= 16384
    UNION SELECT datdba FROM pg_database WHERE datname = current_database()) owners,
    unnest(ARRAY['USAGE ON SCHEMAS', 'SELECT ON TABLES', 'SELECT ON SEQUENCES']) AS what \gexec
$script$, datname) FROM pg_database WHERE datallowconn AND NOT datistemplate
\g (format=unaligned tuples_only=on) |"$PSQL" --no-psqlrc --quiet --set=ON_ERROR_STOP=on --dbname=postgres --file=-
\else
GRANT pg_read_all_data TO pgcellar;
\endif
