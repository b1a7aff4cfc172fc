\echo Use "CREATE EXTENSION assets_fdw" to load this file. \quit

-- sql/00-schema.sql
-- Nothing in these scripts is looked up anywhere but in the system's own schema; each file says so for itself.
SET LOCAL search_path TO pg_catalog, pg_temp;

-- The schema is made by CREATE EXTENSION (control file: schema = assets_fdw), unless it is there already: a
-- restore makes it first, empty and as a superuser. Whoever else made it, or may create in it, could change
-- what the extension's code calls.
DO $$
DECLARE
    theirs text;
BEGIN
    SELECT pg_catalog.format('belongs to %I, who is no superuser', r.rolname) INTO theirs
        FROM pg_catalog.pg_namespace AS n JOIN pg_catalog.pg_roles AS r ON r.oid = n.nspowner
        WHERE n.nspname = 'assets_fdw' AND NOT r.rolsuper;
    IF theirs IS NULL THEN
        SELECT pg_catalog.format('lets %s create in it', COALESCE(pg_catalog.quote_ident(r.rolname), 'PUBLIC')) INTO theirs
            FROM pg_catalog.pg_namespace AS n
            CROSS JOIN pg_catalog.aclexplode(n.nspacl) AS a
            LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
            WHERE n.nspname = 'assets_fdw' AND a.privilege_type = 'CREATE'
              AND r.rolsuper IS NOT TRUE
            LIMIT 1;
    END IF;
    IF theirs IS NULL THEN
        SELECT pg_catalog.format('holds %s', pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)) INTO theirs
            FROM pg_catalog.pg_namespace AS n
            JOIN pg_catalog.pg_depend AS d
              ON d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
             AND d.refobjid = n.oid
            WHERE n.nspname = 'assets_fdw'
              AND d.classid <> 'pg_catalog.pg_extension'::pg_catalog.regclass
            LIMIT 1;
    END IF;
    IF theirs IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'duplicate_schema',
            MESSAGE = pg_catalog.concat('schema "assets_fdw" was not made by CREATE EXTENSION: it ', theirs),
            HINT = 'Drop or rename that schema, then run CREATE EXTENSION assets_fdw again, which makes its own.';
    END IF;
END
$$;
COMMENT ON SCHEMA assets_fdw IS 'Atlassian Assets as foreign tables and as replicas that stay fresh';

-- sql/10-fdw.sql
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
    PERFORM assets_fdw.remember_import(ARRAY(
        SELECT made.objid FROM pg_event_trigger_ddl_commands() AS made WHERE made.classid = 'pg_class'::regclass));
    FOR comment IN
        SELECT c.statement
        FROM assets_fdw.import_comments() AS c
        JOIN pg_event_trigger_ddl_commands() AS made
          ON made.classid = 'pg_class'::regclass AND made.objid = to_regclass(c.foreign_table)
    LOOP
        EXECUTE comment.statement;
    END LOOP;
END
$$;

CREATE EVENT TRIGGER assets_fdw_comment_imported ON ddl_command_end
    WHEN TAG IN ('IMPORT FOREIGN SCHEMA')
    EXECUTE FUNCTION assets_fdw.comment_imported();

-- sql/15-origins.sql
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

-- sql/20-functions.sql
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

-- sql/30-replica.sql
-- Replicas: what is kept about them, what is shown of it, and the functions.
--
-- Nobody but the extension's own code writes to these tables; the views show each role what belongs to
-- it. Runs are written by the worker that does them, in the same transaction as the replica's rows.

SET LOCAL search_path TO pg_catalog, pg_temp;

-- One row a replica. Dumped: a restored job is paused until it is enabled, because `home` tells that
-- it was made elsewhere.
CREATE TABLE assets_fdw.replica_job (
    target      regclass PRIMARY KEY,
    source      regclass NOT NULL,
    owner       regrole NOT NULL,
    every       interval NOT NULL,
    full_every  interval NOT NULL,
    history     boolean NOT NULL DEFAULT false,
    history_table regclass,
    enabled     boolean NOT NULL DEFAULT true,
    home        text NOT NULL,
    created     timestamptz NOT NULL DEFAULT pg_catalog.now()
);
SELECT pg_catalog.pg_extension_config_dump('assets_fdw.replica_job', '');

