-- The extension as a user meets it first.
CREATE EXTENSION assets_fdw;
SELECT extname, extrelocatable, extnamespace::regnamespace FROM pg_extension WHERE extname = 'assets_fdw';
SELECT superuser, trusted, relocatable, schema, e.comment
FROM pg_available_extension_versions v JOIN pg_available_extensions e USING (name)
WHERE name = 'assets_fdw' AND v.version = e.default_version;
-- It lives in its own schema and nowhere else.
CREATE EXTENSION assets_fdw SCHEMA public;
ALTER EXTENSION assets_fdw SET SCHEMA public;
DROP EXTENSION assets_fdw;
CREATE SCHEMA elsewhere;
CREATE EXTENSION assets_fdw SCHEMA elsewhere;
