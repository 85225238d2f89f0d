CREATE FUNCTION app.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN PERFORM 1; END$$;
CREATE EVENT TRIGGER ddl_started ON ddl_command_start WHEN TAG IN ('CREATE TABLE', 'DROP TABLE') EXECUTE FUNCTION app.on_ddl();
CREATE EVENT TRIGGER "dropped ""something""" ON sql_drop EXECUTE FUNCTION app.on_ddl();
ALTER EVENT TRIGGER ddl_started DISABLE;
COMMENT ON EVENT TRIGGER ddl_started IS 'looks on';
