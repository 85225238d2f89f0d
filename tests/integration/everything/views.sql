CREATE VIEW app.simple AS SELECT id, c_text AS "the text" FROM app.every_type;
CREATE VIEW app.invoker :invoker AS SELECT * FROM app.own_types;
CREATE VIEW app.barrier WITH (security_barrier) AS SELECT * FROM app.options WHERE n > 5;
CREATE VIEW app.checked AS SELECT id, n FROM app.options WHERE n > 5 WITH CASCADED CHECK OPTION;
CREATE RECURSIVE VIEW app.countdown (n) AS VALUES (10) UNION ALL SELECT n - 1 FROM countdown WHERE n > 0;
-- Needs the primary key to be there first.
CREATE VIEW app.grouped AS SELECT o.*, count(*) AS of_them FROM app.options o JOIN app.hen h ON h.id < o.id GROUP BY o.id;
CREATE VIEW app.on_partitions AS SELECT tableoid::regclass AS part, * FROM app.by_range;
CREATE VIEW app.on_children AS SELECT * FROM app.parent;
CREATE VIEW app.with_functions AS SELECT app.add(1, 2, VARIADIC ARRAY[3]) AS added, r.* FROM app.rows_of(3) WITH ORDINALITY r (i, "odd name", nth);
ALTER VIEW app.simple ALTER COLUMN "the text" SET DEFAULT 'from the view';
CREATE FUNCTION app.instead() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
CREATE TRIGGER instead_of INSTEAD OF INSERT ON app.grouped FOR EACH ROW EXECUTE FUNCTION app.instead();
COMMENT ON VIEW app.simple IS 'simple';
COMMENT ON COLUMN app.simple."the text" IS 'a view''s column';
\if :v14
-- A view and a function that need each other.
CREATE VIEW app.loop AS SELECT 1 AS one;
CREATE FUNCTION app.loop_function() RETURNS SETOF app.loop LANGUAGE sql BEGIN ATOMIC SELECT * FROM app.loop; END;
\endif

CREATE MATERIALIZED VIEW app.stored AS SELECT id, n * 2 AS twice FROM app.options;
CREATE UNIQUE INDEX ON app.stored (id);
CREATE MATERIALIZED VIEW app.stored_on_stored WITH (fillfactor = 80) AS SELECT sum(twice) AS total FROM app.stored;
CREATE MATERIALIZED VIEW app.not_filled AS SELECT * FROM app.every_byte WITH NO DATA;
COMMENT ON MATERIALIZED VIEW app.stored IS 'kept';
