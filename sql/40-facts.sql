-- What was proven of each service, on the user's own site; verify_pushdown() writes it, the planner reads it.
--
-- A fact may make queries rely on the service more, so it is written with the extension's rights, and only
-- when the caller may act as the server's owner; whoever else verifies gets the verdicts and records
-- nothing. A superuser may edit the table. It is read by whoever may use the server.

SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE TABLE assets_fdw.service_facts (
    server      name NOT NULL,
    fact        text NOT NULL,
    holds       boolean NOT NULL,
    detail      text,
    learned_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    expires_at  timestamptz NOT NULL DEFAULT pg_catalog.now() + interval '7 days',
    service     text,       -- the site it was learned of; another one under the same name makes it void
    PRIMARY KEY (server, fact)
);
COMMENT ON TABLE assets_fdw.service_facts IS
    'What verify_pushdown() learned of each service, and until when the planner relies on it';
SELECT pg_catalog.pg_extension_config_dump('assets_fdw.service_facts', '');

ALTER TABLE assets_fdw.service_facts ENABLE ROW LEVEL SECURITY;
CREATE POLICY users_of_the_server ON assets_fdw.service_facts FOR SELECT USING (
    EXISTS (SELECT FROM pg_catalog.pg_foreign_server AS s
            WHERE s.srvname = server AND pg_catalog.has_server_privilege(s.oid, 'USAGE')));
GRANT SELECT ON assets_fdw.service_facts TO PUBLIC;

-- Every backend keeps the facts it has read; this tells them to read again, and has cached plans made anew.
CREATE FUNCTION assets_fdw.forget_facts() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'forget_facts_wrapper';
REVOKE ALL ON FUNCTION assets_fdw.forget_facts() FROM PUBLIC;
COMMENT ON FUNCTION assets_fdw.forget_facts() IS 'Has every session read service_facts again';

CREATE FUNCTION assets_fdw.service_facts_changed() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM assets_fdw.forget_facts();
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION assets_fdw.service_facts_changed() FROM PUBLIC;
CREATE TRIGGER service_facts_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON assets_fdw.service_facts
    FOR EACH STATEMENT EXECUTE FUNCTION assets_fdw.service_facts_changed();

-- A dropped server takes its facts along, whoever drops it.
CREATE FUNCTION assets_fdw.server_dropped() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM assets_fdw.service_facts AS f
        USING pg_catalog.pg_event_trigger_dropped_objects() AS d
        WHERE d.object_type = 'server' AND f.server = d.address_names[1];
END
$$;
REVOKE ALL ON FUNCTION assets_fdw.server_dropped() FROM PUBLIC;

CREATE EVENT TRIGGER assets_fdw_server_dropped ON sql_drop
    WHEN TAG IN ('DROP SERVER', 'DROP FOREIGN DATA WRAPPER', 'DROP OWNED')
    EXECUTE FUNCTION assets_fdw.server_dropped();

CREATE FUNCTION assets_fdw.verify_pushdown(server name, source regclass DEFAULT NULL)
    RETURNS TABLE (rule text, aql text, verdict text, detail text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 80 AS 'MODULE_PATHNAME', 'verify_pushdown_wrapper';
COMMENT ON FUNCTION assets_fdw.verify_pushdown(name, regclass) IS
    'Proves the pushdown rules, read-only, on the live service, and records in service_facts what it learned';
