"""What revoked devices have handed in, and the lines in quarantine, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres.connection import Connection, town_transaction
from server.application.sealed_ports import QuarantinedLine, SealedUpload
from sync.kernel.errors import LimitExceeded
from sync.protocol.limits import SEALED_KEPT_BYTES_MAX, SEALED_UPLOADS_MAX

_KEEP = """
INSERT INTO sealed_uploads (town_id, device_id, to_seq, head_hash, from_seq, box, signature, received_at)
SELECT %(town)s, %(device)s, %(to_seq)s, %(head)s, %(from_seq)s, %(box)s, %(signature)s, %(at)s
WHERE (SELECT count(*) < %(uploads_max)s AND coalesce(sum(octet_length(box)), 0) + %(size)s <= %(bytes_max)s
       FROM sealed_uploads WHERE town_id = %(town)s AND device_id = %(device)s)
ON CONFLICT DO NOTHING
"""
_PLACE = "town_id = %(town)s AND device_id = %(device)s AND from_seq = %(from_seq)s AND to_seq = %(to_seq)s"
_KEPT = f"SELECT FROM sealed_uploads WHERE {_PLACE} AND head_hash = %(head)s"
_REVIEWED = f"""
UPDATE sealed_uploads SET reviewed = %(lines)s, problem = %(problem)s WHERE {_PLACE} AND head_hash = %(head)s
"""
_OF_DEVICE = """
SELECT from_seq, to_seq, head_hash, signature, received_at, reviewed, problem FROM sealed_uploads
WHERE town_id = %s AND device_id = %s ORDER BY from_seq, to_seq
"""

# A line's conflict has an id that follows from its place; until somebody has decided it is open.
_QUARANTINED = """
SELECT c.device_id, c.seq, c.version, c.hash, c.line, c.verdict, k.id, k.state, k.raised_at
FROM change_sets AS c
JOIN conflicts AS k ON k.town_id = c.town_id AND k.kind = 'quarantined' AND k.device_id = c.device_id AND k.seq = c.seq
WHERE c.town_id = %(town)s AND c.status = 'quarantined'
"""
_LIST = (
    _QUARANTINED
    + """
AND c.version > %(after)s AND (k.state = 'open' OR NOT %(is_open)s)
ORDER BY c.version FETCH FIRST %(lines_max)s ROWS WITH TIES
"""
)
_ONE = _QUARANTINED + "AND c.device_id = %(device)s AND c.seq = %(seq)s"


class PostgresSealedUploads:
    """The `SealedUploads` port."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def keep(self, upload: SealedUpload) -> None:
        """One statement that counts and inserts; what is there already is no fault, however many there are."""
        place = _place(upload)
        async with town_transaction(self._pool, upload.town_id) as connection:
            cursor = await connection.execute(
                _KEEP,
                {
                    **place,
                    "box": upload.box,
                    "signature": upload.signature,
                    "at": upload.received_at,
                    "uploads_max": SEALED_UPLOADS_MAX,
                    "size": len(upload.box),
                    "bytes_max": SEALED_KEPT_BYTES_MAX,
                },
            )
            if cursor.rowcount == 0:
                cursor = await connection.execute(_KEPT.encode(), place)
                if await cursor.fetchone() is None:
                    limits = f"{SEALED_UPLOADS_MAX} sealed uploads, and {SEALED_KEPT_BYTES_MAX} bytes of them"
                    raise LimitExceeded(f"of one device {limits} are kept")

    async def reviewed(self, upload: SealedUpload, lines: int, problem: str | None) -> None:
        """The last word stands."""
        async with town_transaction(self._pool, upload.town_id) as connection:
            said = {**_place(upload), "lines": lines, "problem": problem}
            await connection.execute(_REVIEWED.encode(), said)

    async def of_device(self, town_id: str, device_id: str) -> Sequence[SealedUpload]:
        """By position."""
        async with town_transaction(self._pool, town_id) as connection:
            cursor = await connection.execute(_OF_DEVICE, [town_id, device_id])
            return [
                SealedUpload(
                    town_id=town_id,
                    device_id=device_id,
                    from_seq=from_seq,
                    to_seq=to_seq,
                    head=head,
                    box=b"",
                    signature=signature,
                    received_at=received_at,
                    reviewed=reviewed,
                    problem=problem,
                )
                async for from_seq, to_seq, head, signature, received_at, reviewed, problem in cursor
            ]


class PostgresQuarantine:
    """The `Quarantine` port."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def lines(
        self, town_id: str, *, is_open: bool, after_version: int, lines_max: int
    ) -> Sequence[QuarantinedLine]:
        """One statement."""
        asked = {"town": town_id, "after": after_version, "is_open": is_open, "lines_max": lines_max}
        async with town_transaction(self._pool, town_id) as connection:
            cursor = await connection.execute(_LIST, asked)
            lines = [_line(row) async for row in cursor]
        return sorted(lines, key=lambda line: (line.version, line.device_id, line.seq))

    async def line(self, town_id: str, device_id: str, seq: int) -> QuarantinedLine | None:
        """One statement."""
        async with town_transaction(self._pool, town_id) as connection:
            cursor = await connection.execute(_ONE, {"town": town_id, "device": device_id, "seq": seq})
            row = await cursor.fetchone()
        return _line(row) if row else None


def _place(upload: SealedUpload) -> dict[str, Any]:
    return {
        "town": upload.town_id,
        "device": upload.device_id,
        "from_seq": upload.from_seq,
        "to_seq": upload.to_seq,
        "head": upload.head,
    }


def _line(row: tuple[Any, ...]) -> QuarantinedLine:
    device_id, seq, version, digest, line, verdict, conflict_id, state, raised_at = row
    said = orjson.loads(verdict)
    notes = said.get("notes") or [{"text": ""}]
    return QuarantinedLine(
        device_id=device_id,
        seq=seq,
        version=version,
        digest=digest,
        line=line,
        rule=said.get("rule") or "",
        reason=notes[0]["text"],
        conflict_id=conflict_id,
        state=state,
        raised_at=raised_at,
    )
