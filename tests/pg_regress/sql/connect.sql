-- From nothing to the first query (interface.md section 1).
CREATE EXTENSION assets_fdw;
CREATE SERVER acme FOREIGN DATA WRAPPER assets_fdw OPTIONS (site :'sim_url');
-- Without a user mapping there is nobody to ask as.
SELECT assets_fdw.count('acme', 'objectType = Server');
CREATE USER MAPPING FOR CURRENT_USER SERVER acme OPTIONS (email :'sim_email', api_token 'wrong');
SELECT assets_fdw.count('acme', 'objectType = Server');
ALTER USER MAPPING FOR CURRENT_USER SERVER acme OPTIONS (SET api_token :'sim_token');
SELECT assets_fdw.count('acme', 'objectType = Server') > 0 AS some;
SELECT step, detail FROM assets_fdw.check('acme') WHERE status = 'fail';
CREATE SCHEMA itsm;
IMPORT FOREIGN SCHEMA "ITSM" FROM SERVER acme INTO itsm;
SELECT count(*) = assets_fdw.count('acme', 'objectType = Server') AS complete FROM itsm.server;
