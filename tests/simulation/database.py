"""The one database of a world, and what a server process sees of it: late answers, lost connections, commits in doubt.

The tables are `server.adapters.memory_towns`; here is what happens on the way to them. A process that dies lets go of
what it had open at once, as a connection does; what it had not committed has never been.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any, TypeVar

from server.adapters.memory_outbox import MemoryInbox, MemoryMessages, MemoryOutbox, OutboxRow, WrittenMessage
from server.adapters.memory_town import TownState
from server.adapters.memory_towns import MemoryTownReader, MemoryTownWriter, MemoryWriting
from server.application.history_ports import EpochRecord, Halt, Histories, KeptAside, ReleasedHead
from server.application.ports import (
    BucketState,
    DeviceRecord,
    FeedPage,
    Founding,
    JournalEntry,
    StoredLine,
    Unavailable,
)
from server.application.sealed_ports import SealedUpload
from server.application.snapshot_ports import Snapshot
from server.domain.requests import AnsweredRequest, RequestKey
from sync.engine.chain import ChainHead
from sync.engine.feed import Stored
from sync.engine.town import Step
from sync.kernel.changeset import RowKey
from sync.kernel.module import Registry
from tests.simulation.enrolments import Copied, WorldEnrolments
from tests.simulation.faults import Faults
from tests.simulation.files import WorldBlobs
from tests.simulation.loop import Mortal, SimLoop
from tests.simulation.queues import TownQueue
from tests.simulation.told import Asked, Entry, ToldTowns, noted

Result = TypeVar("Result")
BoxPlace = tuple[str, str, int, int, bytes]
"""Town, device, first and last position, hash of the last line."""

ROUND_TRIP_SECONDS = (0.0002, 0.004)
SLOW_SECONDS = (0.5, 20.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Backup:
    """A copy of one town, with its work and its messages."""

    state: TownState
    outbox: Mapping[tuple[str, str], OutboxRow]
    inbox: Mapping[tuple[str, str], OutboxRow]
    messages: Mapping[tuple[str, str], WrittenMessage]
    sealed: Mapping[BoxPlace, SealedUpload]
    told: Sequence[Entry]
    enrolments: Copied


class Database:
    """What outlives every process."""

    def __init__(self, registry: Registry, clock: Callable[[], float]) -> None:
        self.outbox = MemoryOutbox()
        self.inbox = MemoryInbox()
        self.messages = MemoryMessages()
        self.sealed: dict[BoxPlace, SealedUpload] = {}
        self.enrolments = WorldEnrolments()
        self.towns = ToldTowns(registry, self.outbox, clock)
        self.blobs = WorldBlobs(clock)
        self._queues: dict[str, TownQueue] = {}

    def queue(self, town_id: str, loop: SimLoop) -> TownQueue:
        """Who waits for the town's lock."""
        return self._queues.setdefault(town_id, TownQueue(loop))

    def forget(self, process: Mortal) -> None:
        """Nothing of a dead process holds a lock."""
        for queue in self._queues.values():
            queue.forget(process)

    def back_up(self, town_id: str) -> Backup:
        """A copy, as of now."""
        return Backup(
            state=self.towns.shared(town_id),
            outbox={key: copy.copy(row) for key, row in self.outbox.rows.items() if key[0] == town_id},
            inbox={key: copy.copy(row) for key, row in self.inbox.rows.items() if key[0] == town_id},
            messages={key: told for key, told in self.messages.written.items() if key[0] == town_id},
            sealed={key: upload for key, upload in self.sealed.items() if key[0] == town_id},
            told=tuple(self.towns.told[town_id]),
            enrolments=self.enrolments.back_up(town_id),
        )

    def restore(self, town_id: str, backup: Backup) -> None:
        """The copy takes the place of what there is; nobody may be connected."""
        self.towns.put_back(town_id, backup.state, backup.told)
        for work, kept in ((self.outbox, backup.outbox), (self.inbox, backup.inbox)):
            others = {key: row for key, row in work.rows.items() if key[0] != town_id}
            work.rows = others | {key: copy.copy(row) for key, row in kept.items()}
        self.enrolments.put_back(town_id, backup.enrolments)
        told = {key: message for key, message in self.messages.written.items() if key[0] != town_id}
        self.messages.written = told | dict(backup.messages)
        self.sealed = {key: upload for key, upload in self.sealed.items() if key[0] != town_id} | dict(backup.sealed)


