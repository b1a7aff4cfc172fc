\echo Use "ALTER EXTENSION assets_fdw UPDATE TO '0.2.0'" to load this file. \quit

-- What is different from 0.1.0, in the order of sql/NN-*.sql. tests/tests/client/updated.rs holds a database that was
-- updated against a new one: the same functions, tables, triggers, rights and comments.

SET LOCAL search_path TO pg_catalog, pg_temp;