-- What became of the job so far; crates/schedule says what follows from it.
CREATE TABLE assets_fdw.replica_state (
    target          regclass PRIMARY KEY REFERENCES assets_fdw.replica_job ON DELETE CASCADE,
    run             bigint,              -- the run under way, or one that died
    base            timestamptz,         -- the point of the schedule that the last success stood for
    retry_at        timestamptz,
    failures        integer NOT NULL DEFAULT 0,
    rows            bigint,
    last_success    timestamptz,
    last_failure    timestamptz,
    service_failed  timestamptz,
    last_error      text,
    full_at         timestamptz,         -- when everything was last compared
    -- What an incremental refresh goes on from: the object schema, which replicas are refreshed
    -- together by; since when changes are to be asked for, on this machine's clock and the
    -- service's; and how (crates/delta). No manner: it cannot be, and `obstacle` says why.
    object_schema   bigint,
    since_here      timestamptz,
    since_there     timestamptz,
    manner          text,
    obstacle        text
) WITH (fillfactor = 50);

-- What the last full comparison found out about types and attributes, so that a quiet refresh asks
-- for nothing of it. `definition` is what it was found out for.
CREATE TABLE assets_fdw.replica_memory (
    target      regclass PRIMARY KEY REFERENCES assets_fdw.replica_job ON DELETE CASCADE,
    definition  text NOT NULL,
    memory      text NOT NULL
);

-- A full comparison that has not ended, and what it has brought so far: what it goes on from after a
-- crash. Nobody but its run reads it.
CREATE TABLE assets_fdw.replica_load (
    target       regclass PRIMARY KEY REFERENCES assets_fdw.replica_job ON DELETE CASCADE,
    definition   text NOT NULL,
    since_here   timestamptz NOT NULL,
    since_there  timestamptz,
    begun        timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    resumed      integer NOT NULL DEFAULT 0
);
CREATE TABLE assets_fdw.replica_page (
    target  regclass NOT NULL REFERENCES assets_fdw.replica_load ON DELETE CASCADE,
    n       integer NOT NULL,
    page    bytea NOT NULL,
    PRIMARY KEY (target, n)
);

CREATE SEQUENCE assets_fdw.replica_run_id;

-- One row a run, and one for every run that was due and did not happen. It outlives the job.
CREATE TABLE assets_fdw.replica_run (
    id             bigint PRIMARY KEY,
    target         oid NOT NULL,
    target_name    text NOT NULL,
    owner          oid NOT NULL,
    reason         text NOT NULL,
    mode           text NOT NULL,
    attempt        integer NOT NULL,
    outcome        text NOT NULL CHECK (outcome IN ('running', 'ok', 'failed', 'skipped')),
    pid            integer,
    started        timestamptz NOT NULL,
    finished       timestamptz,
    requests       bigint,
    seen           bigint,
    inserted       bigint,
    updated        bigint,
    deleted        bigint,
    unchanged      bigint,
    with_run       bigint,              -- the run whose requests brought this one's changes as well
    note           text,                -- why it was not done as asked for
    seconds        double precision,
    fetch_seconds  double precision,
    apply_seconds  double precision,
    sqlstate       text,
    error          text,
    detail         text,
    hint           text
) WITH (fillfactor = 70);
CREATE INDEX replica_run_target ON assets_fdw.replica_run (target, id);

-- Only ever added to by sessions, so that a long transaction of theirs holds up no worker.
CREATE TABLE assets_fdw.replica_request (
    target  oid NOT NULL
);

-- Where each run is. Unlogged: it means nothing after a crash.
CREATE UNLOGGED TABLE assets_fdw.replica_progress (
    target   oid PRIMARY KEY,
    run      bigint NOT NULL,
    phase    text NOT NULL,
    done     bigint NOT NULL,
    total    bigint,
    kept     bigint NOT NULL DEFAULT 0     -- done by a run before this one, and not counted for its pace
) WITH (fillfactor = 50);

REVOKE ALL ON assets_fdw.replica_job, assets_fdw.replica_state, assets_fdw.replica_run,
    assets_fdw.replica_request, assets_fdw.replica_progress, assets_fdw.replica_memory, assets_fdw.replica_load,
    assets_fdw.replica_page, assets_fdw.replica_run_id
    FROM PUBLIC;

-- A dropped table takes its job along. It deletes what the dropping role may not touch, hence the
-- definer's rights; it says nothing and takes no argument.
CREATE FUNCTION assets_fdw.replica_dropped() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM assets_fdw.replica_job AS j
        USING pg_catalog.pg_event_trigger_dropped_objects() AS d
        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0
          AND j.target::pg_catalog.oid = d.objid;
END
$$;
REVOKE ALL ON FUNCTION assets_fdw.replica_dropped() FROM PUBLIC;

CREATE EVENT TRIGGER assets_fdw_replica_dropped ON sql_drop
    WHEN TAG IN ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED')
    EXECUTE FUNCTION assets_fdw.replica_dropped();

