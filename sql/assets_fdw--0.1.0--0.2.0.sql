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
           COALESCE(s.last_error, CASE WHEN j.enabled THEN assets_fdw.replica_unscheduled() END) AS last_error,
           s.full_at AS last_full, j.history_table,
           s.obstacle AS why_full
    FROM assets_fdw.replica_job AS j
    LEFT JOIN assets_fdw.replica_state AS s ON s.target = j.target
    LEFT JOIN (SELECT r.id FROM assets_fdw.replica_run AS r
               JOIN pg_catalog.pg_stat_activity AS a ON a.pid = r.pid
               WHERE r.outcome = 'running') AS u ON u.id = s.run
    WHERE pg_catalog.pg_has_role(j.owner::pg_catalog.oid, 'MEMBER');

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
    UPDATE assets_fdw.replica_run AS r SET outcome = 'failed', finished = pg_catalog.clock_timestamp(),
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
