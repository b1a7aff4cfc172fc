-- The wrapper itself. Everything but it lives in the schema assets_fdw (assets_fdw.control).

CREATE FUNCTION assets_fdw.assets_fdw_handler() RETURNS fdw_handler
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'assets_fdw_handler';

CREATE FUNCTION assets_fdw.assets_fdw_validator(text[], oid) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'assets_fdw_validator_wrapper';

CREATE FOREIGN DATA WRAPPER assets_fdw
    HANDLER assets_fdw.assets_fdw_handler
    VALIDATOR assets_fdw.assets_fdw_validator;

-- IMPORT FOREIGN SCHEMA may only create tables; their comments, from Assets' descriptions, are
-- set at the end of the command.
CREATE FUNCTION assets_fdw.import_comments() RETURNS SETOF text
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'import_comments_wrapper';

CREATE FUNCTION assets_fdw.comment_imported() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    statement text;
BEGIN
    FOR statement IN SELECT c FROM assets_fdw.import_comments() AS c LOOP
        EXECUTE statement;
    END LOOP;
END
$$;

CREATE EVENT TRIGGER assets_fdw_comment_imported ON ddl_command_end
    WHEN TAG IN ('IMPORT FOREIGN SCHEMA')
    EXECUTE FUNCTION assets_fdw.comment_imported();
