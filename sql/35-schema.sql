-- Whole schemas: what IMPORT made of which object types, replicas of all of it, and drift.
--
-- As with replicas, only the extension's own code writes to these tables, and the views show each role what
-- belongs to it. Schemas are kept by name: pg_upgrade refuses tables with a regnamespace, and gives schemas other
-- numbers. The number beside a name is as of the last ALTER SCHEMA, which the name follows.

SET LOCAL search_path TO pg_catalog, pg_temp;

-- What IMPORT saw of the type when it made a table, or the last sync: what tells a new attribute from a column
-- that somebody dropped, and a changed kind from a type that somebody chose (crates/tables, known).
CREATE TABLE assets_fdw.imported_table (
    relation    regclass PRIMARY KEY,
    known       jsonb NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('assets_fdw.imported_table', '');

-- Imports of whole object schemas (all but a list of tables counts as whole): they want types that come later.
CREATE TABLE assets_fdw.imported_schema (
    local_schema      name NOT NULL,
    schema_id         oid NOT NULL,
    server            name NOT NULL,
    object_schema_id  bigint NOT NULL,
    owner             regrole NOT NULL,
    options           jsonb NOT NULL,
    types             bigint[] NOT NULL,      -- seen so far, whether they got a table or not
    PRIMARY KEY (local_schema, server, object_schema_id)
);
SELECT pg_catalog.pg_extension_config_dump('assets_fdw.imported_schema', '');

-- What materialize_schema() was asked for. A restored row rests until it is called again: `home` tells.
CREATE TABLE assets_fdw.replica_schema (
    source_schema  name NOT NULL,
    schema_id      oid NOT NULL,
    owner          regrole NOT NULL,
    into_schema    name NOT NULL,
    every          interval NOT NULL,
    full_every     interval NOT NULL,
    history        boolean NOT NULL,
    drift          text NOT NULL CHECK (drift IN ('report', 'apply')),
    home           text NOT NULL,
    looked         timestamptz,       -- when drift was looked for, whatever came of it
    compared       timestamptz,       -- when every type was compared
    seen           text,              -- of what the service showed then: the same again needs no comparison
    obstacles      text,              -- of what depended on the tables then: where something is blocked, and this
                                      -- differs, it is looked at again
    error          text,
    into_id        oid,               -- of into_schema, as schema_id
    PRIMARY KEY (source_schema, owner)
);
SELECT pg_catalog.pg_extension_config_dump('assets_fdw.replica_schema', '');

-- What the last look found and did not do.
CREATE TABLE assets_fdw.replica_drift (
    source_schema  name NOT NULL,
    owner          regrole NOT NULL,
    n              integer NOT NULL,
    statement      text NOT NULL,
    kind           text NOT NULL,
    reason         text NOT NULL,
    blocked_by     text,
    found          timestamptz NOT NULL,
    PRIMARY KEY (source_schema, owner, n),
    FOREIGN KEY (source_schema, owner) REFERENCES assets_fdw.replica_schema ON UPDATE CASCADE ON DELETE CASCADE
);

REVOKE ALL ON assets_fdw.imported_table, assets_fdw.imported_schema, assets_fdw.replica_schema,
    assets_fdw.replica_drift FROM PUBLIC;

-- What is dropped is forgotten. It deletes what the dropping role may not touch, hence the definer's rights; it
-- says nothing and takes no argument.
CREATE FUNCTION assets_fdw.schema_dropped() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM assets_fdw.imported_table AS t
        USING pg_catalog.pg_event_trigger_dropped_objects() AS d
        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND t.relation::pg_catalog.oid = d.objid;
    DELETE FROM assets_fdw.imported_schema AS s
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_namespace AS n WHERE n.nspname = s.local_schema);
    DELETE FROM assets_fdw.replica_schema AS s
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_namespace AS n WHERE n.nspname = s.source_schema);
END
$$;
REVOKE ALL ON FUNCTION assets_fdw.schema_dropped() FROM PUBLIC;

CREATE EVENT TRIGGER assets_fdw_schema_dropped ON sql_drop
    WHEN TAG IN ('DROP FOREIGN TABLE', 'DROP SCHEMA', 'DROP OWNED', 'DROP SERVER', 'DROP FOREIGN DATA WRAPPER')
    EXECUTE FUNCTION assets_fdw.schema_dropped();

