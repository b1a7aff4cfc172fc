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

-- Which replica each history table belongs to. It stays when the replica goes (no target then), and one of the same
-- name goes on with it; names of histories are cut to fit, `replica` is the whole one.
CREATE TABLE assets_fdw.replica_history (
    history  regclass PRIMARY KEY,
    target   regclass,
    replica  name NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('assets_fdw.replica_history', '');

-- Which column of a replica shows which one of its foreign table: found by their names, and known by their numbers from
-- then on, so that either may be renamed. Numbers are this database's (`home`): after a restore names count again.
CREATE TABLE assets_fdw.replica_column (
    target         regclass NOT NULL REFERENCES assets_fdw.replica_job ON DELETE CASCADE,
    attnum         smallint NOT NULL,
    name           name NOT NULL,
    source_attnum  smallint NOT NULL,
    source_name    name NOT NULL,
    home           text NOT NULL,
    PRIMARY KEY (target, attnum)
);
SELECT pg_catalog.pg_extension_config_dump('assets_fdw.replica_column', '');

-- What became of the job so far; crates/schedule says what follows from it.
CREATE TABLE assets_fdw.replica_state (
    target          regclass PRIMARY KEY REFERENCES assets_fdw.replica_job ON DELETE CASCADE,
    run             bigint,              -- the run under way, or one that died
    base            timestamptz,         -- the point of the schedule that the last success stood for
    retry_at        timestamptz,
    failures        integer NOT NULL DEFAULT 0,   -- in a row: its own, and the service's
    stopped         integer NOT NULL DEFAULT 0,   -- in a row: cancelled, killed, locked, nobody's own fault
    rows            bigint,
    last_success    timestamptz,
    last_failure    timestamptz,
    service_failed  timestamptz,
    recovered       timestamptz,         -- when it last succeeded after a failure over the service
    patient         boolean NOT NULL DEFAULT false, -- was brought forward and failed: not again before retry_at
    last_error      text,
    full_at         timestamptz,         -- when everything was last compared
    full_wanted     timestamptz,         -- when something became known that only a comparison of everything mends
    -- What an incremental refresh goes on from: the object schema, which replicas are refreshed
    -- together by; since when changes are to be asked for, on this machine's clock and the
    -- service's; and how (crates/delta). No manner: it cannot be, and `obstacle` says why.
    object_schema   bigint,
    since_here      timestamptz,
    since_there     timestamptz,
    manner          text,
    obstacle        text,
    -- Where the rows come from: the workspace of Assets, and whose credential it was, as a hash.
    workspace       text,
    account         text,
    -- Rows inserted less rows deleted by the table's statistics, and its file, when `rows` was right: where they are
    -- others, somebody else has written to it, and its rows are counted.
    written_balance bigint,
    written_file    oid
) WITH (fillfactor = 50);

-- What the last full comparison found out about types and attributes, so that a quiet refresh asks
-- for nothing of it. `definition` is what it was found out for, `options` those of the foreign table by which all
-- rows that the replica then held were chosen.
CREATE TABLE assets_fdw.replica_memory (
    target      regclass PRIMARY KEY REFERENCES assets_fdw.replica_job ON DELETE CASCADE,
    definition  text NOT NULL,
    memory      text NOT NULL,
    options     jsonb
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
    mode           text,                -- none where it did not begin
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
    target  oid NOT NULL,
    asked   timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
-- It has no key, and rows could not be deleted from it under a publication FOR ALL TABLES.
ALTER TABLE assets_fdw.replica_request REPLICA IDENTITY FULL;

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
    assets_fdw.replica_page, assets_fdw.replica_run_id, assets_fdw.replica_history, assets_fdw.replica_column
    FROM PUBLIC;

-- A dropped table takes its job along, and a dropped history ends the keeping of one. It changes what the dropping role
-- may not touch, hence the definer's rights; it says nothing and takes no argument.
CREATE FUNCTION assets_fdw.replica_dropped() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    dropped pg_catalog.oid[] := ARRAY(
        SELECT d.objid FROM pg_catalog.pg_event_trigger_dropped_objects() AS d
        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0);
    under_way pg_catalog.int8[] := ARRAY(
        SELECT s.run FROM assets_fdw.replica_state AS s WHERE s.target::pg_catalog.oid = ANY (dropped));
BEGIN
    UPDATE assets_fdw.replica_history AS h SET target = NULL, replica = d.object_name
        FROM pg_catalog.pg_event_trigger_dropped_objects() AS d
        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0
          AND h.target::pg_catalog.oid = d.objid;
    DELETE FROM assets_fdw.replica_job AS j
        USING pg_catalog.pg_event_trigger_dropped_objects() AS d
        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0
          AND j.target::pg_catalog.oid = d.objid;
    DELETE FROM assets_fdw.replica_history AS h
        USING pg_catalog.pg_event_trigger_dropped_objects() AS d
        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0
          AND h.history::pg_catalog.oid = d.objid;
    -- A number that is left would be another table's after a restore.
    UPDATE assets_fdw.replica_job AS j SET history = false, history_table = NULL
        FROM pg_catalog.pg_event_trigger_dropped_objects() AS d
        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0
          AND j.history_table::pg_catalog.oid = d.objid;
    -- A run under way notices at its next step, but there is nothing left that it could note it on. After the job,
    -- which it keeps before it notes anything.
    UPDATE assets_fdw.replica_run AS r SET outcome = 'skipped', finished = pg_catalog.clock_timestamp(),
            sqlstate = '42704', error = 'the replica was removed meanwhile'
        WHERE r.id = ANY (under_way) AND r.outcome = 'running';
    DELETE FROM assets_fdw.replica_progress AS p WHERE p.target = ANY (dropped);
END
$$;
REVOKE ALL ON FUNCTION assets_fdw.replica_dropped() FROM PUBLIC;

CREATE EVENT TRIGGER assets_fdw_replica_dropped ON sql_drop
    WHEN TAG IN ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED')
    EXECUTE FUNCTION assets_fdw.replica_dropped();

-- Which cluster and database this is.
CREATE FUNCTION assets_fdw.replica_home() RETURNS text
    LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'replica_home_wrapper';

-- Why nobody looks after this database, where that is not by its settings.
CREATE FUNCTION assets_fdw.replica_unscheduled() RETURNS text
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'replica_unscheduled_wrapper';

-- Each role sees what is of roles that it is a member of: the job's owner, and the table's, where that is another.
-- pg_read_all_stats sees everything but texts: they may hold values.
CREATE VIEW assets_fdw.materializations WITH (security_barrier) AS
    SELECT j.target, j.source, j.owner, j.every, j.full_every, j.history, j.enabled,
           CASE WHEN u.id IS NOT NULL THEN 'running'
                WHEN NOT j.enabled THEN 'disabled'
                WHEN j.home <> assets_fdw.replica_home() THEN 'paused'
                WHEN s.last_error IS NOT NULL THEN 'failing'
                WHEN s.last_success IS NULL THEN 'new'
                ELSE 'waiting' END AS state,
           s.rows, s.last_success, pg_catalog.clock_timestamp() - s.last_success AS staleness,
           -- As the scheduler counts: a day is 24 hours, whatever the session's time zone makes of it.
           CASE WHEN j.enabled AND j.home = assets_fdw.replica_home()
                THEN COALESCE(s.retry_at,
                              s.base + EXTRACT(epoch FROM j.every)::float8 * interval '1 second', j.created)
                END AS next_run,
           COALESCE(s.failures, 0) AS failures,
           COALESCE(CASE WHEN v.mine THEN s.last_error
                         WHEN s.last_error IS NOT NULL THEN '<insufficient privilege>' END,
                    CASE WHEN j.enabled THEN assets_fdw.replica_unscheduled() END) AS last_error,
           s.full_at AS last_full, j.history_table, s.obstacle AS why_full
    FROM assets_fdw.replica_job AS j
    LEFT JOIN pg_catalog.pg_class AS c ON c.oid = j.target::pg_catalog.oid
    CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role(j.owner::pg_catalog.oid, 'MEMBER')
                               OR COALESCE(pg_catalog.pg_has_role(c.relowner, 'MEMBER'), false) AS mine) AS v
    LEFT JOIN assets_fdw.replica_state AS s ON s.target = j.target
    LEFT JOIN (SELECT r.id FROM assets_fdw.replica_run AS r
               JOIN pg_catalog.pg_stat_activity AS a ON a.pid = r.pid
               WHERE r.outcome = 'running') AS u ON u.id = s.run
    WHERE v.mine OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE');
COMMENT ON VIEW assets_fdw.materializations IS
    'Replicas: their schedule and state. state is new, waiting, running, failing, disabled, or paused (restored from elsewhere); why_full says why every refresh compares everything, where that is so';

CREATE VIEW assets_fdw.refresh_history WITH (security_barrier) AS
    SELECT r.id, r.target_name AS target, r.reason, r.mode, r.attempt, r.outcome, r.started, r.finished,
           r.requests, r.seen, r.inserted, r.updated, r.deleted, r.unchanged,
           r.seconds, r.fetch_seconds, r.apply_seconds, r.sqlstate,
           CASE WHEN v.mine THEN r.error WHEN r.error IS NOT NULL THEN '<insufficient privilege>' END AS error,
           CASE WHEN v.mine THEN r.detail END AS detail, CASE WHEN v.mine THEN r.hint END AS hint, r.pid, r.with_run,
           CASE WHEN v.mine THEN r.note WHEN r.note IS NOT NULL THEN '<insufficient privilege>' END AS note
    FROM assets_fdw.replica_run AS r
    LEFT JOIN pg_catalog.pg_class AS c ON c.oid = r.target
    CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role(r.owner, 'MEMBER')
                               OR COALESCE(pg_catalog.pg_has_role(c.relowner, 'MEMBER'), false) AS mine) AS v
    WHERE v.mine OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE');
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
    LEFT JOIN pg_catalog.pg_class AS c ON c.oid = j.target::pg_catalog.oid
    WHERE pg_catalog.pg_has_role(j.owner::pg_catalog.oid, 'MEMBER') OR pg_catalog.pg_has_role(c.relowner, 'MEMBER')
       OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE');
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
