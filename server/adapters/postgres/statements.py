"""SQL for the hot path, built once from the entities' declarations. All names come from our own registry."""

from __future__ import annotations

from functools import cache

from sync.kernel.module import Entity, FieldKind
from sync.modules import registry

COLUMN_TYPES = {
    FieldKind.ID: "uuid",
    FieldKind.TEXT: "text",
    FieldKind.INTEGER: "bigint",
    FieldKind.BOOLEAN: "boolean",
    FieldKind.TIME: "timestamptz",
    FieldKind.JSON: "jsonb",
}

LOCK_TOWN = "SELECT epoch, version, journal_hash, is_halted FROM town_heads WHERE town_id = %s FOR UPDATE"
READ_TOWN = "SELECT epoch, version, journal_hash, is_halted FROM town_heads WHERE town_id = %s"
MOVE_TOWN = "UPDATE town_heads SET version = %s, journal_hash = %s WHERE town_id = %s"

INSERT_CHANGE_SETS = """
INSERT INTO change_sets (town_id, device_id, seq, version, hash, line, signature, status, verdict)
SELECT %(town)s, r.device_id, r.seq, %(version)s, decode(r.hash, 'base64'), decode(r.line, 'base64'), r.signature,
       r.status, decode(r.verdict, 'base64')
FROM jsonb_to_recordset(%(rows)s) AS r
     (device_id uuid, seq bigint, hash text, line text, signature text, status text, verdict text)
"""

UPSERT_DEVICE_HEADS = """
INSERT INTO device_heads (town_id, device_id, seq, hash)
SELECT %(town)s, r.device_id, r.seq, decode(r.hash, 'base64')
FROM jsonb_to_recordset(%(rows)s) AS r (device_id uuid, seq bigint, hash text)
ON CONFLICT (town_id, device_id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash
"""

INSERT_JOURNAL = "INSERT INTO journal (town_id, version, hash, body, signature) VALUES (%s, %s, %s, %s, %s)"

SELECT_VERSIONS = """
SELECT version, convert_from(body, 'UTF8')::jsonb ->> 'at', hash FROM journal
WHERE town_id = %s AND version = ANY(%s::text[]::bigint[])
"""
"""When these versions were, and their hashes: what devices name as evidence."""

UPSERT_FEED = """
INSERT INTO feed (town_id, bucket, entity, id, version, body)
SELECT %(town)s, r.bucket, r.entity, r.id, %(version)s, r.body
FROM jsonb_to_recordset(%(rows)s) AS r (bucket text, entity text, id uuid, body text)
ON CONFLICT (town_id, bucket, entity, id) DO UPDATE SET version = excluded.version, body = excluded.body
"""

ADD_TO_BUCKETS = """
INSERT INTO buckets (town_id, bucket, version, rows, total)
SELECT %(town)s, r.bucket, %(version)s, r.rows, r.total
FROM jsonb_to_recordset(%(rows)s) AS r (bucket text, rows bigint, total numeric)
ON CONFLICT (town_id, bucket) DO UPDATE
SET version = excluded.version, rows = buckets.rows + excluded.rows,
    total = (buckets.total + excluded.total) %% 18446744073709551616
"""

INSERT_OUTBOX = """
INSERT INTO outbox (town_id, id, kind, data, version, due_at, attempts, traceparent)
SELECT %(town)s, r.id, r.kind, r.data, %(version)s, r.due_at, 0, r.traceparent
FROM jsonb_to_recordset(%(rows)s) AS r (id uuid, kind text, data jsonb, due_at timestamptz, traceparent text)
"""

INSERT_ANSWERED = """
INSERT INTO idempotency (town_id, principal_id, key, request_hash, seq, made_at)
SELECT %(town)s, r.principal_id, r.key, decode(r.request_hash, 'base64'), r.seq, r.made_at
FROM jsonb_to_recordset(%(rows)s) AS r
     (principal_id uuid, key text, request_hash text, seq bigint, made_at timestamptz)
"""

FEED_PAGE = """
WITH found AS (
    SELECT entity, id, version, body, coalesce(octet_length(body), 0) AS size FROM feed
    WHERE town_id = %(town)s AND bucket = %(bucket)s AND version > %(after)s
    ORDER BY version FETCH FIRST %(rows_max)s ROWS WITH TIES
), weighed AS (
    SELECT *, sum(size) OVER (ORDER BY version) - sum(size) OVER (PARTITION BY version) AS before FROM found
), numbered AS (
    SELECT entity, id, version, body,
           (row_number() OVER so_far - 1) / %(line_rows)s AS line,
           div(sum(size) OVER so_far - size, %(line_bytes)s) AS part
    FROM weighed WHERE before < %(bytes_max)s
    WINDOW so_far AS (PARTITION BY entity ORDER BY version, id)
)
SELECT count(*), max(version), convert_to(
    '{"t":"rows","b":' || to_json(%(bucket)s::text) || ',"e":' || to_json(entity) || ',"put":['
    || coalesce(string_agg('["' || id || '",' || version || ',' || body || ']', ',' ORDER BY version, id), '')
    || '],"gone":['
    || coalesce(string_agg('["' || id || '",' || version || ']', ',' ORDER BY version, id)
                FILTER (WHERE body IS NULL), '')
    || ']}', 'UTF8')
FROM numbered GROUP BY entity, line, part ORDER BY entity, line, part
"""
"""Finished lines of one bucket beyond a version. A NULL body makes its `put` element NULL, which string_agg skips.

`before` is what the versions before a row's take in bytes: whole versions are kept, the first one whatever it takes.
Sizes are read without the bodies, so what a page leaves out costs little.
"""


@cache
def upsert(entity_name: str) -> str:
    """Write rows of an entity from one JSON array of objects with `id` and every field."""
    entity = _entity(entity_name)
    columns = list(entity.fields)
    typed = ", ".join(f'"{name}" {COLUMN_TYPES[kind]}' for name, kind in entity.fields.items())
    quoted = ", ".join(f'"{name}"' for name in columns)
    values = ", ".join(f'r."{name}"' for name in columns)
    insert = (
        f'INSERT INTO "{entity.plural}" (town_id, id, version, {quoted}) '
        f"SELECT %(town)s, r.id, %(version)s, {values} FROM jsonb_to_recordset(%(rows)s) AS r (id uuid, {typed})"
    )
    if entity.is_append_only:
        return insert
    changes = ", ".join(f'"{name}" = excluded."{name}"' for name in ["version", *columns])
    return f"{insert} ON CONFLICT (town_id, id) DO UPDATE SET {changes}"


@cache
def select(entity_name: str) -> str:
    """Read rows of an entity by id: id, version, then every field in the order of the declaration."""
    return f"{select_all(entity_name)} AND id = ANY(%s::uuid[])"


@cache
def select_all(entity_name: str) -> str:
    """Read every row of an entity in a town."""
    entity = _entity(entity_name)
    columns = ", ".join(f'"{name}"' for name in entity.fields)
    return f'SELECT id, version, {columns} FROM "{entity.plural}" WHERE town_id = %s'


def _entity(name: str) -> Entity:
    return registry().entities[name]