-- A schema's name may change: its number is noted while it has the old one, and gives the new one. Here too the
-- rights are the definer's, because the schema's owner may not touch these tables.
CREATE FUNCTION assets_fdw.schema_alters() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE assets_fdw.imported_schema AS s SET schema_id = n.oid FROM pg_catalog.pg_namespace AS n
        WHERE n.nspname = s.local_schema AND n.oid <> s.schema_id;
    UPDATE assets_fdw.replica_schema AS s SET schema_id = n.oid FROM pg_catalog.pg_namespace AS n
        WHERE n.nspname = s.source_schema AND n.oid <> s.schema_id;
    UPDATE assets_fdw.replica_schema AS s
        SET into_id = (SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname = s.into_schema)
        WHERE s.into_id IS DISTINCT FROM (SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname = s.into_schema);
END
$$;
REVOKE ALL ON FUNCTION assets_fdw.schema_alters() FROM PUBLIC;
CREATE EVENT TRIGGER assets_fdw_schema_alters ON ddl_command_start
    WHEN TAG IN ('ALTER SCHEMA')
    EXECUTE FUNCTION assets_fdw.schema_alters();

CREATE FUNCTION assets_fdw.schema_altered() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE assets_fdw.imported_schema AS s SET local_schema = n.nspname FROM pg_catalog.pg_namespace AS n
        WHERE n.oid = s.schema_id AND n.nspname <> s.local_schema;
    UPDATE assets_fdw.replica_schema AS s SET source_schema = n.nspname FROM pg_catalog.pg_namespace AS n
        WHERE n.oid = s.schema_id AND n.nspname <> s.source_schema;
    UPDATE assets_fdw.replica_schema AS s SET into_schema = n.nspname FROM pg_catalog.pg_namespace AS n
        WHERE n.oid = s.into_id AND n.nspname <> s.into_schema;
END
$$;
REVOKE ALL ON FUNCTION assets_fdw.schema_altered() FROM PUBLIC;
CREATE EVENT TRIGGER assets_fdw_schema_altered ON ddl_command_end
    WHEN TAG IN ('ALTER SCHEMA')
    EXECUTE FUNCTION assets_fdw.schema_altered();

-- Called by the event trigger of IMPORT FOREIGN SCHEMA with the relations that the command made.
CREATE FUNCTION assets_fdw.remember_import(made oid[]) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'remember_import_wrapper';

CREATE VIEW assets_fdw.materialized_schemas WITH (security_barrier) AS
    SELECT pg_catalog.to_regnamespace(pg_catalog.quote_ident(s.source_schema)) AS source_schema,
           s.into_schema, s.owner, s.every, s.full_every, s.history, s.drift,
           CASE WHEN s.home <> assets_fdw.replica_home() THEN 'paused'
                WHEN s.error IS NOT NULL THEN 'failing'
                WHEN s.looked IS NULL THEN 'new'
                WHEN EXISTS (SELECT FROM assets_fdw.replica_drift AS d
                             WHERE d.source_schema = s.source_schema AND d.owner = s.owner) THEN 'drifted'
                ELSE 'in step' END AS state,
           s.looked AS last_look,
           CASE WHEN pg_catalog.pg_has_role(s.owner::pg_catalog.oid, 'MEMBER') THEN s.error
                WHEN s.error IS NOT NULL THEN '<insufficient privilege>' END AS last_error
    FROM assets_fdw.replica_schema AS s
    WHERE pg_catalog.pg_has_role(s.owner::pg_catalog.oid, 'MEMBER')
       OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE');
COMMENT ON VIEW assets_fdw.materialized_schemas IS
    'What materialize_schema() was asked for. state is new, in step, drifted, failing, or paused (restored from elsewhere)';

CREATE VIEW assets_fdw.schema_drift WITH (security_barrier) AS
    SELECT pg_catalog.to_regnamespace(pg_catalog.quote_ident(d.source_schema)) AS source_schema,
           d.statement, d.kind, d.reason, d.blocked_by, d.found
    FROM assets_fdw.replica_drift AS d
    WHERE pg_catalog.pg_has_role(d.owner::pg_catalog.oid, 'MEMBER')
       OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
    ORDER BY d.source_schema, d.owner, d.n;
COMMENT ON VIEW assets_fdw.schema_drift IS
    'How materialized schemas differ from Assets: what sync_schema() would do, and what keeps it from it';

GRANT SELECT ON assets_fdw.materialized_schemas, assets_fdw.schema_drift TO PUBLIC;

-- The search path is part of what runs: statements name types and operators of the system.
CREATE FUNCTION assets_fdw.sync_schema(local_schema name, dry_run boolean DEFAULT true)
    RETURNS TABLE (statement text, kind text, reason text, blocked_by text)
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'sync_schema_wrapper';
COMMENT ON FUNCTION assets_fdw.sync_schema(name, boolean) IS
    'The statements that make foreign tables and replicas follow changed object types; dry_run => false runs them';

