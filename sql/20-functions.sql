-- Functions over a server. Each checks USAGE on it by itself.

SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE FUNCTION assets_fdw.check(server name)
    RETURNS TABLE (step text, status text, detail text, hint text)
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'check_wrapper';
COMMENT ON FUNCTION assets_fdw.check(name) IS
    'Every step of the way to Assets, with what to change where one fails';

CREATE FUNCTION assets_fdw.aql(server name, query text)
    RETURNS TABLE (id bigint, key text, label text, object_type text,
                   created timestamptz, updated timestamptz, attributes jsonb)
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 1000 AS 'MODULE_PATHNAME', 'aql_wrapper';
COMMENT ON FUNCTION assets_fdw.aql(name, text) IS 'The objects that match an AQL query';

CREATE FUNCTION assets_fdw.count(server name, query text) RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'count_wrapper';
COMMENT ON FUNCTION assets_fdw.count(name, text) IS 'How many objects match an AQL query';

GRANT USAGE ON SCHEMA assets_fdw TO PUBLIC;
