"""Reading the replica: what apps query, single rows, and everything for `verify`. Nothing here can write."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import apsw
import orjson

from client_sdk.adapters.sqlite import meta, outbox
from client_sdk.application.ports import Row
from client_sdk.application.verify_ports import BaseMark, Contents
from client_sdk.errors import NotAQuery
from sync.engine.feed import BucketSum
from sync.kernel.changeset import Fields, RowKey

# The authorizer must let transactions pass for our own snapshots; an app may only select.
_SELECT = re.compile(r"(?:\s|\(|--[^\n]*\n|/\*.*?\*/)*(?:SELECT|WITH|VALUES)\b", re.IGNORECASE | re.DOTALL)
_READING = frozenset(
    (apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_FUNCTION, apsw.SQLITE_RECURSIVE, apsw.SQLITE_TRANSACTION)
)
_VERSION = "SELECT version FROM base_row WHERE entity = ? AND id = ?"
_BASE_ROWS = "SELECT id, body FROM base_row WHERE entity = ? ORDER BY id"
_MARKS = """SELECT bucket.name, base_row.entity, base_row.id, base_row.version
    FROM base_row LEFT JOIN bucket ON bucket.id = base_row.bucket"""


def allow_reading_only(connection: apsw.Connection) -> None:
    """Whatever is asked of this connection from now on, it cannot change, attach or configure anything."""
    connection.execute("PRAGMA query_only = ON")
    connection.authorizer = _authorize


def query(connection: apsw.Connection, sql: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
    """The rows of one reading statement, each by column name. Raises `NotAQuery`."""
    cursor = connection.cursor()
    statements = 0

    def count(_cursor: apsw.Cursor, text: str, _bound: object) -> bool:
        nonlocal statements
        statements += 1
        return statements == 1 and _SELECT.match(text) is not None

    cursor.exec_trace = count
    try:
        return [
            {name: value for (name, *_), value in zip(cursor.get_description(), row, strict=True)}
            for row in cursor.execute(sql, parameters)
        ]
    except (apsw.AuthError, apsw.ExecTraceAbort):
        raise NotAQuery from None
    except (apsw.SQLError, apsw.BindingsError) as problem:
        raise NotAQuery(f"this cannot be queried: {problem}") from None


def row(connection: apsw.Connection, entity: str, row_id: str) -> Row | None:
    """One row as the user sees it."""
    fields = outbox.overlay_fields(connection, entity, row_id)
    if fields is None:
        fields = outbox.base_fields(connection, entity, row_id)
    if fields is None:
        return None
    return Row(version=connection.execute(_VERSION, (entity, row_id)).get, fields=fields)


def base_rows(connection: apsw.Connection, entity: str) -> list[tuple[str, Fields]]:
    """All base rows of an entity, by id."""
    return [(row_id, orjson.loads(body)) for row_id, body in connection.execute(_BASE_ROWS, (entity,))]


def contents(connection: apsw.Connection) -> Contents:
    """Everything that `verify` compares; call it inside one transaction."""
    entries = list(outbox.entries(connection, None))
    overlay = {
        (entity, row_id): orjson.loads(body)
        for entity, row_id, body in connection.execute("SELECT entity, id, body FROM overlay_row")
    }
    base: dict[RowKey, Fields] = {}
    for key in {key for entry in entries for key in entry.reads | entry.writes} | overlay.keys():
        fields = outbox.base_fields(connection, *key)
        if fields is not None:
            base[key] = fields
    return Contents(
        head=meta.read_head(connection),
        before=meta.read_before(connection),
        joints=meta.read_joints(connection),
        entries=entries,
        marks=[
            BaseMark(bucket=bucket or "", entity=entity, row_id=row_id, version=version)
            for bucket, entity, row_id, version in connection.execute(_MARKS)
        ],
        sums={
            name: BucketSum(rows=rows, total=int(total, 16))
            for name, rows, total in connection.execute("SELECT name, rows, total FROM bucket")
        },
        overlay=overlay,
        base=base,
    )


def _authorize(action: int, *_: object) -> int:
    return apsw.SQLITE_OK if action in _READING else apsw.SQLITE_DENY