CREATE FUNCTION assets_fdw.materialize_schema(
        source_schema name, into_schema name DEFAULT NULL, every interval DEFAULT '5 minutes',
        full_every interval DEFAULT '1 day', history boolean DEFAULT false, drift text DEFAULT 'report')
    RETURNS SETOF regclass
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'materialize_schema_wrapper';
COMMENT ON FUNCTION assets_fdw.materialize_schema(name, name, interval, interval, boolean, text) IS
    'Makes a replica of every foreign table of a schema that has none, and looks after drift';

-- What refresh_schema() does; PL/pgSQL has no room for two parameters called mode. One group after the other, and
-- all of them whatever becomes of one.
CREATE FUNCTION assets_fdw.refresh_each(target_schema name, wanted text)
    RETURNS TABLE (target regclass, mode text, requests bigint, seen bigint, inserted bigint, updated bigint,
                   deleted bigint, unchanged bigint, seconds double precision)
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    replica record;
    refreshed record;
    found_any boolean := false;
    done oid[] := '{}';
    failed text[] := '{}';
    state text;
    said text;
    advice text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = target_schema) THEN
        RAISE EXCEPTION 'schema "%" does not exist', target_schema USING ERRCODE = 'invalid_schema_name';
    END IF;
    FOR replica IN
        SELECT m.target AS relation, c.relname AS name
        FROM assets_fdw.materializations AS m
        JOIN pg_class AS c ON c.oid = m.target::oid JOIN pg_namespace AS n ON n.oid = c.relnamespace
        -- Some see others' replicas, too.
        WHERE n.nspname = target_schema AND (pg_has_role(m.owner::oid, 'MEMBER') OR pg_has_role(c.relowner, 'MEMBER'))
        ORDER BY c.relname
    LOOP
        found_any := true;
        CONTINUE WHEN replica.relation::oid = ANY (done);
        BEGIN
            FOR refreshed IN SELECT * FROM assets_fdw.refresh_group(replica.relation, wanted, true) LOOP
                -- What comes along may be in other schemas, may have been refreshed before, or is not compared in
                -- full where that is wanted or due.
                CONTINUE WHEN refreshed.target::oid = ANY (done) OR (wanted = 'full' AND refreshed.mode <> 'full')
                    OR (wanted = 'auto' AND refreshed.target::oid <> replica.relation::oid AND EXISTS (
                        SELECT FROM assets_fdw.materializations AS m WHERE m.target = refreshed.target
                        AND coalesce(m.last_full + m.full_every < clock_timestamp(), true)))
                    OR NOT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                                   WHERE c.oid = refreshed.target::oid AND n.nspname = target_schema);
                done := done || refreshed.target::oid;
                target := refreshed.target;
                mode := refreshed.mode;
                requests := refreshed.requests;
                seen := refreshed.seen;
                inserted := refreshed.inserted;
                updated := refreshed.updated;
                deleted := refreshed.deleted;
                unchanged := refreshed.unchanged;
                seconds := refreshed.seconds;
                RETURN NEXT;
            END LOOP;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS said = MESSAGE_TEXT, state = RETURNED_SQLSTATE, advice = PG_EXCEPTION_HINT;
            -- The same would come of every other one: a wrong argument, a standby, the service itself.
            IF state IN ('22023', '25006', 'HV00N', '28000', '53400') THEN
                RAISE;
            END IF;
            failed := failed || format('%I: %s', replica.name, said);
        END;
    END LOOP;
    IF NOT found_any THEN
        RAISE EXCEPTION 'schema "%" holds no replica of yours', target_schema
            USING ERRCODE = 'undefined_table', HINT = 'assets_fdw.materialize_schema() makes replicas of a schema.';
    END IF;
    IF failed <> '{}' THEN
        RAISE EXCEPTION '% of the replicas in schema "%" could not be refreshed', cardinality(failed), target_schema
            USING ERRCODE = state, DETAIL = array_to_string(failed, E'\n'),
                  HINT = coalesce(nullif(advice, ''), 'assets_fdw.refresh_history tells of every run.');
    END IF;
END
$$;

CREATE FUNCTION assets_fdw.refresh_schema(target_schema name, mode text DEFAULT 'auto')
    RETURNS TABLE (target regclass, mode text, requests bigint, seen bigint, inserted bigint, updated bigint,
                   deleted bigint, unchanged bigint, seconds double precision)
    LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'SELECT * FROM assets_fdw.refresh_each($1, $2) AS r ORDER BY r.target::text';
COMMENT ON FUNCTION assets_fdw.refresh_schema(name, text) IS
    'Refreshes every replica of a schema now and waits; those that can be are, also where one fails';
