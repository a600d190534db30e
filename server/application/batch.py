"""What waits for a town's applier, and the book it keeps of one batch's evidence."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import orjson
from opentelemetry.trace import SpanContext

from server import tracing
from server.application.ports import Founding, JournalEntry, OutcomeUnknown, StoredLine, Towns, TownUnknown, Unavailable
from server.domain.requests import AnsweredRequest, IdempotencyMismatch, KeyedRequest, RequestKey
from sync.engine.chain import ChainHead, Link, encode_bytes, genesis_hash, line_hash
from sync.engine.town import Step, Submitted, TownHead
from sync.kernel.changeset import ChangeSet, Fields, Operation, Replaced, RowKey, Status
from sync.kernel.clock import Hlc
from sync.kernel.errors import Malformed, TallystickError
from sync.kernel.module import Registry
from sync.modules.histories import ReleaseDevice
from sync.modules.identity import RevokeDevice, SuspendDevice
from sync.protocol.codec import encode_change_set, parse_line

BATCH_CHANGE_SETS_MAX = 250
"""Change sets in one transaction; one more upload may overshoot it by its own size."""

BATCH_OPERATIONS_MAX = 2_000
"""Operations in one transaction, counted in the same way."""

BATCH_BYTES_MAX = 256 * 1024
"""Bytes of lines in one transaction, counted in the same way: one operation may have a thousand order lines."""

CHUNK_LINES_MAX = 250
"""Lines of one upload that are decided together; a longer upload takes several transactions."""

CHUNK_OPERATIONS_MAX = 1_000
"""Operations of one upload that are decided together, those of one line aside."""

CHUNK_BYTES_MAX = 256 * 1024
"""Bytes of one upload that are decided together, those of one line aside."""

FAILURES_MAX = 3
"""Attempts at a line before it is quarantined."""

WAITING_MAX = 500
"""Uploads that may wait for one town."""


class DeviceBarred(TallystickError):
    """This device may not exchange any more; what it holds is kept, ask the office."""

    code: ClassVar[str] = "device_suspended"


class DeviceRevoked(DeviceBarred):
    """This device is out of use; what it holds is kept, ask the office."""

    code: ClassVar[str] = "device_revoked"

    def __init__(self, *, town_id: str = "", device_id: str = "", last: ChainHead | None = None) -> None:
        """With town and device the edge adds the order to hand in what is not here and to wipe itself.

        `last` is the last line of the device that is here.
        """
        super().__init__()
        self.town_id = town_id
        self.device_id = device_id
        self.last = last


class TownBusy(TallystickError):
    """Too many are waiting for this town; come back in a moment."""

    code: ClassVar[str] = "busy"


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """Lines of one device from position `from_seq` on, and its signature over the last of them.

    `is_rescued`: they did not come by an exchange; a revoked device's are for somebody to look at, without effect.
    `is_rejected`: the office has decided that they shall have no effect; they enter the chain as quarantined.
    """

    town_id: str
    device_id: str
    from_seq: int
    lines: Sequence[bytes]
    signature: str
    is_rejected: bool = False
    is_rescued: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Authored:
    """Operations of the town itself, to be written and signed as a line of its server device.

    A `request` that was answered before is answered so again. With `founding` it is the first line of a new town, and
    with `begins`, the id of a new epoch, the first line of that, for a `reason`: its operation is made under the lock.
    `replaces` names the line that it stands for.
    """

    actor_id: str
    operations: Sequence[Operation]
    request: KeyedRequest | None = None
    founding: Founding | None = None
    replaces: Replaced | None = None
    begins: str = ""
    reason: str = ""


@dataclass(kw_only=True, slots=True)
class Waiting:
    """Something to decide and the future of whoever waits for it."""

    work: Upload | Authored
    links: Sequence[Link] = ()
    submitted: Sequence[Submitted] = ()
    answer: asyncio.Future[Sequence[bytes]]
    trace: SpanContext | None = field(default_factory=tracing.here)

    def size(self) -> int:
        """Change sets."""
        return len(self.submitted) or 1

    def operations(self) -> int:
        """Operations."""
        if isinstance(self.work, Authored):
            return len(self.work.operations)
        return sum(operations_of(submitted) for submitted in self.submitted)

    def line_bytes(self) -> int:
        """Bytes of lines."""
        return sum(len(submitted.line) for submitted in self.submitted)


@dataclass(kw_only=True, slots=True)
class Book:
    """The evidence of one batch: where chains stand, what is known, and the new lines in the order of decision."""

    server: str
    heads: dict[str, ChainHead]
    stored: dict[tuple[str, int], StoredLine]
    failures: Mapping[tuple[str, bytes], int]
    device_keys: frozenset[RowKey]
    fresh: dict[tuple[str, int], Submitted] = field(default_factory=dict)
    signatures: dict[tuple[str, int], str] = field(default_factory=dict)
    answered: dict[RequestKey, AnsweredRequest] = field(default_factory=dict)
    """Requests that were answered before, or are by a line of this batch."""
    newly_answered: dict[RequestKey, AnsweredRequest] = field(default_factory=dict)

    def earlier_answer(self, request: KeyedRequest | None) -> tuple[str, int] | None:
        """The position whose verdict answers the request already. Raises `IdempotencyMismatch`."""
        known = self.answered.get(request.key) if request else None
        if known is None or request is None:
            return None
        if known.digest != request.digest:
            raise IdempotencyMismatch
        return self.server, known.seq

    def note_answer(self, request: KeyedRequest | None, seq: int) -> None:
        """The line of the town's own device at position `seq` answers this request."""
        if request is not None:
            answered = AnsweredRequest(digest=request.digest, seq=seq)
            self.answered[request.key] = self.newly_answered[request.key] = answered

    def is_booked(self, line: Replaced) -> bool:
        """Whether this line took effect in an earlier version."""
        kept = self.stored.get((line.device, line.seq))
        if kept is None or encode_bytes(kept.digest) != line.hash:
            return False
        return Status(orjson.loads(kept.verdict_line)["status"]).has_effect

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
    """What a batch came to: the step with its journal entry, if anything was new, and each waiter's answer or fault."""

    step: Step | None
    entry: JournalEntry | None
    outcomes: Sequence[tuple[Waiting, Sequence[bytes] | Exception]]


