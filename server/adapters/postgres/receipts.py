"""What the books say about a receipt, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres.connection import Connection, town_transaction
from server.application.receipt_ports import BookedPayment, Found, Given, Line
from sync.engine.leases import taken_by
from sync.kernel.errors import TallystickError

_TOWN = "SELECT name, time_zone FROM towns WHERE town_id = %(town)s AND id = %(town)s"
_STATUS = "SELECT status FROM devices WHERE town_id = %(town)s AND id = %(device)s"
_LINE = """
SELECT hash, line, status, verdict FROM change_sets
WHERE town_id = %(town)s AND device_id = %(device)s AND seq = %(seq)s
"""
_GIVEN = """
SELECT r.seq, c.hash, c.line, c.status, c.verdict, r.payment_ids
FROM receipts AS r
JOIN change_sets AS c ON c.town_id = r.town_id AND c.device_id = r.device_id AND c.seq = r.line_seq
WHERE r.town_id = %(town)s AND r.device_id = %(device)s AND r.number = %(number)s
ORDER BY r.version, r.id
"""
_PAYMENTS = """
SELECT s.amount_minor, s.currency, s.status,
    (s.refunded_minor - coalesce(sum(f.amount_minor - f.paid_minor)
        FILTER (WHERE f.state IN ('REQUESTED', 'APPROVED')), 0))::bigint
FROM settlements AS s LEFT JOIN refunds AS f ON f.town_id = s.town_id AND f.payment_id = s.id
WHERE s.town_id = %(town)s AND s.id = ANY(%(ids)s::uuid[])
GROUP BY s.id, s.amount_minor, s.currency, s.status, s.refunded_minor ORDER BY s.id
"""


class PostgresReceipts:
    """The `ReceiptBook` port."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def find(self, town_id: str, device_id: str, *, number: int, seq: int) -> Found:
        """A few statements in one snapshot, each by an index."""
        asked = {"town": town_id, "device": device_id, "number": number, "seq": seq}
        async with town_transaction(self._pool, town_id, snapshot=True) as connection:
            town = await (await connection.execute(_TOWN, asked)).fetchone()
            device = await (await connection.execute(_STATUS, asked)).fetchone()
            line = await (await connection.execute(_LINE, asked)).fetchone()
            rows = await (await connection.execute(_GIVEN, asked)).fetchall()
            given = [
                Given(seq=at, line=_line(*told), payments=await _payments(connection, town_id, ids))
                for at, *told, ids in rows
            ]
        return Found(
            town_name=town[0] if town else "",
            time_zone=town[1] if town else "UTC",
            device_status=device[0] if device else "",
            given=given,
            line=_line(*line) if line else None,
        )


async def _payments(connection: Connection, town_id: str, ids: list[str]) -> list[BookedPayment]:
    cursor = await connection.execute(_PAYMENTS, {"town": town_id, "ids": ids})
    return [
        BookedPayment(amount_minor=amount, currency=currency, status=status, refunded_minor=refunded)
        async for amount, currency, status, refunded in cursor
    ]


def _line(digest: bytes, line: bytes, status: str, verdict: bytes) -> Line:
    said = _object(line)
    replaced: dict[str, Any] = said.get("replaces") or {}
    notes = _object(verdict).get("notes") or []
    reason = str(notes[0]["text"]) if notes else ""
    return Line(
        digest=bytes(digest), replaces=replaced.get("hash"), status=status, reason=reason, sums=_taken(said.get("ops"))
    )


def _taken(operations: object) -> Mapping[str, int] | None:
    """What the operations of a line took in, by currency."""
    try:
        return taken_by(operations if isinstance(operations, list) else ())
    except (TallystickError, KeyError, TypeError, AttributeError):
        return None


def _object(raw: bytes) -> dict[str, Any]:
    """A line in quarantine may be anything."""
    try:
        said = orjson.loads(raw)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
