-- Where the secret of a user mapping may be sent.
--
-- Whoever may alter a server could have it lead somewhere else, and everybody's secrets with it. So the
-- origins that a server has when a mapping's secret is set are kept here, and a connection to any other is
-- refused until the secret is set again (docs/security.md). Only the extension's own code writes to it; a
-- mapping without a row is refused.

SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE TABLE assets_fdw.mapping_origin (
    mapping   oid PRIMARY KEY,
    server    name NOT NULL,     -- with role: which mapping it is, in a dump
    role      name NOT NULL,     -- 'public', which no role can be called, for PUBLIC
    site      text,
    api_url   text NOT NULL,
    auth_url  text NOT NULL,
    set_at    timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE assets_fdw.mapping_origin IS 'The origins that each user mapping''s secret was set for';
REVOKE ALL ON assets_fdw.mapping_origin FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('assets_fdw.mapping_origin',
    'WHERE mapping IN (SELECT umid FROM pg_catalog.pg_user_mappings)');

-- A restore makes the mappings, for the origins that the servers have in the dump; then it fills the table.
-- What was dumped counts: a mapping that was refused there is refused here.
CREATE FUNCTION assets_fdw.mapping_origin_set() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT m.umid INTO NEW.mapping FROM pg_catalog.pg_user_mappings AS m
        WHERE m.srvname = NEW.server AND m.usename = NEW.role;
    IF NEW.mapping IS NULL THEN
        RETURN NULL;
    END IF;
    DELETE FROM assets_fdw.mapping_origin AS o WHERE o.mapping = NEW.mapping;
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION assets_fdw.mapping_origin_set() FROM PUBLIC;
CREATE TRIGGER mapping_origin_set BEFORE INSERT ON assets_fdw.mapping_origin
    FOR EACH ROW EXECUTE FUNCTION assets_fdw.mapping_origin_set();

-- Sees the statement itself, which only a function in C can; writes with the extension's rights.
CREATE FUNCTION assets_fdw.mapping_made() RETURNS event_trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'assets_fdw_mapping_made';
REVOKE ALL ON FUNCTION assets_fdw.mapping_made() FROM PUBLIC;
CREATE EVENT TRIGGER assets_fdw_mapping_made ON ddl_command_end
    WHEN TAG IN ('CREATE USER MAPPING', 'ALTER USER MAPPING')
    EXECUTE FUNCTION assets_fdw.mapping_made();

-- A server may be renamed by its owner; the names are those of the next dump. It changes what the owner may
-- not touch, hence the definer's rights; it takes no argument.
CREATE FUNCTION assets_fdw.server_altered() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE assets_fdw.mapping_origin AS o SET server = m.srvname, role = m.usename
        FROM pg_catalog.pg_user_mappings AS m
        WHERE m.umid = o.mapping AND (m.srvname <> o.server OR m.usename <> o.role);
END
$$;
REVOKE ALL ON FUNCTION assets_fdw.server_altered() FROM PUBLIC;
CREATE EVENT TRIGGER assets_fdw_server_altered ON ddl_command_end
    WHEN TAG IN ('ALTER SERVER')
    EXECUTE FUNCTION assets_fdw.server_altered();

-- The same for mappings that go.
CREATE FUNCTION assets_fdw.mapping_dropped() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM assets_fdw.mapping_origin AS o
        USING pg_catalog.pg_event_trigger_dropped_objects() AS d
        WHERE d.classid = 'pg_catalog.pg_user_mapping'::pg_catalog.regclass AND o.mapping = d.objid;
END
$$;
REVOKE ALL ON FUNCTION assets_fdw.mapping_dropped() FROM PUBLIC;
CREATE EVENT TRIGGER assets_fdw_mapping_dropped ON sql_drop
    WHEN TAG IN ('DROP USER MAPPING', 'DROP SERVER', 'DROP FOREIGN DATA WRAPPER', 'DROP OWNED')
    EXECUTE FUNCTION assets_fdw.mapping_dropped();

-- For superusers who know that a server leads where it should: after pg_upgrade, or when it has moved.
CREATE FUNCTION assets_fdw.trust_server(server name) RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'trust_server_wrapper';
REVOKE ALL ON FUNCTION assets_fdw.trust_server(name) FROM PUBLIC;
COMMENT ON FUNCTION assets_fdw.trust_server(name) IS
    'Lets every user mapping of a server be used where the server leads now; gives their number. For superusers';
