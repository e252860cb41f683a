-- What the role of a read-only connection could change, or reach outside its database. No row means: nothing.
-- Roles it is a member of count as its own, since SET ROLE needs no right.
WITH reach AS (
    SELECT oid, rolname, rolsuper, rolname = session_user AS own,
           rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls AS administers,
           CASE WHEN rolname = session_user THEN 'it' ELSE format('as %I it', rolname) END AS who
      FROM pg_roles
     WHERE pg_has_role(session_user, oid, 'MEMBER')
)
(SELECT 1 AS place, 'it is a superuser' AS finding FROM reach WHERE own AND rolsuper)
UNION ALL
(SELECT 2, format('it is a member of the superuser %I', rolname)
   FROM reach WHERE NOT own AND rolsuper LIMIT 1)
UNION ALL
(SELECT 3, who || ' may make roles or databases, replicate or bypass row security'
   FROM reach WHERE administers LIMIT 1)
UNION ALL
-- A list of the harmless ones, since each version of PostgreSQL may bring new ones.
(SELECT 4, format('it is a member of %I', rolname)
   FROM reach
  WHERE NOT own AND rolname LIKE 'pg\_%'
    AND rolname NOT IN ('pg_read_all_data', 'pg_read_all_settings', 'pg_stat_scan_tables',
                        'pg_use_reserved_connections')
  LIMIT 1)
UNION ALL
-- Everybody may update pg_settings, which is another way to write SET.
(SELECT 5, format('%s may change the rows of %s', who, c.oid::regclass)
   FROM reach CROSS JOIN pg_class c
  WHERE c.relkind IN ('r', 'p', 'v', 'f')
    AND c.oid <> 'pg_catalog.pg_settings'::regclass
    AND (has_table_privilege(reach.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')
         OR has_any_column_privilege(reach.oid, c.oid, 'INSERT, UPDATE'))
  LIMIT 1)
UNION ALL
(SELECT 6, format('%s may advance the sequence %s', who, c.oid::regclass)
   FROM reach CROSS JOIN pg_class c
  WHERE c.relkind = 'S' AND has_sequence_privilege(reach.oid, c.oid, 'USAGE, UPDATE')
  LIMIT 1)
UNION ALL
(SELECT 7, format('%s may create tables in the schema %I', who, n.nspname)
   FROM reach CROSS JOIN pg_namespace n
  WHERE has_schema_privilege(reach.oid, n.oid, 'CREATE')
  LIMIT 1)
UNION ALL
(SELECT 8, format('%s may create schemas in the database %I', who, current_database())
   FROM reach WHERE has_database_privilege(reach.oid, current_database(), 'CREATE')
  LIMIT 1)
UNION ALL
(SELECT 9, format('%s may open other connections by %s', who, p.oid::regproc)
   FROM reach CROSS JOIN pg_proc p
   JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
   JOIN pg_extension e ON e.oid = d.refobjid
  WHERE e.extname = 'dblink' AND has_function_privilege(reach.oid, p.oid, 'EXECUTE')
  LIMIT 1)
ORDER BY place
LIMIT 3
