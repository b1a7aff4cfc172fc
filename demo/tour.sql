-- The tour of `make demo`: each statement and its result.
\set ECHO queries
\pset null '-'

\echo
\echo '=== 1. Connect ==='
CREATE EXTENSION assets_fdw;

CREATE SERVER acme FOREIGN DATA WRAPPER assets_fdw OPTIONS (site :'site');

CREATE USER MAPPING FOR CURRENT_USER SERVER acme
    OPTIONS (email 'reader@example.com', api_token 'classic-token');

\echo
\echo '=== 2. Is everything in order? ==='
SELECT step, status, left(detail, 70) AS detail FROM assets_fdw.check('acme');

\echo
\echo '=== 3. Object types become tables ==='
CREATE SCHEMA itsm;

IMPORT FOREIGN SCHEMA "ITSM" LIMIT TO (server, employee, department, application) FROM SERVER acme INTO itsm;

CREATE SCHEMA fac;

IMPORT FOREIGN SCHEMA "FAC" LIMIT TO (office) FROM SERVER acme INTO fac;

SELECT column_name, data_type, col_description('itsm.server'::regclass, ordinal_position::int) AS comment
FROM information_schema.columns WHERE table_schema = 'itsm' AND table_name = 'server' ORDER BY ordinal_position;

\echo
\echo '=== 4. Live queries: the WHERE clause goes out as AQL ==='
SELECT key, name, ip_address, operating_system, memory_gb FROM itsm.server
WHERE operating_system LIKE 'Debian%' AND memory_gb >= 256 ORDER BY memory_gb DESC LIMIT 5;

EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)
SELECT key, name FROM itsm.server WHERE operating_system LIKE 'Debian%' AND memory_gb >= 256;

EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)
SELECT count(*) FROM itsm.server WHERE memory_gb >= 256;

EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)
SELECT key, name, updated FROM itsm.server ORDER BY updated DESC LIMIT 3;

\echo
\echo 'Servers that nobody owns: a reference that is hidden is NULL here and not EMPTY there, until it is proven that none is.'
EXPLAIN (VERBOSE, COSTS OFF) SELECT key FROM itsm.server WHERE owner IS NULL;

SELECT rule, verdict, detail FROM assets_fdw.verify_pushdown('acme', 'itsm.server') WHERE rule LIKE 'reference EMPTY%';

EXPLAIN (COSTS OFF) SELECT key FROM itsm.server WHERE owner IS NULL;

\echo
\echo '=== 5. A join of three live tables, with statistics from a sample of pages ==='
ANALYZE itsm.server;

SELECT s.name, o.name AS owner, d.name AS department
FROM itsm.server s
JOIN itsm.employee o ON o.key = s.owner_key
JOIN itsm.department d ON d.key = o.department_key
WHERE s.status = 'Running'
ORDER BY s.name LIMIT 5;

\echo
\echo '=== 6. A join of a live table with one of your own ==='
CREATE TABLE on_call (department text, phone text);

INSERT INTO on_call SELECT DISTINCT name, '+46 8 ' || (100 + row_number() OVER ()) FROM itsm.department;

SELECT s.key, s.name, c.phone
FROM itsm.server s
JOIN itsm.employee o ON o.key = s.owner_key
JOIN on_call c ON c.department = o.department
WHERE s.memory_gb > 500
ORDER BY s.key LIMIT 5;

\echo
\echo '=== 7. A replica that keeps itself fresh, and every version of every row ==='
SELECT assets_fdw.materialize('itsm.server', every => '2 seconds', history => true);

DO $$
BEGIN
    FOR i IN 1..600 LOOP
        EXIT WHEN EXISTS (SELECT FROM assets_fdw.materializations WHERE last_success IS NOT NULL);
        PERFORM pg_sleep(0.1);
    END LOOP;
END $$;

SELECT count(*) AS rows, max(updated) AS newest FROM itsm_replica.server;

\echo
\echo '=== 8. A change in Assets arrives by itself ==='
SELECT key AS changed, 'moved to rack ' || id AS new_name FROM itsm_replica.server ORDER BY id LIMIT 1 \gset

SELECT key, name FROM itsm_replica.server WHERE key = :'changed';

\setenv CHANGED :changed
\setenv NEW_NAME :new_name
\! echo "(in Assets: $CHANGED is renamed to \"$NEW_NAME\")"
\! "$ASSETS_SIM" set "$ASSETS_SIM_URL" "$CHANGED" Name "$NEW_NAME" > /dev/null

SELECT set_config('demo.changed', :'changed', false) AS waiting_for, set_config('demo.name', :'new_name', false) AS name;

DO $$
BEGIN
    FOR i IN 1..600 LOOP
        EXIT WHEN EXISTS (SELECT FROM itsm_replica.server
                          WHERE key = current_setting('demo.changed') AND name = current_setting('demo.name'));
        PERFORM pg_sleep(0.1);
    END LOOP;
