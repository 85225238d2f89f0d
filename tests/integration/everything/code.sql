-- Functions, procedures, aggregates, triggers and rules.
CREATE FUNCTION app.add(a int, b int DEFAULT 2, VARIADIC rest int[] DEFAULT '{}') RETURNS int
    LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 7 AS $_$SELECT a + b + coalesce((SELECT sum(x) FROM unnest(rest) x), 0)::int$_$;
\if :v14
CREATE FUNCTION app.add_parsed(a int, b int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT a + b; END;
CREATE FUNCTION app.reads_tables() RETURNS SETOF app.options LANGUAGE sql STABLE ROWS 50
    BEGIN ATOMIC SELECT * FROM app.options WHERE id < 10; END;
CREATE PROCEDURE app.insert_parsed(i int) LANGUAGE sql BEGIN ATOMIC INSERT INTO app.empty VALUES (i, 'x'); END;
\endif
CREATE FUNCTION app.out_and_table(i int, OUT square int, INOUT text_too text) LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = app, pg_temp SET work_mem = '1MB' AS $body$
BEGIN
    -- a comment with a ; and 'quotes' and $$dollars$$
    square := i * i;
    text_too := text_too || E'\n';
END
$body$;
CREATE FUNCTION app.rows_of(n int) RETURNS TABLE (i int, "odd name" text) LANGUAGE plpgsql AS $$
BEGIN RETURN QUERY SELECT g, 'row ' || g FROM generate_series(1, n) g; END $$;
CREATE FUNCTION app.anything(anyelement, anyarray) RETURNS anyarray LANGUAGE sql AS 'SELECT $2 || $1';
CREATE FUNCTION app.careful(text) RETURNS boolean LANGUAGE plpgsql LEAKPROOF STRICT AS 'BEGIN RETURN true; END';
CREATE FUNCTION app.window_like() RETURNS bigint LANGUAGE internal WINDOW AS 'window_row_number';
CREATE FUNCTION app."odd ""function"" name"("odd arg" text DEFAULT 'it''s') RETURNS text LANGUAGE sql AS 'SELECT "odd arg"';
CREATE FUNCTION app.by_second_language() RETURNS int LANGUAGE second_plpgsql TRANSFORM FOR TYPE int AS 'BEGIN RETURN 1; END';
COMMENT ON FUNCTION app.add(int, int, int[]) IS 'a + b + …';
CREATE PROCEDURE app.restock(INOUT done boolean, amount numeric DEFAULT 1.50) LANGUAGE plpgsql AS $$BEGIN done := true; COMMIT; END$$;
COMMENT ON PROCEDURE app.restock(boolean, numeric) IS 'commits';

CREATE AGGREGATE app.product(numeric) (SFUNC = numeric_mul, STYPE = numeric, INITCOND = '1', PARALLEL = SAFE, COMBINEFUNC = numeric_mul);
CREATE AGGREGATE app.moving_sum(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0', MSFUNC = int4pl, MINVFUNC = int4mi, MSTYPE = int, MINITCOND = '0');
CREATE AGGREGATE app.percentile(double precision ORDER BY double precision) (SFUNC = ordered_set_transition, STYPE = internal, FINALFUNC = percentile_cont_float8_final, FINALFUNC_EXTRA = false, FINALFUNC_MODIFY = SHAREABLE);
COMMENT ON AGGREGATE app.product(numeric) IS 'everything times everything';

CREATE TABLE app.log (at timestamptz, what text);
CREATE FUNCTION app.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.log VALUES (now(), TG_OP || ' ' || TG_TABLE_NAME || ' ' || array_to_string(TG_ARGV, ','));
    RETURN NULL;
END $$;
CREATE FUNCTION app.change() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
CREATE TRIGGER "a ""row"" trigger" BEFORE INSERT OR UPDATE OF t, n ON app.options FOR EACH ROW WHEN (NEW.n IS DISTINCT FROM 7) EXECUTE FUNCTION app.change();
-- Would leave rows in the log if a restore fired it.
CREATE TRIGGER statement_trigger AFTER INSERT OR DELETE OR TRUNCATE ON app.hen FOR EACH STATEMENT EXECUTE FUNCTION app.note('one', 'it''s two');
CREATE TRIGGER transition AFTER UPDATE ON app.egg REFERENCING OLD TABLE AS was NEW TABLE AS is_now FOR EACH STATEMENT EXECUTE FUNCTION app.note();
CREATE CONSTRAINT TRIGGER late_check AFTER INSERT ON app.tree DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.note();
CREATE TRIGGER on_partitioned AFTER INSERT ON app.by_range FOR EACH ROW EXECUTE FUNCTION app.note();
CREATE TRIGGER always AFTER INSERT ON app.unlogged FOR EACH STATEMENT EXECUTE FUNCTION app.note();
CREATE TRIGGER replica_only AFTER INSERT ON app.unlogged FOR EACH STATEMENT EXECUTE FUNCTION app.note();
CREATE TRIGGER disabled AFTER INSERT ON app.unlogged FOR EACH STATEMENT EXECUTE FUNCTION app.note();
ALTER TABLE app.unlogged ENABLE ALWAYS TRIGGER always;
ALTER TABLE app.unlogged ENABLE REPLICA TRIGGER replica_only;
ALTER TABLE app.unlogged DISABLE TRIGGER disabled;
ALTER TABLE app.by_range_2023 DISABLE TRIGGER on_partitioned;
COMMENT ON TRIGGER disabled ON app.unlogged IS 'asleep';

CREATE RULE also AS ON INSERT TO app.empty DO ALSO INSERT INTO app.log VALUES (now(), 'rule');
CREATE RULE "instead, if" AS ON UPDATE TO app.empty WHERE NEW.a > 5 DO INSTEAD NOTHING;
CREATE RULE sleeping AS ON DELETE TO app.empty DO INSTEAD NOTHING;
ALTER TABLE app.empty DISABLE RULE sleeping;
COMMENT ON RULE also ON app.empty IS 'tells the log';