class Connection:
    """The way of one process to the database."""

    def __init__(
        self,
        database: Database,
        process: Mortal,
        *,
        may_die: Callable[[], None],
        faults: Faults,
        loop: SimLoop,
        random: Random,
    ) -> None:
        """`may_die` is asked at every round trip."""
        self.database = database
        self.process = process
        self._may_die = may_die
        self.faults = faults
        self.loop = loop
        self.random = random
        self._open: dict[object, MemoryWriting] = {}

    async def trip(self) -> None:
        """One round trip, in which anything may happen. Raises `Unavailable`."""
        self._may_die()
        is_slow = self.faults.strikes("database.slow")
        seconds = self.random.uniform(*(SLOW_SECONDS if is_slow else ROUND_TRIP_SECONDS))
        turn = self.loop.create_future()
        self.loop.call_later(seconds, turn.set_result, None)
        await turn
        if self.faults.strikes("database.unavailable"):
            raise Unavailable

    async def moment(self) -> None:
        """A step that takes a moment, and is not the database's."""
        self._may_die()
        await asyncio.sleep(self.random.uniform(*ROUND_TRIP_SECONDS))

    async def asked(self, answer: Coroutine[Any, Any, Result]) -> Result:
        """The answer of one statement."""
        try:
            await self.trip()
        except BaseException:
            answer.close()  # it was never begun
            raise
        return await answer

    def cut(self) -> None:
        """The process is gone: its transactions are rolled back, its locks are free."""
        for writing in self._open.values():
            writing.cut()
        self._open.clear()
        self.database.forget(self.process)

    @asynccontextmanager
    async def transaction(self, town_id: str, founding: Founding | None) -> AsyncIterator[MemoryTownWriter]:
        """One transaction under the town's lock, which may end otherwise than its owner hears."""
        await self.trip()
        queue, ticket = self.database.queue(town_id, self.loop), object()
        writing = self.database.towns.writing(town_id, founding=founding)
        await queue.take(self.process, ticket)
        try:
            async with writing as writer:
                self._open[ticket] = writing
                yield writer
                if writer.written:
                    await self._commit(writing)
        finally:
            self._open.pop(ticket, None)
            queue.give(ticket)

    async def _commit(self, writing: MemoryWriting) -> None:
        """The COMMIT and its answer. Raises `Unavailable` for one that got lost, whatever became of it."""
        if self.faults.strikes("database.lost_before_commit"):
            raise Unavailable
        await self.trip()
        if self.faults.strikes("database.lost_after_commit"):
            writing.commit()
            raise Unavailable


class ProcessTowns:
    """The `Towns` port of one process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._towns = connection.database.towns
        self.histories: Histories = _ProcessHistories(connection)

    @asynccontextmanager
    async def writing(self, town_id: str, *, founding: Founding | None = None) -> AsyncIterator[_ProcessWriter]:
        """As the port."""
        async with self._connection.transaction(town_id, founding) as writer:
            yield _ProcessWriter(self._connection, writer, self._towns.begun(writer))

    @asynccontextmanager
    async def reading(self, town_id: str) -> AsyncIterator[_ProcessReader]:
        """As the port."""
        await self._connection.trip()
        async with self._towns.reading(town_id) as reader:
            yield _ProcessReader(self._connection, reader, self._towns.snapshot(town_id))

    async def list_towns(self) -> Sequence[tuple[str, str]]:
        """As the port."""
        return await self._connection.asked(self._towns.list_towns())

    async def count_failure(self, town_id: str, device_id: str, seq: int, digest: bytes) -> int:
        """As the port."""
        return await self._connection.asked(self._towns.count_failure(town_id, device_id, seq, digest))


class ProcessSealed:
    """The `SealedUploads` port of one process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def keep(self, upload: SealedUpload) -> None:
        """As the port."""
        await self._connection.trip()
        self._connection.database.sealed.setdefault(_place(upload), upload)
        await self._connection.trip()

    async def reviewed(self, upload: SealedUpload, lines: int, problem: str | None) -> None:
        """As the port."""
        await self._connection.trip()
        kept = self._connection.database.sealed
        kept[_place(upload)] = replace(kept[_place(upload)], reviewed=lines, problem=problem)

    async def of_device(self, town_id: str, device_id: str) -> Sequence[SealedUpload]:
        """As the port."""
        kept = self._connection.database.sealed
        return [upload for key, upload in sorted(kept.items()) if key[:2] == (town_id, device_id)]


def _place(upload: SealedUpload) -> BoxPlace:
    return upload.town_id, upload.device_id, upload.from_seq, upload.to_seq, upload.head


