"""The views of a replica over rows that are given, in a database in memory that lasts for one query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import apsw
import orjson

from client_sdk.adapters.sqlite import outbox, reading
from client_sdk.adapters.sqlite.schema import prepare
from sync.kernel.changeset import Fields, RowKey
from sync.kernel.module import Registry


def query(
    registry: Registry,
    base: Iterable[tuple[str, str, int, Fields]],
    overlay: Mapping[RowKey, Fields],
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
        outbox.put_overlay(connection, overlay)
        reading.allow_reading_only(connection)
        return reading.query(connection, sql, parameters)
    finally:
        connection.close()
