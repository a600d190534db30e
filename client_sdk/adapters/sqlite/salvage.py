"""What can still be read of a replica that nothing else opens: its unsent lines, as far as the file gives them.

Works on a copy, so that what is damaged is not damaged further, and on any medium that can be read. Asks nothing of the
file but its key and the table of lines: the town and the device are in the lines themselves.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw
import orjson

from client_sdk.adapters.sqlite import meta
from client_sdk.adapters.sqlite.connection import connect, translated
from client_sdk.application.ports import OutboxLine
from client_sdk.errors import NotAReplica, ReplicaCorrupt

_ENDS = "SELECT min(seq), max(seq) FROM outbox"
_LINE = "SELECT line, digest, signature, status FROM outbox WHERE seq = ?"


@dataclass(frozen=True, kw_only=True, slots=True)
class Salvaged:
    """Unsent lines that follow on each other; `lost` are those behind them that cannot be read any more."""

    town: str
    device: str
    sealing_key: str | None
    lines: tuple[OutboxLine, ...]
    lost: int


def salvage(path: Path, key: bytes) -> Salvaged:
    """Read what is left of the replica at `path`. Raises `NotAReplica`, `ReplicaCorrupt` when that is nothing."""
    if not path.is_file():
        raise NotAReplica(f"there is no replica at {path.name}; check the path")
    with _copy(path) as copy:
        connection = connect(copy, key, may_create=False)
        try:
            return _read(connection)
        finally:
            connection.close()


def _read(connection: apsw.Connection) -> Salvaged:
    with translated():
        ends: list[tuple[int | None, int | None]] = list(connection.execute(_ENDS))
    first, last = ends[0]
    lines: list[OutboxLine] = []
    lost = 0
    for seq in range(first or 1, (last or 0) + 1):
        try:
            found: list[tuple[bytes, bytes, str, str]] = list(connection.execute(_LINE, (seq,)))
        except apsw.Error:
            found = []
        if not found or lost:
            lost += bool(lines)  # what was answered before them is with the server
            continue
        line, digest, signature, status = found[0]
        if status == "pending":
            lines.append(OutboxLine(seq=seq, line=line, digest=digest, signature=signature))
    if not lines:
        raise ReplicaCorrupt("no unsent change set can be read from this replica")
    said = orjson.loads(lines[0].line)
    return Salvaged(
        town=said["town"], device=said["device"], sealing_key=_sealing_key(connection), lines=tuple(lines), lost=lost
    )


def _sealing_key(connection: apsw.Connection) -> str | None:
    try:
        identity = meta.get(connection, "identity") or {}
    except (apsw.Error, ValueError):
        return None
    key: str | None = identity.get("sealing_key")
    return key


@contextmanager
def _copy(path: Path) -> Iterator[Path]:
    """The file with what its log holds beside it, in a folder that goes away."""
    with tempfile.TemporaryDirectory(prefix="tallystick-") as folder:
        copy = Path(folder) / path.name
        for end in ("", "-wal"):
            part = path.with_name(path.name + end)
            if part.is_file():
                shutil.copyfile(part, copy.with_name(copy.name + end))
        yield copy