END $$;

SELECT key, name, updated FROM itsm_replica.server WHERE key = :'changed';

SELECT key, name, valid_from::timestamp(0), valid_to::timestamp(0) FROM itsm_replica.server_history
WHERE key = :'changed' ORDER BY valid_from;

\echo
\echo '=== 9. What the worker did ==='
SELECT assets_fdw.request_refresh('itsm_replica.server');

DO $$
BEGIN
    FOR i IN 1..100 LOOP
        EXIT WHEN EXISTS (SELECT FROM assets_fdw.refresh_progress WHERE objects_done > 0);
        PERFORM pg_sleep(0.02);
    END LOOP;
END $$;

SELECT target, phase, objects_done, objects_total FROM assets_fdw.refresh_progress;

SELECT mode, requests, seen, inserted, updated, deleted, unchanged
FROM assets_fdw.refresh('itsm_replica.server');

SELECT target, every, rows, staleness < '1 minute' AS fresh, failures FROM assets_fdw.materializations;

SELECT started::timestamp(0), reason, outcome, requests, seen, inserted, updated, deleted, unchanged
FROM assets_fdw.refresh_history ORDER BY started DESC LIMIT 5;

\echo
\echo '=== 10. Object types change; tables follow ==='
\! echo "(in Assets: Server gets an attribute, and \"Memory GB\" is called RAM)"
\! "$ASSETS_SIM" change "$ASSETS_SIM_URL" '{"change": "add_attribute", "object_type": "Server", "name": "Cost Centre", "kind": "integer"}' > /dev/null
\! "$ASSETS_SIM" change "$ASSETS_SIM_URL" '{"change": "rename_attribute", "object_type": "Server", "attribute": "Memory GB", "to": "RAM"}' > /dev/null

SELECT kind, reason, left(statement, 110) AS statement FROM assets_fdw.sync_schema('itsm');

SELECT count(*) AS done FROM assets_fdw.sync_schema('itsm', dry_run => false) WHERE blocked_by IS NULL;

SELECT count(*) AS left_to_do FROM assets_fdw.sync_schema('itsm');

SELECT count(*) AS servers, count(cost_centre) AS with_a_cost_centre, max(memory_gb) AS most_memory FROM itsm.server;

\echo
\echo '=== 11. A table that was given away: no refresh runs code of its new owner, and the reason is said ==='
CREATE ROLE colleague;
ALTER TABLE itsm_replica.server OWNER TO colleague;
SELECT assets_fdw.request_refresh('itsm_replica.server');

DO $$
BEGIN
    FOR i IN 1..200 LOOP
        EXIT WHEN EXISTS (SELECT FROM assets_fdw.materializations WHERE last_error IS NOT NULL);
        PERFORM pg_sleep(0.1);
    END LOOP;
END $$;

SELECT target, state, last_error FROM assets_fdw.materializations;
SELECT outcome, hint FROM assets_fdw.refresh_history ORDER BY id DESC LIMIT 1;

ALTER TABLE itsm_replica.server OWNER TO postgres;
DROP ROLE colleague;

\echo
\echo '=== 12. A new session begins with what the others know: it asks for its rows, and for nothing else ==='
\c -
SELECT requests AS before FROM assets_fdw.server_stats \gset
SELECT name, status FROM itsm.server WHERE key = :'changed';
SELECT requests - :before AS requests FROM assets_fdw.server_stats;

\echo
\echo '=== 13. A join asks for the keys of many rows at once, and a sub-select reads once what it looks up again and again ==='
CREATE TEMP TABLE inventory AS
    SELECT key, 'rack ' || row_number() OVER (ORDER BY key) % 7 AS rack FROM itsm.server ORDER BY key LIMIT 300;
ANALYZE inventory;

EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off)
SELECT i.rack, s.name, e.name AS owner
FROM inventory i JOIN itsm.server s USING (key) LEFT JOIN itsm.employee e ON e.key = s.owner_key;

CREATE TEMP TABLE people AS SELECT key FROM itsm.employee;
ANALYZE people;

EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off)
SELECT p.key, (SELECT count(*) FROM itsm.server s WHERE s.owner_key = p.key) AS servers FROM people p;

\echo
\echo 'Several tables below an Append are read at the same time.'
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off)
SELECT 'server' AS what, count(*) FROM itsm.server UNION ALL SELECT 'employee', count(*) FROM itsm.employee
UNION ALL SELECT 'application', count(*) FROM itsm.application;

\echo
\echo '=== 14. What all of it cost, in every session ==='
SELECT server, requests, objects, bytes >> 20 AS megabytes, retries, throttled, all_sessions FROM assets_fdw.server_stats;