def operations_of(submitted: Submitted) -> int:
    """How many operations a line has, none when it cannot be read."""
    return len(submitted.change_set.ops) if isinstance(submitted.change_set, ChangeSet) else 0


def chunks(submitted: Sequence[Submitted]) -> Iterator[slice]:
    """Cut an upload into the parts that are decided together."""
    start = operations = size = 0
    for place, line in enumerate(submitted):
        operations += operations_of(line)
        size += len(line.line)
        is_over = operations > CHUNK_OPERATIONS_MAX or size > CHUNK_BYTES_MAX or place - start >= CHUNK_LINES_MAX
        if is_over and place > start:
            yield slice(start, place)
            start, operations, size = place, operations_of(line), len(line.line)
    yield slice(start, len(submitted))


def take_batch(queue: deque[Waiting]) -> list[Waiting]:
    """Take what is waiting, in order, up to the batch limits or to where a device is put out of use."""
    batch: list[Waiting] = []
    change_sets = operations = size = 0
    while (
        queue and change_sets < BATCH_CHANGE_SETS_MAX and operations < BATCH_OPERATIONS_MAX and size < BATCH_BYTES_MAX
    ):
        waiting = queue.popleft()
        if waiting.answer.done():  # whoever waited has gone; nothing of it was decided
            continue
        begins = isinstance(waiting.work, Authored) and waiting.work.begins
        if begins and batch:  # an epoch begins with a version of its own
            queue.appendleft(waiting)
            break
        batch.append(waiting)
        change_sets += waiting.size()
        operations += waiting.operations()
        size += waiting.line_bytes()
        if begins or _bars_a_device(waiting.work):  # which devices may send is read when a batch begins
            break
    return batch


