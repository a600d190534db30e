-- What breaks the pattern that keeps towns apart: one row (fault, place) for each, none when all is well.
-- Run by any role; `global_tables` are the tables without a town, from `tables.evidence.GLOBAL_TABLES`.
WITH tables AS (
    SELECT c.oid, c.relname, c.relrowsecurity AND c.relforcerowsecurity AS is_forced, c.relowner,
           c.relname = ANY (%(global_tables)s) AS is_global
    FROM pg_class c WHERE c.relnamespace = 'tallystick'::regnamespace AND c.relkind IN ('r', 'p')
)
SELECT 'not forced', relname::text FROM tables WHERE NOT is_forced
UNION ALL
-- a table of towns has exactly the two policies of the pattern, both over the towns of the transaction
SELECT 'policies', t.relname::text FROM tables t WHERE NOT t.is_global AND (
    SELECT coalesce(array_agg(p.polname::text || ' ' || p.polpermissive::text || ' ' || p.polcmd::text || ' '
        || replace(pg_get_expr(p.polqual, p.polrelid) || ' ' || pg_get_expr(p.polwithcheck, p.polrelid), 'tallystick.', '')
        ORDER BY p.polname), '{}')
    FROM pg_policy p WHERE p.polrelid = t.oid
) <> ARRAY[
    'fence_town false * (town_id = ANY (current_towns())) (town_id = ANY (current_towns()))',
    'grant_town true * (town_id = ANY (current_towns())) (town_id = ANY (current_towns()))'
]
UNION ALL
SELECT 'bypass', rolname::text FROM pg_roles
WHERE rolname IN ('tallystick_api', 'tallystick_owner') AND (rolbypassrls OR rolsuper OR rolcreaterole OR rolinherit)
UNION ALL
SELECT 'may become', r.rolname::text FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
WHERE m.member = 'tallystick_api'::regrole
UNION ALL
SELECT 'owner may log in', rolname::text FROM pg_roles WHERE rolname = 'tallystick_owner' AND rolcanlogin
UNION ALL
SELECT 'owned by the api', c.relname::text FROM pg_class c
WHERE c.relowner = 'tallystick_api'::regrole AND c.relkind NOT IN ('i', 'I', 't')
UNION ALL
SELECT 'owned by another', c.relname::text FROM pg_class c
WHERE c.relnamespace = 'tallystick'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
  AND c.relowner NOT IN ('tallystick_owner'::regrole, 'tallystick_api'::regrole)
UNION ALL
SELECT 'view runs as owner', c.relname::text FROM pg_class c
WHERE c.relnamespace = 'tallystick'::regnamespace
  AND (c.relkind = 'm' OR c.relkind = 'v' AND NOT coalesce('security_invoker=true' = ANY (c.reloptions), false))
UNION ALL
SELECT 'security definer', p.proname::text FROM pg_proc p
WHERE p.pronamespace = 'tallystick'::regnamespace AND p.prosecdef
UNION ALL
-- a copy or a restored dump of a database has the grants of a new one
SELECT 'may make temporary tables', 'tallystick_api'
WHERE has_database_privilege('tallystick_api', current_database(), 'TEMPORARY')
UNION ALL
SELECT 'key of a code may change', 'enrolments' WHERE NOT EXISTS (
    SELECT FROM pg_trigger g JOIN tables t ON t.oid = g.tgrelid
    WHERE t.relname = 'enrolments' AND g.tgname = 'one_key' AND g.tgenabled = 'O')
UNION ALL
SELECT 'foreign key without town_id', con.conname::text FROM pg_constraint con JOIN tables t ON t.oid = con.conrelid
WHERE con.contype = 'f' AND NOT EXISTS (
    SELECT FROM pg_attribute a WHERE a.attrelid = con.conrelid AND a.attname = 'town_id' AND a.attnum = ANY (con.conkey))
UNION ALL
SELECT 'unique without town_id', x.relname::text FROM pg_index i
JOIN tables t ON t.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
WHERE i.indisunique AND NOT t.is_global AND NOT EXISTS (
    SELECT FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attname = 'town_id' AND a.attnum = ANY (i.indkey::int2[]))
ORDER BY 1, 2