-- Which cluster and database this is.
CREATE FUNCTION assets_fdw.replica_home() RETURNS text
    LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'replica_home_wrapper';

CREATE VIEW assets_fdw.materializations WITH (security_barrier) AS
    SELECT j.target, j.source, j.owner, j.every, j.full_every, j.history, j.enabled,
           CASE WHEN u.id IS NOT NULL THEN 'running'
                WHEN NOT j.enabled THEN 'disabled'
                WHEN j.home <> assets_fdw.replica_home() THEN 'paused'
                WHEN s.failures > 0 THEN 'failing'
                WHEN s.last_success IS NULL THEN 'new'
                ELSE 'waiting' END AS state,
           s.rows, s.last_success, pg_catalog.clock_timestamp() - s.last_success AS staleness,
           CASE WHEN j.enabled AND j.home = assets_fdw.replica_home()
                THEN COALESCE(s.retry_at, s.base + j.every, j.created) END AS next_run,
           COALESCE(s.failures, 0) AS failures, s.last_error, s.full_at AS last_full, j.history_table,
           s.obstacle AS why_full
    FROM assets_fdw.replica_job AS j
    LEFT JOIN assets_fdw.replica_state AS s ON s.target = j.target
    LEFT JOIN (SELECT r.id FROM assets_fdw.replica_run AS r
               JOIN pg_catalog.pg_stat_activity AS a ON a.pid = r.pid
               WHERE r.outcome = 'running') AS u ON u.id = s.run
    WHERE pg_catalog.pg_has_role(j.owner::pg_catalog.oid, 'MEMBER');
COMMENT ON VIEW assets_fdw.materializations IS
    'Replicas: their schedule and state. state is new, waiting, running, failing, disabled, or paused (restored from elsewhere); why_full says why every refresh compares everything, where that is so';

CREATE VIEW assets_fdw.refresh_history WITH (security_barrier) AS
    SELECT r.id, r.target_name AS target, r.reason, r.mode, r.attempt, r.outcome, r.started, r.finished,
           r.requests, r.seen, r.inserted, r.updated, r.deleted, r.unchanged,
           r.seconds, r.fetch_seconds, r.apply_seconds, r.sqlstate, r.error, r.detail, r.hint, r.pid,
           r.with_run, r.note
    FROM assets_fdw.replica_run AS r
    WHERE pg_catalog.pg_has_role(r.owner, 'MEMBER');
COMMENT ON VIEW assets_fdw.refresh_history IS
    'Every refresh, and every refresh that was due and did not happen, with its reason and figures';

CREATE VIEW assets_fdw.refresh_progress WITH (security_barrier) AS
    SELECT j.target, p.phase, p.done AS objects_done, p.total AS objects_total,
           pg_catalog.clock_timestamp() - r.started AS running_for,
           CASE WHEN p.phase = 'fetching' AND p.done > p.kept AND p.total > p.done
                THEN (pg_catalog.clock_timestamp() - r.started) * ((p.total - p.done)::float8 / (p.done - p.kept))
           END AS time_left,
           r.id AS run, r.pid
    FROM assets_fdw.replica_progress AS p
    JOIN assets_fdw.replica_run AS r ON r.id = p.run AND r.outcome = 'running'
    JOIN assets_fdw.replica_job AS j ON j.target::pg_catalog.oid = p.target
    JOIN pg_catalog.pg_stat_activity AS a ON a.pid = r.pid
    WHERE pg_catalog.pg_has_role(j.owner::pg_catalog.oid, 'MEMBER');
COMMENT ON VIEW assets_fdw.refresh_progress IS 'Refreshes under way: phase, and objects done of about how many';

GRANT SELECT ON assets_fdw.materializations, assets_fdw.refresh_history, assets_fdw.refresh_progress TO PUBLIC;

CREATE FUNCTION assets_fdw.materialize(
        source regclass, into_table text DEFAULT NULL, every interval DEFAULT '5 minutes',
        full_every interval DEFAULT '1 day', history boolean DEFAULT false, indexes text[] DEFAULT NULL)
    RETURNS regclass
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'materialize_wrapper';
COMMENT ON FUNCTION assets_fdw.materialize(regclass, text, interval, interval, boolean, text[]) IS
    'Makes a table that follows a foreign table, and returns at once; the first load starts at commit';

-- A replica with its group: together, for the requests of one. Its own row comes first. schema_wide: the session's
-- assets_fdw.max_delete_share holds for all of them that are in its schema.
CREATE FUNCTION assets_fdw.refresh_group(target regclass, mode text, schema_wide boolean)
    RETURNS TABLE (target regclass, mode text, requests bigint, seen bigint, inserted bigint, updated bigint,
                   deleted bigint, unchanged bigint, seconds double precision)
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'refresh_group_wrapper';

