-- Messages: what failed, and what to do about it (interface.md section 3).
\set ECHO none
SET client_min_messages = warning;
CREATE EXTENSION assets_fdw;
CREATE SERVER acme FOREIGN DATA WRAPPER assets_fdw OPTIONS (site :'sim_url');
CREATE USER MAPPING FOR CURRENT_USER SERVER acme OPTIONS (email :'sim_email', api_token :'sim_token');
CREATE SCHEMA itsm;
IMPORT FOREIGN SCHEMA "ITSM" LIMIT TO (server, specimen) FROM SERVER acme INTO itsm;
\set ECHO all
-- Options.
CREATE SERVER x FOREIGN DATA WRAPPER assets_fdw;
CREATE SERVER x FOREIGN DATA WRAPPER assets_fdw OPTIONS (site 'http://acme.atlassian.net');
CREATE SERVER x FOREIGN DATA WRAPPER assets_fdw OPTIONS (site 'https://acme.atlassian.net', page_size '1000');
CREATE SERVER x FOREIGN DATA WRAPPER assets_fdw OPTIONS (site 'https://acme.atlassian.net', email 'a@example.com');
CREATE SERVER x FOREIGN DATA WRAPPER assets_fdw OPTIONS (sight 'https://acme.atlassian.net');
CREATE USER MAPPING FOR PUBLIC SERVER acme OPTIONS (email 'a@example.com');
ALTER FOREIGN TABLE itsm.server ALTER name OPTIONS (ADD part 'value');
ALTER FOREIGN TABLE itsm.server ALTER name OPTIONS (ADD field 'key');
-- Objects that are not there.
IMPORT FOREIGN SCHEMA "ITMS" FROM SERVER acme INTO itsm;
CREATE FOREIGN TABLE gone (key text) SERVER acme OPTIONS (object_schema 'ITSM', object_type 'Sevrer');
SELECT * FROM gone;
CREATE FOREIGN TABLE twice (key text) SERVER acme OPTIONS (object_type 'Server');
SELECT * FROM twice;
CREATE FOREIGN TABLE no_such (colour text) SERVER acme OPTIONS (object_schema 'ITSM', object_type 'Server');
SELECT * FROM no_such;
ALTER FOREIGN TABLE itsm.server OPTIONS (SET object_type_id '4711');
SELECT name FROM itsm.server;
ALTER FOREIGN TABLE itsm.server OPTIONS (SET object_type_id '11');
-- AQL that the service refuses.
SELECT * FROM assets_fdw.aql('acme', 'Nonsense = = 1');
SELECT assets_fdw.count('acme', 'Colour = red');
ALTER FOREIGN TABLE itsm.server OPTIONS (ADD aql 'Colour = red');
SELECT name FROM itsm.server WHERE name = 'x';
ALTER FOREIGN TABLE itsm.server OPTIONS (DROP aql);
-- A value that does not fit.
CREATE FOREIGN TABLE odd (key text, name integer) SERVER acme OPTIONS (object_schema 'ITSM', object_type 'Server');
SELECT name FROM odd WHERE key = (SELECT min(key) FROM itsm.server WHERE name LIKE 'srv%');
-- Somebody else.
CREATE FOREIGN DATA WRAPPER other;
CREATE SERVER theirs FOREIGN DATA WRAPPER other;
SELECT assets_fdw.count('theirs', '');
SELECT assets_fdw.count('nowhere', '');
-- The SQLSTATEs.
\set VERBOSITY sqlstate
SELECT * FROM gone;
SELECT * FROM no_such;
SELECT * FROM assets_fdw.aql('acme', 'Nonsense = = 1');
SELECT name FROM odd WHERE key = (SELECT min(key) FROM itsm.server WHERE name LIKE 'srv%');
ALTER SERVER acme OPTIONS (ADD page_size '0');
ALTER USER MAPPING FOR CURRENT_USER SERVER acme OPTIONS (SET api_token 'wrong');
SELECT assets_fdw.count('acme', '');
DROP USER MAPPING FOR CURRENT_USER SERVER acme;
SELECT assets_fdw.count('acme', '');
