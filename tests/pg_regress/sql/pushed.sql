-- What of a WHERE clause goes out as AQL, and what must not, beside each other (crates/aql/src/rules.rs).
\set ECHO none
SET client_min_messages = warning;
CREATE EXTENSION assets_fdw;
CREATE SERVER acme FOREIGN DATA WRAPPER assets_fdw OPTIONS (site :'sim_url');
CREATE USER MAPPING FOR CURRENT_USER SERVER acme OPTIONS (email :'sim_email', api_token :'sim_token');
CREATE SCHEMA itsm;
IMPORT FOREIGN SCHEMA "ITSM" FROM SERVER acme INTO itsm;
SET TimeZone = 'UTC';
-- The lines of EXPLAIN VERBOSE that are about Assets.
CREATE FUNCTION asked(source text, condition text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE format('EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM itsm.%I WHERE %s', source, condition) LOOP
        IF line ~ '^ *(AQL|Local)' OR line ~ 'One-Time Filter' THEN
            RETURN NEXT ltrim(line);
        END IF;
    END LOOP;
END
$$;
-- The same of a whole query.
CREATE FUNCTION planned(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        IF line ~ '^ *(AQL|Count|Order)' THEN
            RETURN NEXT ltrim(line);
        END IF;
    END LOOP;
END
$$;
\set ECHO all
\pset format unaligned
\pset tuples_only on
-- Object id.
SELECT asked('server', 'id = 1001');
SELECT asked('server', 'id IN (1001, 1002, 1001)');
SELECT asked('server', 'id > 1001 AND id <= 2000');
SELECT asked('server', '1001 < id');
SELECT asked('server', 'id + 0 = 1001');
SELECT asked('server', 'id = 1001.5');
SELECT asked('server', 'id = 1001::numeric');
SELECT asked('server', 'id <= 1001.5');
SELECT asked('server', 'id IS NOT NULL AND memory_gb > 64.0');
SELECT asked('server', 'memory_gb NOT IN (64.0, 1.5)');
SELECT asked('server', $$memory_gb < 'NaN'::numeric$$);
SELECT asked('server', $$created >= timestamp '2024-03-01 12:00'$$);
SELECT asked('server', $$purchased > timestamp '2024-03-01 12:00'$$);
SELECT asked('server', $$purchased <= timestamptz '2024-03-01 12:00+00'$$);
SELECT asked('server', $$created::date > date '2024-03-01'$$);
-- Key: exact in any case; no order, no pattern.
SELECT asked('server', $$key = 'ITSM-1001'$$);
SELECT asked('server', $$key IN ('ITSM-1001', 'itsm-1001', 'ITSM-1002')$$);
SELECT asked('server', $$lower(key) = 'itsm-1001'$$);
SELECT asked('server', $$key <> 'ITSM-1001'$$);
SELECT asked('server', $$key LIKE 'ITSM-1%'$$);
SELECT asked('server', $$key > 'ITSM-1001'$$);
SELECT asked('server', 'key IS NULL');
-- Created and Updated, widened.
SELECT asked('server', $$updated >= '2024-01-31 10:00'$$);
SELECT asked('server', $$updated > '2024-01-31'::date$$);
SELECT asked('server', $$created = '2024-01-31 10:00'$$);
SELECT asked('server', $$created <> '2024-01-31 10:00'$$);
SELECT asked('server', $$created < 'infinity'$$);
-- Text: AQL ignores case, so equality is a superset and its negation is not.
SELECT asked('server', $$operating_system = 'Debian 12'$$);
SELECT asked('server', $$'Debian 12' = operating_system$$);
SELECT asked('server', $$operating_system IN ('Debian 12', 'RHEL 9', NULL)$$);
SELECT asked('server', $$operating_system <> 'Debian 12'$$);
SELECT asked('server', $$operating_system NOT IN ('Debian 12', 'RHEL 9')$$);
SELECT asked('server', $$NOT operating_system = 'Debian 12'$$);
SELECT asked('server', $$operating_system > 'Debian 12'$$);
SELECT asked('server', $$operating_system = name$$);
SELECT asked('server', $$operating_system = 'Debian 12' COLLATE "C"$$);
SELECT asked('server', $$operating_system || '' = 'Debian 12'$$);
-- Quotes, backslashes, blanks at the ends, control characters, placeholders.
SELECT asked('server', $$name = 'say "hello"'$$);
SELECT asked('server', $$name = 'back\slash'$$);
SELECT asked('server', $$name = 'O''Brien'$$);
SELECT asked('server', $$name = ' blank '$$);
SELECT asked('server', $$name = E'line\nbreak'$$);
SELECT asked('server', $$name = '${now}'$$);
SELECT asked('server', $$name = ''$$);
-- Patterns.
SELECT asked('server', $$name LIKE 'srv-%'$$);
SELECT asked('server', $$name LIKE '%-0001'$$);
SELECT asked('server', $$name LIKE '%rv-%'$$);
SELECT asked('server', $$name LIKE 'a%b_c%'$$);
SELECT asked('server', $$name LIKE 'srv-0001'$$);
SELECT asked('server', $$name LIKE '100\%%'$$);
SELECT asked('server', $$name ILIKE 'SRV%'$$);
SELECT asked('server', $$name LIKE '%'$$);
SELECT asked('server', $$starts_with(name, 'srv')$$);
SELECT asked('server', $$name ^@ 'srv'$$);
SELECT asked('server', $$strpos(name, 'v-0') > 0$$);
SELECT asked('server', $$name NOT LIKE 'srv-%'$$);
SELECT asked('server', $$name NOT ILIKE 'srv-%'$$);
SELECT asked('server', $$name ~ '^srv'$$);
SELECT asked('server', $$strpos(name, 'v-0') = 0$$);
-- NULL. An empty text is NULL here.
SELECT asked('server', 'operating_system IS NULL');
SELECT asked('server', 'operating_system IS NOT NULL');
SELECT asked('server', 'memory_gb IS NULL');
SELECT asked('server', 'NOT (memory_gb IS NULL)');
SELECT asked('server', 'last_backup IS NOT NULL');
SELECT asked('server', 'owner IS NULL');
SELECT asked('server', 'support_group IS NULL');
-- Numbers and booleans.
SELECT asked('server', 'memory_gb = 64');
SELECT asked('server', 'memory_gb BETWEEN 64 AND 128');
SELECT asked('server', 'memory_gb IN (32, 64)');
SELECT asked('server', 'NOT memory_gb < 64');
SELECT asked('server', 'memory_gb > 64::smallint');
SELECT asked('server', 'memory_gb > 64.5');
SELECT asked('server', 'memory_gb % 2 = 0');
SELECT asked('server', 'price > 100');
SELECT asked('server', 'price = 0.1::float8');
SELECT asked('server', $$price = 'NaN'$$);
SELECT asked('server', 'virtual');
SELECT asked('server', 'NOT virtual');
SELECT asked('server', 'virtual IS TRUE');
SELECT asked('server', 'virtual IS NOT TRUE');
SELECT asked('server', 'virtual IS UNKNOWN');
-- Dates and times.
SELECT asked('server', $$purchased >= '2024-02-29'$$);
SELECT asked('server', $$purchased = '2024-02-29'$$);
SELECT asked('server', $$last_backup < '2024-01-31 10:00'$$);
SELECT asked('server', $$maintenance_window = '12:00'$$);
-- Addresses.
SELECT asked('server', $$ip_address = '10.0.0.1'$$);
SELECT asked('server', $$ip_address = '2001:db8::1'$$);
SELECT asked('server', $$ip_address <<= '10.0.0.0/8'$$);
-- References, users, groups, statuses.
SELECT asked('server', $$owner = 'Ada Smith'$$);
SELECT asked('server', $$owner_key = 'ITSM-1004'$$);
SELECT asked('server', $$owner_key IN ('ITSM-1004', 'ITSM-1005')$$);
SELECT asked('server', $$owner LIKE 'Ada%'$$);
SELECT asked('server', $$assignee_account_id = '5b10'$$);
SELECT asked('server', $$assignee = 'Ada Smith'$$);
SELECT asked('server', $$status = 'Running'$$);
SELECT asked('server', $$status LIKE 'Run%'$$);
SELECT asked('server', $$support_group = 'jira-users'$$);
-- Several values.
SELECT asked('server', $$'prod' = ANY (tags)$$);
SELECT asked('server', $$tags @> ARRAY['prod', 'pci']$$);
SELECT asked('server', $$tags && ARRAY['prod', 'pci']$$);
SELECT asked('server', $$'ITSM-1001' = ANY (depends_on_key)$$);
SELECT asked('server', $$NOT 'prod' = ANY (tags)$$);
SELECT asked('server', $$'prod' = ALL (tags)$$);
SELECT asked('server', $$tags = ARRAY['prod']$$);
SELECT asked('server', $$tags <@ ARRAY['prod']$$);
SELECT asked('server', $$tags IS NULL$$);
-- AND keeps what it can; OR goes out whole or not at all; NOT moves to the leaves.
SELECT asked('server', $$virtual AND name ~ 'x' AND memory_gb = 64$$);
SELECT asked('server', $$operating_system = 'RHEL 9' OR memory_gb = 64$$);
SELECT asked('server', $$operating_system = 'RHEL 9' OR name ~ 'x'$$);
SELECT asked('server', $$(operating_system = 'RHEL 9' AND name ~ 'x') OR memory_gb = 64$$);
SELECT asked('server', $$NOT (memory_gb = 64 OR virtual)$$);
SELECT asked('server', $$NOT (memory_gb < 64 AND operating_system = 'RHEL 9')$$);
SELECT asked('server', $$(virtual OR memory_gb = 1) AND (virtual OR memory_gb = 2)$$);
-- What can never be true is not asked.
SELECT asked('server', 'name = NULL');
SELECT asked('server', $$memory_gb IN (NULL) AND virtual$$);
-- Volatile functions are evaluated for each row.
SELECT asked('server', 'memory_gb > random() * 64');
SELECT asked('server', $$updated > now() - interval '1 day'$$);
SELECT asked('server', 'id = (SELECT 1001)');
-- Names that AQL could read in another way.
SELECT asked('specimen', $$"2024" = 1$$);
SELECT asked('specimen', $$quote_q = 'x'$$);
SELECT asked('specimen', $$back_slash = 'x'$$);
SELECT asked('specimen', $$dot_ted_name = 'x'$$);
SELECT asked('specimen', $$"straße" = 'x'$$);
SELECT asked('specimen', $$"名前" = 'x'$$);
SELECT asked('specimen', $$"and" = 'x'$$);
-- An abstract type's table asks for its descendants.
SELECT asked('hardware', $$price > 100$$);
SELECT asked('hardware', $$object_type = 'Server'$$);
SELECT asked('hardware', $$label = 'x'$$);
SELECT asked('server', $$label = 'x'$$);
SELECT asked('server', $$url = 'x'$$);
-- The number of rows in any dress, and extremes of what every object has, beside what only looks like them.
SELECT planned($$SELECT 'servers', count(1), count(id)::int FROM itsm.server WHERE memory_gb > 64.5 HAVING count(*) > 5$$);
SELECT planned('SELECT count(memory_gb), count(*) FROM itsm.server');
SELECT planned('SELECT max(updated) FROM itsm.server');
SELECT planned('SELECT max(id) FROM itsm.server');
-- Switched off.
SET assets_fdw.enable_pushdown = off;
SELECT asked('server', $$name = 'x' AND id = 1001$$);
