\echo Use "ALTER EXTENSION assets_fdw UPDATE TO '0.2.0'" to load this file. \quit

-- What is different from 0.1.0, in the order of sql/NN-*.sql. tests/tests/client/updated.rs holds a database that was
-- updated against a new one: the same functions, tables, triggers, rights and comments.

SET LOCAL search_path TO pg_catalog, pg_temp;

-- Assets holds text of every language, and the library holds text as UTF-8.
DO $$
BEGIN
    IF pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.<>) 'UTF8' THEN
        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
            MESSAGE = pg_catalog.format('assets_fdw needs a database whose encoding is UTF8, and this one''s is %s',
                                        pg_catalog.getdatabaseencoding()),
            HINT = 'Use a database made with CREATE DATABASE ... ENCODING ''UTF8'' TEMPLATE template0. Clients may use any encoding.';
    END IF;
END
$$;

-- 10-fdw: each comment of an imported table once
CREATE OR REPLACE FUNCTION assets_fdw.comment_imported() RETURNS event_trigger
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

-- An option that another rules (object_type beside object_type_id, say) is set in vain; whoever sets it hears of it. Sees
-- the statement itself, which only a function in C can.
CREATE FUNCTION assets_fdw.options_altered() RETURNS event_trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'assets_fdw_options_altered';
REVOKE ALL ON FUNCTION assets_fdw.options_altered() FROM PUBLIC;
CREATE EVENT TRIGGER assets_fdw_options_altered ON ddl_command_end
    WHEN TAG IN ('ALTER FOREIGN TABLE', 'ALTER SERVER')
    EXECUTE FUNCTION assets_fdw.options_altered();

-- Proven of one attribute and believed of all, or by letters of ASCII alone: to be proven again.
DELETE FROM assets_fdw.service_facts WHERE fact IN ('reference key', 'text ==', 'NOT (text ==)');
