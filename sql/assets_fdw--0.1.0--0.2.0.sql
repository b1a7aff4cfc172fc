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

-- 30-replica: what is nobody's fault has a count of its own; who comes first is weighed by lateness, and what brings one
-- that failed forward is kept
ALTER TABLE assets_fdw.replica_state
    ADD COLUMN stopped integer NOT NULL DEFAULT 0,
    ADD COLUMN recovered timestamptz,
    ADD COLUMN patient boolean NOT NULL DEFAULT false;
ALTER TABLE assets_fdw.replica_request
    ADD COLUMN asked timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp();

CREATE FUNCTION assets_fdw.replica_unscheduled() RETURNS text
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'replica_unscheduled_wrapper';

-- 30-replica: where the rows come from, and a replica identity for the table that has no key
ALTER TABLE assets_fdw.replica_state ADD COLUMN full_wanted timestamptz, ADD COLUMN workspace text,
    ADD COLUMN account text;
ALTER TABLE assets_fdw.replica_request REPLICA IDENTITY FULL;

-- 30-replica: a run that did not begin has compared in no way
ALTER TABLE assets_fdw.replica_run ALTER COLUMN mode DROP NOT NULL;

-- Proven of one attribute and believed of all, or by letters of ASCII alone: to be proven again.
DELETE FROM assets_fdw.service_facts WHERE fact IN ('reference key', 'text ==', 'NOT (text ==)');

-- 30-replica: whose each history is. Of two that shared one, it is the older one's; the other stops and says why.
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
REVOKE ALL ON assets_fdw.replica_history, assets_fdw.replica_column FROM PUBLIC;
INSERT INTO assets_fdw.replica_history (history, target, replica)
    SELECT DISTINCT ON (j.history_table) j.history_table, j.target, c.relname
    FROM assets_fdw.replica_job AS j
    JOIN pg_catalog.pg_class AS c ON c.oid = j.target::pg_catalog.oid
    JOIN pg_catalog.pg_class AS h ON h.oid = j.history_table::pg_catalog.oid
    ORDER BY j.history_table, j.created, j.target;
UPDATE assets_fdw.replica_job AS j SET history = false, history_table = NULL
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class AS h WHERE h.oid = j.history_table::pg_catalog.oid)
      AND j.history_table IS NOT NULL;

-- A dropped table takes its job along, and a dropped history ends the keeping of one. It changes what the dropping role
-- may not touch, hence the definer's rights; it says nothing and takes no argument.
CREATE OR REPLACE FUNCTION assets_fdw.replica_dropped() RETURNS event_trigger
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

-- 35-schema: the replicas' schema may be renamed, too
ALTER TABLE assets_fdw.replica_schema ADD COLUMN into_id oid;

CREATE OR REPLACE FUNCTION assets_fdw.schema_alters() RETURNS event_trigger
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

CREATE OR REPLACE FUNCTION assets_fdw.schema_altered() RETURNS event_trigger
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

-- 30-replica: a quiet refresh does not count the rows of every replica
ALTER TABLE assets_fdw.replica_state ADD COLUMN written_balance bigint, ADD COLUMN written_file oid;
ALTER TABLE assets_fdw.replica_memory ADD COLUMN options jsonb;

-- 30-replica, 35-schema: the views also show to whoever owns a replica's table, and to pg_read_all_stats
CREATE OR REPLACE VIEW assets_fdw.materializations WITH (security_barrier) AS
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

CREATE OR REPLACE VIEW assets_fdw.refresh_history WITH (security_barrier) AS
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

CREATE OR REPLACE VIEW assets_fdw.refresh_progress WITH (security_barrier) AS
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

CREATE OR REPLACE VIEW assets_fdw.materialized_schemas WITH (security_barrier) AS
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

CREATE OR REPLACE VIEW assets_fdw.schema_drift WITH (security_barrier) AS
    SELECT pg_catalog.to_regnamespace(pg_catalog.quote_ident(d.source_schema)) AS source_schema,
           d.statement, d.kind, d.reason, d.blocked_by, d.found
    FROM assets_fdw.replica_drift AS d
    WHERE pg_catalog.pg_has_role(d.owner::pg_catalog.oid, 'MEMBER')
       OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
    ORDER BY d.source_schema, d.owner, d.n;

CREATE OR REPLACE FUNCTION assets_fdw.refresh_each(target_schema name, wanted text)
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
