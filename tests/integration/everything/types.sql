-- Types, domains, operators, casts, collations and text search.
CREATE TYPE app.colour AS ENUM ('red', 'white', 'rosé', 'it''s orange', 'sparkling
two lines');
ALTER TYPE app.colour ADD VALUE 'grey' BEFORE 'white';
CREATE TYPE app.nothing_in_it AS ENUM ();
CREATE TYPE app.address AS (street text COLLATE "C", "house no." int, area point);
CREATE TYPE app.person AS (name text, homes app.address[], favourite app.colour);
COMMENT ON TYPE app.person IS 'a type in a type in a type';
COMMENT ON COLUMN app.person.homes IS 'first, second, …';
CREATE TYPE app.unfinished;

CREATE DOMAIN app.positive AS int DEFAULT 1 CHECK (VALUE > 0);
CREATE DOMAIN app.small_positive AS app.positive CONSTRAINT "not too ""large""" CHECK (VALUE < 1000);
CREATE DOMAIN app.codes AS text[] NOT NULL CHECK (cardinality(VALUE) < 10);
CREATE DOMAIN app.settled_person AS app.person CHECK ((VALUE).name <> '');
ALTER DOMAIN app.positive ADD CONSTRAINT even_later CHECK (VALUE <> 13) NOT VALID;
COMMENT ON DOMAIN app.positive IS 'more than nothing';
COMMENT ON CONSTRAINT even_later ON DOMAIN app.positive IS 'bad luck';

CREATE FUNCTION app.float_gap(double precision, double precision) RETURNS double precision
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT $1 - $2';
CREATE TYPE app.vintage AS RANGE (subtype = double precision, subtype_diff = app.float_gap :multirange_name);
\if :v14
\else
-- A version without multiranges keeps their texts.
CREATE DOMAIN app.vintages AS text;
SELECT format('CREATE DOMAIN public.%s AS text', name) FROM unnest(ARRAY['int4multirange', 'int8multirange', 'nummultirange', 'tsmultirange', 'tstzmultirange', 'datemultirange']) name \gexec
\endif
CREATE TYPE app.name_span AS RANGE (subtype = text, collation = "C");

-- A base type of its own, on the input and output functions of integer.
CREATE TYPE app.weight;
CREATE FUNCTION app.weight_in(cstring) RETURNS app.weight LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION app.weight_out(app.weight) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
CREATE TYPE app.weight (INPUT = app.weight_in, OUTPUT = app.weight_out, LIKE = int4, CATEGORY = 'N', DEFAULT = '42');
CREATE FUNCTION app.weight_lt(app.weight, app.weight) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4lt';
CREATE FUNCTION app.weight_le(app.weight, app.weight) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4le';
CREATE FUNCTION app.weight_eq(app.weight, app.weight) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4eq';
CREATE FUNCTION app.weight_ge(app.weight, app.weight) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4ge';
CREATE FUNCTION app.weight_gt(app.weight, app.weight) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4gt';
CREATE FUNCTION app.weight_cmp(app.weight, app.weight) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'btint4cmp';
CREATE FUNCTION app.weight_hash(app.weight) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'hashint4';
CREATE OPERATOR app.< (LEFTARG = app.weight, RIGHTARG = app.weight, FUNCTION = app.weight_lt, COMMUTATOR = OPERATOR(app.>), RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR app.> (LEFTARG = app.weight, RIGHTARG = app.weight, FUNCTION = app.weight_gt, COMMUTATOR = OPERATOR(app.<));
CREATE OPERATOR app.<= (LEFTARG = app.weight, RIGHTARG = app.weight, FUNCTION = app.weight_le, COMMUTATOR = OPERATOR(app.>=));
CREATE OPERATOR app.>= (LEFTARG = app.weight, RIGHTARG = app.weight, FUNCTION = app.weight_ge, COMMUTATOR = OPERATOR(app.<=));
CREATE OPERATOR app.= (LEFTARG = app.weight, RIGHTARG = app.weight, FUNCTION = app.weight_eq, COMMUTATOR = OPERATOR(app.=), HASHES, MERGES);
CREATE OPERATOR app.!@# (RIGHTARG = app.weight, FUNCTION = app.weight_hash);
COMMENT ON OPERATOR app.!@# (NONE, app.weight) IS 'a prefix operator';
CREATE OPERATOR FAMILY app.weights USING btree;
CREATE OPERATOR CLASS app.weight_order DEFAULT FOR TYPE app.weight USING btree FAMILY app.weights AS
    OPERATOR 1 app.<, OPERATOR 2 app.<=, OPERATOR 3 app.=, OPERATOR 4 app.>=, OPERATOR 5 app.>,
    FUNCTION 1 app.weight_cmp(app.weight, app.weight);
CREATE OPERATOR CLASS app.weight_hashing DEFAULT FOR TYPE app.weight USING hash AS
    OPERATOR 1 app.=, FUNCTION 1 app.weight_hash(app.weight);
COMMENT ON OPERATOR CLASS app.weight_order USING btree IS 'from light to heavy';

CREATE CAST (app.weight AS int) WITHOUT FUNCTION AS ASSIGNMENT;
CREATE CAST (int AS app.weight) WITHOUT FUNCTION AS IMPLICIT;
CREATE CAST (app.weight AS text) WITH INOUT;
CREATE FUNCTION app.colour_number(app.colour) RETURNS int LANGUAGE plpgsql IMMUTABLE STRICT
    AS $$BEGIN RETURN length($1::text); END$$;
CREATE CAST (app.colour AS int) WITH FUNCTION app.colour_number(app.colour);
COMMENT ON CAST (app.colour AS int) IS 'of little use';

CREATE COLLATION app.plain FROM "C";
SELECT EXISTS (SELECT FROM pg_catalog.pg_collation WHERE collprovider = 'i') AS icu \gset
\if :icu
CREATE COLLATION app.german (provider = icu, locale = 'de-u-co-phonebk');
CREATE COLLATION app.nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
COMMENT ON COLLATION app.nocase IS 'upper is lower';
CREATE TABLE app.sorted (id int PRIMARY KEY, german text COLLATE app.german, nocase text COLLATE app.nocase UNIQUE, plain text COLLATE app.plain);
INSERT INTO app.sorted VALUES (1, 'Ärger', 'Wein', 'a'), (2, 'Affe', 'WASSER', 'B'), (3, 'ß', 'weiß', NULL);
CREATE INDEX ON app.sorted (german);
\endif
\if :v16
CREATE COLLATION app.ruled (provider = icu, locale = 'und', rules = '&V << w <<< W');
\endif

CREATE CONVERSION app.latin1_again FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
COMMENT ON CONVERSION app.latin1_again IS 'once more';

CREATE TEXT SEARCH PARSER app.words (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype, HEADLINE = prsd_headline);
CREATE TEXT SEARCH TEMPLATE app.plainly (INIT = dsimple_init, LEXIZE = dsimple_lexize);
CREATE TEXT SEARCH DICTIONARY app.stemmer (TEMPLATE = snowball, LANGUAGE = german, StopWords = german);
CREATE TEXT SEARCH DICTIONARY app.synonyms (TEMPLATE = synonym, SYNONYMS = synonym_sample);
CREATE TEXT SEARCH DICTIONARY app."Odd 'dictionary'" (TEMPLATE = app.plainly, ACCEPT = 'false');
CREATE TEXT SEARCH CONFIGURATION app.wine (PARSER = app.words);
ALTER TEXT SEARCH CONFIGURATION app.wine ADD MAPPING FOR asciiword, word WITH app.synonyms, app."Odd 'dictionary'", app.stemmer;
ALTER TEXT SEARCH CONFIGURATION app.wine ADD MAPPING FOR numword WITH simple;
COMMENT ON TEXT SEARCH CONFIGURATION app.wine IS 'reads labels';

CREATE ACCESS METHOD second_heap TYPE TABLE HANDLER heap_tableam_handler;
COMMENT ON ACCESS METHOD second_heap IS 'the same heap, by another name';
-- With handlers of its own: pg_dump keeps no language that uses the handlers in pg_catalog.
CREATE FUNCTION app.handler() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';
CREATE FUNCTION app.inline_handler(internal) RETURNS void LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_inline_handler';
CREATE FUNCTION app.validator(oid) RETURNS void LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_validator';
CREATE TRUSTED LANGUAGE second_plpgsql HANDLER app.handler INLINE app.inline_handler VALIDATOR app.validator;
COMMENT ON LANGUAGE second_plpgsql IS 'the same language, by another name';
CREATE TRANSFORM FOR int LANGUAGE second_plpgsql (FROM SQL WITH FUNCTION prsd_lextype(internal), TO SQL WITH FUNCTION int4recv(internal));
