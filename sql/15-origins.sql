-- Where the secret of a user mapping may be sent.
--
-- Whoever may alter a server could have it lead somewhere else, and everybody's secrets with it. So the
-- origins that a server has when a mapping's secret is set are kept here, and a connection to any other is
-- refused until the secret is set again (docs/security.md). Only the extension's own code writes to it; a
-- mapping without a row is refused.

SET LOCAL search_path TO pg_catalog, pg_temp;

-- A mapping is one role's for one server. pg_upgrade keeps this table as it is, the servers' names and the
-- roles' numbers with it, while servers and mappings get other numbers; a dump keeps the names.
CREATE TABLE assets_fdw.mapping_origin (
    server    name NOT NULL,
    role_id   oid NOT NULL,      -- 0 for PUBLIC
    role      name NOT NULL,     -- in a dump; 'public', which no role can be called, for PUBLIC
    mapping   oid NOT NULL,      -- which it was when its server was last altered: it follows a renaming
    site      text,
    api_url   text NOT NULL,
    auth_url  text NOT NULL,
    set_at    timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (server, role_id)
);
COMMENT ON TABLE assets_fdw.mapping_origin IS 'The origins that each user mapping''s secret was set for';
REVOKE ALL ON assets_fdw.mapping_origin FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('assets_fdw.mapping_origin', '');

-- A restore makes the mappings, for the origins that the servers have in the dump; then it fills the table.
-- What was dumped counts: a mapping that was refused there is refused here.
CREATE FUNCTION assets_fdw.mapping_origin_set() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT m.umid, m.umuser INTO NEW.mapping, NEW.role_id FROM pg_catalog.pg_user_mappings AS m
        WHERE m.srvname = NEW.server AND m.usename = NEW.role;
    IF NEW.mapping IS NULL THEN
        RETURN NULL;
    END IF;
    DELETE FROM assets_fdw.mapping_origin AS o WHERE o.server = NEW.server AND o.role_id = NEW.role_id;
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

-- A server may be renamed by its owner, and the rows follow: the numbers of the mappings are noted while it
-- has its old name, and give the new one. It changes what the owner may not touch, hence the definer's
-- rights; neither function takes an argument.
CREATE FUNCTION assets_fdw.server_alters() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Left by what was dropped while somebody had the event triggers disabled.
    DELETE FROM assets_fdw.mapping_origin AS o
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_user_mappings AS m
                          WHERE m.srvname = o.server AND m.umuser = o.role_id);
    UPDATE assets_fdw.mapping_origin AS o SET mapping = m.umid, role = m.usename
        FROM pg_catalog.pg_user_mappings AS m
        WHERE m.srvname = o.server AND m.umuser = o.role_id AND (m.umid <> o.mapping OR m.usename <> o.role);
END
$$;
REVOKE ALL ON FUNCTION assets_fdw.server_alters() FROM PUBLIC;
CREATE EVENT TRIGGER assets_fdw_server_alters ON ddl_command_start
    WHEN TAG IN ('ALTER SERVER')
    EXECUTE FUNCTION assets_fdw.server_alters();

CREATE FUNCTION assets_fdw.server_altered() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE assets_fdw.mapping_origin AS o SET server = m.srvname
        FROM pg_catalog.pg_user_mappings AS m
        WHERE m.umid = o.mapping AND m.umuser = o.role_id AND m.srvname <> o.server;
END
$$;
REVOKE ALL ON FUNCTION assets_fdw.server_altered() FROM PUBLIC;
CREATE EVENT TRIGGER assets_fdw_server_altered ON ddl_command_end
    WHEN TAG IN ('ALTER SERVER')
    EXECUTE FUNCTION assets_fdw.server_altered();

-- Mappings that go take their rows along, so that none counts for a later one of the same role.
CREATE FUNCTION assets_fdw.mapping_dropped() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM assets_fdw.mapping_origin AS o
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_user_mappings AS m
                          WHERE m.srvname = o.server AND m.umuser = o.role_id);
END
$$;
REVOKE ALL ON FUNCTION assets_fdw.mapping_dropped() FROM PUBLIC;
CREATE EVENT TRIGGER assets_fdw_mapping_dropped ON sql_drop
    WHEN TAG IN ('DROP USER MAPPING', 'DROP SERVER', 'DROP FOREIGN DATA WRAPPER', 'DROP OWNED')
    EXECUTE FUNCTION assets_fdw.mapping_dropped();

-- For superusers who know that a server leads where it should, as when it has moved.
CREATE FUNCTION assets_fdw.trust_server(server name) RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'trust_server_wrapper';
REVOKE ALL ON FUNCTION assets_fdw.trust_server(name) FROM PUBLIC;
COMMENT ON FUNCTION assets_fdw.trust_server(name) IS
    'Lets every user mapping of a server be used where the server leads now; gives their number. For superusers';
