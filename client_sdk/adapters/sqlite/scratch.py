"""The views of a replica over rows that are given, in a database in memory that lasts for one query."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apsw
import orjson

from client_sdk.adapters.sqlite import reading
from client_sdk.adapters.sqlite.schema import prepare
from sync.kernel.changeset import Fields
from sync.kernel.module import Registry


def query(
    registry: Registry,
    base: Iterable[tuple[str, str, int, Fields]],
    overlay: Iterable[tuple[str, str, Fields]],
    sql: str,
    parameters: Sequence[Any],
) -> list[dict[str, Any]]:
    """The rows of one reading statement over base rows (entity, id, version, fields) and overlay rows."""
    connection = apsw.Connection(":memory:")
    try:
        prepare(connection, registry, may_create=True)
        connection.executemany(
            "INSERT INTO base_row (entity, id, bucket, version, body) VALUES (?, ?, 0, ?, ?)",
            [(*row[:3], orjson.dumps(row[3]).decode()) for row in base],
        )
        connection.executemany(
            "INSERT INTO overlay_row (entity, id, body) VALUES (?, ?, ?)",
            [(*row[:2], orjson.dumps(row[2]).decode()) for row in overlay],
        )
        reading.allow_reading_only(connection)
        return reading.query(connection, sql, parameters)
    finally:
        connection.close()
