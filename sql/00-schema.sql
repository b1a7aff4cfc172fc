-- The schema itself is made by CREATE EXTENSION (control file: schema = assets_fdw).
COMMENT ON SCHEMA assets_fdw IS 'Atlassian Assets as foreign tables and as replicas that stay fresh';