CREATE FUNCTION assets_fdw.refresh(target regclass, mode text DEFAULT 'auto')
    RETURNS TABLE (mode text, requests bigint, seen bigint, inserted bigint, updated bigint, deleted bigint,
                   unchanged bigint, seconds double precision)
    LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE ROWS 1 SET search_path = pg_catalog, pg_temp
    AS 'SELECT r.mode, r.requests, r.seen, r.inserted, r.updated, r.deleted, r.unchanged, r.seconds
        FROM assets_fdw.refresh_group($1, $2, false) AS r WHERE r.target = $1';
COMMENT ON FUNCTION assets_fdw.refresh(regclass, text) IS
    'Refreshes a replica with its group now, in a process of its own, and waits for it';

CREATE FUNCTION assets_fdw.request_refresh(target regclass) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'request_refresh_wrapper';
COMMENT ON FUNCTION assets_fdw.request_refresh(regclass) IS
    'Has a replica refreshed as soon as this transaction commits, and returns at once';

CREATE FUNCTION assets_fdw.alter_materialization(
        target regclass, every interval DEFAULT NULL, full_every interval DEFAULT NULL, enabled boolean DEFAULT NULL)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'alter_materialization_wrapper';
COMMENT ON FUNCTION assets_fdw.alter_materialization(regclass, interval, interval, boolean) IS
    'Changes a replica''s schedule; what is NULL stays as it is';

CREATE FUNCTION assets_fdw.dematerialize(target regclass, drop_table boolean DEFAULT true) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dematerialize_wrapper';
COMMENT ON FUNCTION assets_fdw.dematerialize(regclass, boolean) IS
    'Ends a replica; its table is dropped, or stays as an ordinary table';

-- sql/35-schema.sql
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
           s.looked AS last_look, s.error AS last_error
    FROM assets_fdw.replica_schema AS s
    WHERE pg_catalog.pg_has_role(s.owner::pg_catalog.oid, 'MEMBER');
COMMENT ON VIEW assets_fdw.materialized_schemas IS
    'What materialize_schema() was asked for. state is new, in step, drifted, failing, or paused (restored from elsewhere)';

CREATE VIEW assets_fdw.schema_drift WITH (security_barrier) AS
    SELECT pg_catalog.to_regnamespace(pg_catalog.quote_ident(d.source_schema)) AS source_schema,
           d.statement, d.kind, d.reason, d.blocked_by, d.found
    FROM assets_fdw.replica_drift AS d
    WHERE pg_catalog.pg_has_role(d.owner::pg_catalog.oid, 'MEMBER')
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
        WHERE n.nspname = target_schema ORDER BY c.relname
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

-- sql/40-facts.sql
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

-- sql/50-stats.sql
-- What was asked of each server, over all sessions since the server started where the library is
-- preloaded; otherwise by this session alone (all_sessions tells). Each role sees the servers that it may
-- use; figures of traffic are all that is shown.

SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE FUNCTION assets_fdw.server_counters(
        server oid, OUT requests bigint, OUT objects bigint, OUT bytes bigint, OUT retries bigint,
        OUT throttled bigint, OUT seconds_waited double precision, OUT since timestamptz, OUT all_sessions boolean)
    RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 1 AS 'MODULE_PATHNAME', 'server_counters_wrapper';

CREATE VIEW assets_fdw.server_stats WITH (security_barrier) AS
    SELECT s.srvname AS server, c.requests, c.objects, c.bytes, c.retries, c.throttled, c.seconds_waited,
           c.since AS stats_reset, c.all_sessions
    FROM pg_catalog.pg_foreign_server AS s
    JOIN pg_catalog.pg_foreign_data_wrapper AS w
      ON w.oid = s.srvfdw AND w.fdwhandler = 'assets_fdw.assets_fdw_handler'::pg_catalog.regproc
    CROSS JOIN LATERAL assets_fdw.server_counters(s.oid) AS c;
COMMENT ON VIEW assets_fdw.server_stats IS
    'Requests, objects, bytes, retries, 429s (throttled) and seconds that the limit held requests back, a server';
GRANT SELECT ON assets_fdw.server_stats TO PUBLIC;

CREATE FUNCTION assets_fdw.reset_server_stats(server name DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'reset_server_stats_wrapper';
REVOKE ALL ON FUNCTION assets_fdw.reset_server_stats(name) FROM PUBLIC;
COMMENT ON FUNCTION assets_fdw.reset_server_stats(name) IS
    'Begins to count anew for one server, or for every server of the database';