def keys_of(batch: Sequence[Waiting]) -> list[RequestKey]:
    """The keys under which requests of this batch may have been answered before."""
    return [w.work.request.key for w in batch if isinstance(w.work, Authored) and w.work.request]


def founding_of(batch: Sequence[Waiting]) -> Founding | None:
    """What the town is founded with when this batch is its first."""
    return next((w.work.founding for w in batch if isinstance(w.work, Authored) and w.work.founding), None)


async def is_committed(towns: Towns, town_id: str, done: Done) -> bool:
    """Whether a COMMIT that was not answered took effect, asked under the lock, so that none is still under way.

    Raises `OutcomeUnknown` when that cannot be asked either.
    """
    expected = {(a.submitted.device, a.submitted.seq): a for a in done.step.answered} if done.step else {}
    try:
        async with towns.writing(town_id) as writer:
            stored = await writer.stored_lines(expected)
    except TownUnknown:  # it was to be founded
        return False
    except Unavailable as fault:
        raise OutcomeUnknown from fault
    return all(
        position in stored
        and (stored[position].digest, stored[position].verdict_line) == (a.submitted.digest, a.verdict_line)
        for position, a in expected.items()
    )


def fail(waiting: Waiting, fault: Exception) -> None:
    """Tell a waiter what went wrong, unless it has gone or been answered.

    Whoever may send the same again, a device its line or a request under its key, is told no more than that.
    """
    is_repeatable = isinstance(waiting.work, Upload) or waiting.work.request is not None
    if is_repeatable and isinstance(fault, OutcomeUnknown):
        fault = Unavailable()
    if not waiting.answer.done():
        waiting.answer.set_exception(fault)


def _bars_a_device(work: Upload | Authored) -> bool:
    return isinstance(work, Authored) and any(
        isinstance(operation, SuspendDevice | RevokeDevice | ReleaseDevice) for operation in work.operations
    )


def failing(submitted: Submitted) -> Submitted:
    """The line as one that shall be quarantined without another try."""
    return Submitted(
        device=submitted.device,
        seq=submitted.seq,
        line=submitted.line,
        digest=submitted.digest,
        change_set=submitted.change_set,
        failure=f"The rules failed over this {FAILURES_MAX} times.",
    )


def authored_line(
    head: TownHead, book: Book, authored: Authored, device: Fields | None, *, now_ms: int, registry: Registry
) -> Submitted:
    """The next line of the town's own device (its row; None in the line that founds the town).

    Raises `Malformed` and `LimitExceeded` for what the wire would refuse: the line is read back as a device's is, and
    decided as it was read, so nothing enters the journal that a replay could not read.
    """
    certificate = device["certificate"] if device else _founding_certificate(authored.operations)
    chain = book.heads.get(book.server) or ChainHead(seq=0, digest=genesis_hash(certificate))
    change_set = ChangeSet(
        town=head.town,
        device=book.server,
        seq=chain.seq + 1,
        prev=encode_bytes(chain.digest),
        actor=authored.actor_id,
        base=head.version,
        epoch=head.epoch,
        at=str(Hlc(unix_ms=now_ms, counter=0)),
        ops=tuple(authored.operations),
        replaces=authored.replaces,
    )
    line = encode_change_set(change_set)
    readable = parse_line(line, town=head.town, device=book.server, registry=registry).change_set
    if isinstance(readable, Malformed):
        raise readable
    return Submitted(
        device=book.server,
        seq=change_set.seq,
        line=line,
        digest=line_hash(line),
        change_set=readable,
        is_server=True,
    )


def _founding_certificate(operations: Sequence[Operation]) -> str:
    """The town's first line brings the certificate from which its server device's chain begins."""
    return str(next(getattr(operation, "certificate", "") for operation in reversed(operations)))
