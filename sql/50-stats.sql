-- What was asked of each server, over all sessions since the server started where the library is
-- preloaded; otherwise by this session alone (all_sessions tells). Each role sees the servers that it may
-- use, pg_read_all_stats all of them; figures of traffic are all that is shown.

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