class _ProcessWriter:
    """`TownWriter`, a round trip for each statement."""

    def __init__(self, connection: Connection, inner: MemoryTownWriter, asked: list[Asked]) -> None:
        self._asked = connection.asked
        self._noted = partial(noted, asked)
        self._inner = inner
        self.head = inner.head
        self.is_halted = inner.is_halted

    async def device_heads(self, device_ids: Iterable[str]) -> Mapping[str, ChainHead]:
        return await self._asked(self._noted(self._inner.device_heads, device_ids))

    async def stored_lines(self, positions: Iterable[tuple[str, int]]) -> Mapping[tuple[str, int], StoredLine]:
        return await self._asked(self._noted(self._inner.stored_lines, positions))

    async def load(self, keys: Iterable[RowKey]) -> Mapping[RowKey, Stored | None]:
        return await self._asked(self._noted(self._inner.load, keys))

    async def failures(self, lines: Iterable[tuple[str, bytes]]) -> Mapping[tuple[str, bytes], int]:
        return await self._asked(self._inner.failures(lines))

    async def answered(self, keys: Iterable[RequestKey]) -> Mapping[RequestKey, AnsweredRequest]:
        return await self._asked(self._noted(self._inner.answered, keys))

    async def write(
        self,
        step: Step,
        journal: JournalEntry,
        signatures: Mapping[tuple[str, int], str],
        answered: Mapping[RequestKey, AnsweredRequest],
    ) -> None:
        await self._asked(self._inner.write(step, journal, signatures, answered))

    async def begin_epoch(self, record: EpochRecord) -> None:
        await self._asked(self._inner.begin_epoch(record))


class _ProcessReader:
    """`TownReader`, a round trip for each statement."""

    def __init__(self, connection: Connection, inner: MemoryTownReader, asked: list[Asked]) -> None:
        self._asked = connection.asked
        self._noted = partial(noted, asked)
        self._inner = inner
        self.head = inner.head
        self.is_halted = inner.is_halted

    async def journal_entry(self, version: int) -> JournalEntry | None:
        return await self._asked(self._noted(self._inner.journal_entry, version))

    async def epochs(self) -> Sequence[EpochRecord]:
        return await self._asked(self._noted(self._inner.epochs))

    async def halts(self) -> Sequence[Halt]:
        return await self._asked(self._noted(self._inner.halts))

    async def device(self, device_id: str) -> DeviceRecord | None:
        return await self._asked(self._noted(self._inner.device, device_id))

    async def load(self, keys: Iterable[RowKey]) -> Mapping[RowKey, Stored | None]:
        return await self._asked(self._noted(self._inner.load, keys))

    async def bucket_states(self, buckets: Sequence[str]) -> Mapping[str, BucketState]:
        return await self._asked(self._noted(self._inner.bucket_states, buckets))

    async def offers(self, buckets: Sequence[str]) -> Mapping[str, Snapshot]:
        return await self._asked(self._noted(self._inner.offers, buckets))

    async def feed_page(self, bucket: str, after: int, rows_max: int, bytes_max: int) -> FeedPage:
        return await self._asked(self._noted(self._inner.feed_page, bucket, after, rows_max, bytes_max))


class _ProcessHistories:
    """`Histories`; what takes the town's lock queues for it with everybody else."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._asked = connection.asked
        self._inner = connection.database.towns.histories

    async def epochs(self, town_id: str) -> Sequence[EpochRecord]:
        return await self._asked(self._inner.epochs(town_id))

    async def halts(self, town_id: str) -> Sequence[Halt]:
        return await self._asked(self._inner.halts(town_id))

    async def halt(self, town_id: str, halt: Halt) -> None:
        async with self._locked(town_id):
            await self._inner.halt(town_id, halt)

    async def resume(self, town_id: str, reason: str, at: str) -> int:
        async with self._locked(town_id):
            return await self._inner.resume(town_id, reason, at)

    async def kept_lines(self, town_id: str, device_id: str) -> Sequence[KeptAside]:
        return await self._asked(self._inner.kept_lines(town_id, device_id))

    async def keep_lines(
        self, town_id: str, device_id: str, seq: int, lines: Sequence[bytes], *, signature: str, at: str
    ) -> None:
        await self._asked(self._inner.keep_lines(town_id, device_id, seq, lines, signature=signature, at=at))

    async def released_head(self, town_id: str, device_id: str, fork: bytes | None) -> ReleasedHead | None:
        return await self._asked(self._inner.released_head(town_id, device_id, fork))

    @asynccontextmanager
    async def _locked(self, town_id: str) -> AsyncIterator[None]:
        await self._connection.trip()
        queue, ticket = self._connection.database.queue(town_id, self._connection.loop), object()
        await queue.take(self._connection.process, ticket)
        try:
            yield
        finally:
            queue.give(ticket)
