-- A database with one of everything that PostgreSQL can keep, loaded with
--   psql -X -v ON_ERROR_STOP=1 -v big=BYTES -f main.sql
-- by a superuser, on PostgreSQL 15 to 18. `big` is the size of the largest value.
-- The roles belong to the cluster and are made by roles.sql, once.
\set QUIET on
SET client_min_messages = error;
SELECT :SERVER_VERSION_NUM >= 160000 AS v16,
       :SERVER_VERSION_NUM >= 170000 AS v17,
       :SERVER_VERSION_NUM >= 180000 AS v18 \gset

CREATE SCHEMA app AUTHORIZATION cellar_owner;
CREATE SCHEMA ext;
CREATE SCHEMA "Schema ""with"" everything; -- odd";
COMMENT ON SCHEMA app IS 'the shop''s own schema; with a \backslash and a
second line';
COMMENT ON SCHEMA public IS 'a changed comment';

\ir extensions.sql
\ir types.sql
\ir values.sql
\ir tables.sql
\ir code.sql
\ir views.sql
\ir rights.sql
\ir elsewhere.sql
\if :v17
\ir since_17.sql
\endif
\if :v18
\ir since_18.sql
\endif
-- Last: it sees every later DDL command.
\ir event_triggers.sql
