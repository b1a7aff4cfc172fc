-- These scripts are ASCII: in a database of another encoding they have to be read as far as what refuses it.
-- Nothing in these scripts is looked up anywhere but in the system's own schema; each file says so for itself.
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
