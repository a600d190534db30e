"""Unsent work on another way than the exchange: exact signed lines, packed and sealed to the server's key.

Whoever carries the file can neither read nor change it. The server takes it through its one write path, where the
chain itself sees to it that each line counts once, whether the device comes back or not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from client_sdk.application.ports import OutboxLine, Store, System
from client_sdk.errors import DiskFailed, NoSealingKey
from sync.engine import sealing
from sync.protocol import limits
from sync.protocol.bundle import PURPOSE, Bundle, pack

LINES_AT_ONCE = 1_000
"""Lines read from the outbox at a time."""


def export_unsent(store: Store, system: System, path: Path) -> int:
    """Write what the server has not answered into a file that only the server can read; how many change sets it holds.

    Where nothing is unsent no file is written. Raises `NoSealingKey`, `DiskFailed`, and what the store raises.
    """
    identity = store.identity()
    first = store.exchange_state().acked + 1
    lines = [line for part in parts_from(store, first, limits.RESCUE_BYTES_MAX) for line in part]
    if lines:
        write_sealed(path, seal_lines(identity.town_id, identity.device_id, identity.sealing_key, lines, system))
    return len(lines)


def parts_from(store: Store, seq: int, bytes_max: int) -> Iterator[Sequence[OutboxLine]]:
    """Recorded lines from a place on, in order, in parts of at most `bytes_max` bytes in which none is missing."""
    while part := store.outbox_from(seq, lines_max=LINES_AT_ONCE, bytes_max=bytes_max):
        yield part
        seq = part[-1].seq + 1


def seal_lines(town: str, device: str, sealing_key: str | None, lines: Sequence[OutboxLine], system: System) -> bytes:
    """Lines that follow on each other, for the server only. Raises `NoSealingKey`."""
    if sealing_key is None:
        raise NoSealingKey
    bundle = Bundle(
        town=town,
        device=device,
        from_seq=lines[0].seq,
        lines=[line.line for line in lines],
        signatures=[line.signature for line in lines],
    )
    ephemeral = system.random(sealing.KEY_BYTES)
    return sealing.seal(pack(bundle), sealing_key, purpose=PURPOSE, ephemeral=ephemeral)


def write_sealed(path: Path, content: bytes) -> None:
    """Put the file there whole, readable by its owner, and on the disk when this returns. Raises `DiskFailed`."""
    draft = path.with_name(path.name + ".new")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as fault:
        raise DiskFailed(f"the file {path} cannot be written: {fault.strerror}") from fault
