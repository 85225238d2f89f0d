-- A database with one of everything that PostgreSQL can keep, loaded with
--   psql -X -v ON_ERROR_STOP=1 -v big=BYTES -f main.sql
-- by a superuser, on PostgreSQL 13 to 19. `big` is the size of the largest value.
-- The roles belong to the cluster and are made by roles.sql, once.
\set QUIET on
SET client_min_messages = error;
SELECT :SERVER_VERSION_NUM >= 140000 AS v14,
       :SERVER_VERSION_NUM >= 150000 AS v15,
       :SERVER_VERSION_NUM >= 160000 AS v16,
       :SERVER_VERSION_NUM >= 170000 AS v17,
       :SERVER_VERSION_NUM >= 180000 AS v18,
       :SERVER_VERSION_NUM >= 190000 AS v19 \gset
-- Clauses that a version lacks are empty there.
\set binary ''
\set minmax_multi ''
\set multirange_name ''
\set pglz ''
\set precision ''
\set invoker ''
\set nulls_not_distinct ''
\set of_hen ''
\set unlogged ''
\set infinity '''NaN'''
\if :v14
\set binary ', binary = true'
\set infinity '''Infinity'''
\set minmax_multi 'int4_minmax_multi_ops (values_per_range = 16)'
\set multirange_name ', multirange_type_name = app.vintages'
\set pglz 'COMPRESSION pglz'
\endif
\if :v15
\set precision '(3,-2)'
\set invoker 'WITH (security_invoker = true)'
\set nulls_not_distinct 'NULLS NOT DISTINCT'
\set of_hen '(hen)'
\set unlogged UNLOGGED
\endif
-- What the versions lack, for the output of the tests.
\if :v14
\else
\warn multiranges, infinite numeric values, functions with BEGIN ATOMIC, statistics on expressions, COMPRESSION, minmax_multi
\endif
\if :v15
\else
\warn NULLS NOT DISTINCT, unlogged sequences, security_invoker, publications of schemas and of parts of tables, numeric with a negative scale
\endif
\if :v16
\else
\warn ICU rules
\endif
\if :v17
\else
\warn builtin collations, identity and exclusion in partitioned tables, MAINTAIN, infinite intervals
\endif
\if :v18
\else
\warn virtual columns, NOT ENFORCED, NOT NULL NOT VALID, temporal keys
\endif
\if :v19
\else
\warn publications of sequences, FOR ALL TABLES EXCEPT, oid8, regdatabase
\endif

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
\if :v19
\ir since_19.sql
\endif
-- Last: it sees every later DDL command.
\ir event_triggers.sql
