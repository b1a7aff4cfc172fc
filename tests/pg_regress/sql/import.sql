-- What IMPORT FOREIGN SCHEMA makes of object types (interface.md section 2).
\set ECHO none
SET client_min_messages = warning;
CREATE EXTENSION assets_fdw;
CREATE SERVER acme FOREIGN DATA WRAPPER assets_fdw OPTIONS (site :'sim_url');
CREATE USER MAPPING FOR CURRENT_USER SERVER acme OPTIONS (email :'sim_email', api_token :'sim_token');
CREATE SCHEMA itsm;
CREATE SCHEMA all_of_it;
\set ECHO all
\pset format unaligned
\pset tuples_only on
IMPORT FOREIGN SCHEMA "ITSM" FROM SERVER acme INTO itsm;
SELECT foreign_table_name FROM information_schema.foreign_tables WHERE foreign_table_schema = 'itsm' ORDER BY 1;
-- A type with inherited attributes, references, people and lists.
SELECT ftoptions FROM pg_foreign_table WHERE ftrelid = 'itsm.server'::regclass;
SELECT attname, format_type(atttypid, atttypmod), attfdwoptions FROM pg_attribute
 WHERE attrelid = 'itsm.server'::regclass AND attnum > 0 ORDER BY attnum;
-- An abstract type.
SELECT ftoptions FROM pg_foreign_table WHERE ftrelid = 'itsm.hardware'::regclass;
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
 WHERE attrelid = 'itsm.hardware'::regclass AND attnum > 0 ORDER BY attnum;
-- Every kind of attribute, and every awkward name.
SELECT attname, format_type(atttypid, atttypmod), attfdwoptions FROM pg_attribute
 WHERE attrelid = 'itsm.specimen'::regclass AND attnum > 0 ORDER BY attnum;
-- Descriptions are comments.
SELECT obj_description('itsm.specimen'::regclass);
SELECT col_description('itsm.server'::regclass, attnum) FROM pg_attribute
 WHERE attrelid = 'itsm.server'::regclass AND col_description(attrelid, attnum) IS NOT NULL ORDER BY attnum;
-- With everything.
IMPORT FOREIGN SCHEMA "ITSM" LIMIT TO (server) FROM SERVER acme INTO all_of_it
    OPTIONS (children 'include', references 'key', raw 'true', include_hidden 'true');
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
 WHERE attrelid = 'all_of_it.server'::regclass AND attnum > 0 ORDER BY attnum;
