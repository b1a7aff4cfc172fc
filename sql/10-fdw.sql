-- The wrapper itself. Everything but it lives in the schema assets_fdw (assets_fdw.control).

SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE FUNCTION assets_fdw.assets_fdw_handler() RETURNS fdw_handler
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'assets_fdw_handler';

CREATE FUNCTION assets_fdw.assets_fdw_validator(text[], oid) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'assets_fdw_validator_wrapper';

CREATE FOREIGN DATA WRAPPER assets_fdw
    HANDLER assets_fdw.assets_fdw_handler
    VALIDATOR assets_fdw.assets_fdw_validator;

-- IMPORT FOREIGN SCHEMA may only create tables; their comments, from Assets' descriptions, are
-- set at the end of the command, which is also when it is noted what was made of what.
CREATE FUNCTION assets_fdw.import_comments() RETURNS TABLE (foreign_table text, statement text)
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'import_comments_wrapper';

CREATE FUNCTION assets_fdw.comment_imported() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    comment record;
BEGIN
    -- PostgreSQL lists a table once for each of its columns.
    PERFORM assets_fdw.remember_import(ARRAY(
        SELECT DISTINCT made.objid FROM pg_event_trigger_ddl_commands() AS made
        WHERE made.classid = 'pg_class'::regclass));
    FOR comment IN SELECT c.statement FROM assets_fdw.import_comments() AS c LOOP
        EXECUTE comment.statement;
    END LOOP;
END
$$;

CREATE EVENT TRIGGER assets_fdw_comment_imported ON ddl_command_end
    WHEN TAG IN ('IMPORT FOREIGN SCHEMA')
    EXECUTE FUNCTION assets_fdw.comment_imported();

-- An option that another rules (object_type beside object_type_id, say) is set in vain; whoever sets it hears of it. Sees
-- the statement itself, which only a function in C can.
CREATE FUNCTION assets_fdw.options_altered() RETURNS event_trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'assets_fdw_options_altered';
REVOKE ALL ON FUNCTION assets_fdw.options_altered() FROM PUBLIC;
CREATE EVENT TRIGGER assets_fdw_options_altered ON ddl_command_end
    WHEN TAG IN ('ALTER FOREIGN TABLE', 'ALTER SERVER')
    EXECUTE FUNCTION assets_fdw.options_altered();
