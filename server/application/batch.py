"""What waits for a town's applier, and the book it keeps of one batch's evidence."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from server.application.ports import StoredLine
from sync.engine.chain import ChainHead, Link
from sync.engine.feed import Stored
from sync.engine.town import Step, Submitted, TownHead
from sync.kernel.changeset import ChangeSet, Operation, RowKey
from sync.kernel.errors import TallystickError
from sync.modules.identity import RevokeDevice, SuspendDevice

BATCH_CHANGE_SETS_MAX = 250
"""Change sets in one transaction; one more upload may overshoot it by its own size."""

BATCH_OPERATIONS_MAX = 2_000
"""Operations in one transaction, counted in the same way."""

CHUNK_LINES_MAX = 250
"""Lines of one upload that are decided together; a longer upload takes several transactions."""

FAILURES_MAX = 3
"""Attempts at a line before it is quarantined."""

CACHE_ROWS_MAX = 50_000
"""Rows of a town kept between batches."""

WAITING_MAX = 500
"""Uploads that may wait for one town."""


class DeviceBarred(TallystickError):
    """This device may not exchange any more; what it holds is kept, ask the office."""

    code: ClassVar[str] = "device_suspended"


class DeviceRevoked(DeviceBarred):
    """This device is out of use; what it holds is kept, ask the office."""

    code: ClassVar[str] = "device_revoked"


class TownBusy(TallystickError):
    """Too many are waiting for this town; come back in a moment."""

    code: ClassVar[str] = "busy"


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """Lines of one device from position `from_seq` on, and its signature over the last of them."""

    town_id: str
    device_id: str
    from_seq: int
    lines: Sequence[bytes]
    signature: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Authored:
    """Operations of the town itself, to be written and signed as a line of its server device."""

    actor_id: str
    operations: Sequence[Operation]


@dataclass(kw_only=True, slots=True)
class Waiting:
    """Something to decide and the future of whoever waits for it."""

    work: Upload | Authored
    links: Sequence[Link] = ()
    submitted: Sequence[Submitted] = ()
    answer: asyncio.Future[Sequence[bytes]]

    def size(self) -> int:
        """Change sets."""
        return len(self.submitted) or 1

    def operations(self) -> int:
        """Operations."""
        if isinstance(self.work, Authored):
            return len(self.work.operations)
        return sum(len(s.change_set.ops) for s in self.submitted if isinstance(s.change_set, ChangeSet))


@dataclass(kw_only=True, slots=True)
class Lane:
    """One town's queue and its rows as of `head`."""

    town_id: str
    queue: deque[Waiting] = field(default_factory=deque)
    is_running: bool = False
    head: TownHead | None = None
    rows: dict[RowKey, Stored | None] = field(default_factory=dict)


@dataclass(kw_only=True, slots=True)
class Book:
    """The evidence of one batch: where chains stand, what is known, and the new lines in the order of decision."""

    server: str
    heads: dict[str, ChainHead]
    stored: dict[tuple[str, int], StoredLine]
    failures: Mapping[tuple[str, int], int]
    device_keys: frozenset[RowKey]
    fresh: dict[tuple[str, int], Submitted] = field(default_factory=dict)
    signatures: dict[tuple[str, int], str] = field(default_factory=dict)

    def add(self, submitted: Submitted, signature: str | None) -> None:
        """Put a new line into the batch and move its device's head."""
        position = (submitted.device, submitted.seq)
        self.fresh[position] = submitted
        self.heads[submitted.device] = ChainHead(seq=submitted.seq, digest=submitted.digest)
        if signature:
            self.signatures[position] = signature

    def digest_of(self, device: str, seq: int) -> bytes:
        """The hash at a position that is stored or part of the batch."""
        position = (device, seq)
        return self.fresh[position].digest if position in self.fresh else self.stored[position].digest


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """What a batch came to: the step, if anything was new, and each waiter's answer or fault."""

    step: Step | None
    outcomes: Sequence[tuple[Waiting, Sequence[bytes] | Exception]]


def take_batch(queue: deque[Waiting]) -> list[Waiting]:
    """Take what is waiting, in order, up to the batch limits or to where a device is put out of use."""
    batch: list[Waiting] = []
    change_sets = operations = 0
    while queue and change_sets < BATCH_CHANGE_SETS_MAX and operations < BATCH_OPERATIONS_MAX:
        waiting = queue.popleft()
        if waiting.answer.done():  # whoever waited has gone; nothing of it was decided
            continue
        batch.append(waiting)
        change_sets += waiting.size()
        operations += waiting.operations()
        if _bars_a_device(waiting.work):  # which devices may send is read when a batch begins
            break
    return batch


def fail(waiting: Waiting, fault: Exception) -> None:
    """Tell a waiter what went wrong, unless it has gone or been answered."""
    if not waiting.answer.done():
        waiting.answer.set_exception(fault)


def _bars_a_device(work: Upload | Authored) -> bool:
    return isinstance(work, Authored) and any(
        isinstance(operation, SuspendDevice | RevokeDevice) for operation in work.operations
    )


def failing(submitted: Submitted) -> Submitted:
    """The line as one that shall be quarantined without another try."""
    return Submitted(
        device=submitted.device,
        seq=submitted.seq,
        line=submitted.line,
        digest=submitted.digest,
        change_set=submitted.change_set,
        failure=f"deciding it failed {FAILURES_MAX} times; it is kept and can be run again after a repair",
    )


def founding_certificate(operations: Sequence[Operation]) -> str:
    """The town's first line brings the certificate from which its server device's chain begins."""
    return str(next(getattr(operation, "certificate", "") for operation in reversed(operations)))
