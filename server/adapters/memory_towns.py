"""The store of all towns in memory: one writer of a town at a time, readers of a state that stands still.

Whoever reads shares the town's state; a commit after that goes into a copy, so a reader sees what it saw when it began.
Nothing in here waits but for the town's lock. It refuses what a database would refuse.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType

from server.adapters.memory_histories import MemoryHistories
from server.adapters.memory_outbox import MemoryOutbox
from server.adapters.memory_snapshots import offers_of
from server.adapters.memory_town import TownState, check_writable
from server.application.history_ports import EpochRecord, Halt
from server.application.ports import (
    BucketState,
    DeviceRecord,
    FeedPage,
    Founding,
    JournalEntry,
    StoredLine,
    TownUnknown,
    WriteRejected,
)
from server.application.snapshot_ports import Snapshot
from server.domain.requests import AnsweredRequest, RequestKey
from sync.engine.chain import ChainHead
from sync.engine.feed import Stored
from sync.engine.town import Step, TownHead
from sync.kernel.changeset import RowKey
from sync.kernel.module import Registry


class MemoryTowns:
    """The `Towns` port. What `shared` gives is a backup; put into `states` again, it is restored."""

    def __init__(self, registry: Registry, outbox: MemoryOutbox) -> None:
        self.states: dict[str, TownState] = {}
        self.registry = registry
        self.histories = MemoryHistories(self)
        self._outbox = outbox
        self._locks: dict[str, asyncio.Lock] = {}

    def writing(self, town_id: str, *, founding: Founding | None = None) -> MemoryWriting:
        """One transaction under the town's lock; commits on a clean exit."""
        return MemoryWriting(self, town_id, founding)

    @asynccontextmanager
    async def reading(self, town_id: str) -> AsyncIterator[MemoryTownReader]:
        """The town as it stands now, however long it is looked at."""
        yield MemoryTownReader(self.shared(town_id))

    async def list_towns(self) -> Sequence[tuple[str, str]]:
        """(id, name) of every town, by name."""
        named = [(town_id, state.name) for town_id, state in self.states.items()]
        return sorted(named, key=lambda town: (town[1], town[0]))

    async def count_failure(self, town_id: str, device_id: str, seq: int, digest: bytes) -> int:
        """One more, at once."""
        del seq  # it is of the old table alone
        failures = self.owned(town_id).failures
        failures[device_id, digest] = failures.get((device_id, digest), 0) + 1
        return failures[device_id, digest]

    def shared(self, town_id: str) -> TownState:
        """The state, which from now on is changed by nobody. Raises `TownUnknown`."""
        state = self.standing(town_id)
        state.is_shared = True
        return state

    def owned(self, town_id: str) -> TownState:
        """The state to be changed now, at once and without waiting. Raises `TownUnknown`."""
        state = self.standing(town_id)
        if state.is_shared:
            state = self.states[town_id] = state.copy()
        return state

    def lock(self, town_id: str) -> asyncio.Lock:
        """What the town's only writer holds."""
        return self._locks.setdefault(town_id, asyncio.Lock())

    def commit(self, writer: MemoryTownWriter) -> None:
        """What a transaction has written comes into force, with the work that it asks for."""
        town_id = writer.head.town
        state = self.owned(town_id) if town_id in self.states else writer.state
        self.states[town_id] = state
        for written in writer.written:
            state.write(written.step, written.entry, written.signatures, written.answered)
            step = written.step
            self._outbox.add(town_id, step.effects, step.at, version=step.head.version)
        for record in writer.begun:
            state.begin_epoch(record)

    def standing(self, town_id: str) -> TownState:
        """The state as it is now, for whoever holds the lock or does not wait. Raises `TownUnknown`."""
        try:
            return self.states[town_id]
        except KeyError:
            raise TownUnknown from None


class MemoryWriting:
    """One transaction, from its lock to its commit."""

    def __init__(self, towns: MemoryTowns, town_id: str, founding: Founding | None) -> None:
        self._towns = towns
        self._town_id = town_id
        self._founding = founding
        self._lock = towns.lock(town_id)
        self._writer: MemoryTownWriter | None = None

    async def __aenter__(self) -> MemoryTownWriter:
        """Wait for the lock. Raises `TownUnknown`, and `WriteRejected` for a town that is founded twice."""
        await self._lock.acquire()
        try:
            self._writer = MemoryTownWriter(self._begin(), self._towns.registry)
        except BaseException:
            self._lock.release()
            raise
        return self._writer

    async def __aexit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        """Commit, or roll back when there was an exception."""
        writer, self._writer = self._writer, None
        if writer is None:  # it was cut, and whatever its caller thinks of it has happened long ago
            return
        if kind is None:
            self._towns.commit(writer)
        self._lock.release()

    def cut(self) -> None:
        """As if the connection was lost: it is rolled back, and the next one has the lock."""
        if self._writer is not None:
            self._writer = None
            self._lock.release()

    def commit(self) -> None:
        """Commit now, whatever the caller hears of it: as if the connection was lost after the COMMIT."""
        if self._writer is not None:
            self._towns.commit(self._writer)
            self.cut()

    def _begin(self) -> TownState:
        if self._founding is None:
            return self._towns.standing(self._town_id)
        if self._town_id in self._towns.states:
            raise WriteRejected(f"town {self._town_id} is there already")
        head = TownHead(town=self._town_id, epoch=self._founding.epoch, version=0, journal=bytes(32))
        return TownState(head=head, name=self._founding.name)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Written:
    step: Step
    entry: JournalEntry
    signatures: Mapping[tuple[str, int], str]
    answered: Mapping[RequestKey, AnsweredRequest]


class MemoryTownWriter:
    """The town's only writer; what it writes comes into force at the commit."""

    def __init__(self, state: TownState, registry: Registry) -> None:
        self.state = state
        self.head = state.head
        self.is_halted = state.is_halted
        self.written: list[_Written] = []
        self.begun: list[EpochRecord] = []
        self._registry = registry

    async def device_heads(self, device_ids: Iterable[str]) -> Mapping[str, ChainHead]:
        """The heads of those that have sent anything."""
        return {device: self.state.heads[device] for device in device_ids if device in self.state.heads}

    async def stored_lines(self, positions: Iterable[tuple[str, int]]) -> Mapping[tuple[str, int], StoredLine]:
        """What is stored at these places."""
        found = {place: self.state.sets[place] for place in positions if place in self.state.sets}
        return {place: StoredLine(digest=one.digest, verdict_line=one.verdict) for place, one in found.items()}

    async def load(self, keys: Iterable[RowKey]) -> Mapping[RowKey, Stored | None]:
        """Rows by key."""
        return self.state.load(keys)

    async def failures(self, lines: Iterable[tuple[str, bytes]]) -> Mapping[tuple[str, bytes], int]:
        """How often deciding these lines has failed."""
        return {line: self.state.failures[line] for line in lines if line in self.state.failures}

    async def answered(self, keys: Iterable[RequestKey]) -> Mapping[RequestKey, AnsweredRequest]:
        """Which of these were answered."""
        return {key: self.state.answered[key] for key in keys if key in self.state.answered}

    async def write(
        self,
        step: Step,
        journal: JournalEntry,
        signatures: Mapping[tuple[str, int], str],
        answered: Mapping[RequestKey, AnsweredRequest],
    ) -> None:
        """Everything a step changes. Raises `WriteRejected`, and nothing has changed then."""
        check_writable(self.state, step, self._registry)
        self.written.append(_Written(step=step, entry=journal, signatures=signatures, answered=answered))

    async def begin_epoch(self, record: EpochRecord) -> None:
        """In the transaction of the epoch's first line."""
        self.begun.append(record)


class MemoryTownReader:
    """A town as it stood when the reading began."""

    def __init__(self, state: TownState) -> None:
        self._state = state
        self.head = state.head
        self.is_halted = state.is_halted

    async def journal_entry(self, version: int) -> JournalEntry | None:
        """One version's entry."""
        return self._state.journal[version - 1] if 1 <= version <= len(self._state.journal) else None

    async def epochs(self) -> Sequence[EpochRecord]:
        """Every epoch that was begun."""
        return list(self._state.epochs)

    async def halts(self) -> Sequence[Halt]:
        """Every halt, and how it ended."""
        return list(self._state.halts)

    async def device(self, device_id: str) -> DeviceRecord | None:
        """A device and the buckets it may hold."""
        return self._state.device(device_id)

    async def load(self, keys: Iterable[RowKey]) -> Mapping[RowKey, Stored | None]:
        """Rows by key."""
        return self._state.load(keys)

    async def bucket_states(self, buckets: Sequence[str]) -> Mapping[str, BucketState]:
        """Those that were ever written to."""
        return {bucket: self._state.buckets[bucket] for bucket in buckets if bucket in self._state.buckets}

    async def offers(self, buckets: Sequence[str]) -> Mapping[str, Snapshot]:
        """The newest snapshot of each."""
        return offers_of(self._state, buckets)

    async def feed_page(self, bucket: str, after: int, rows_max: int, bytes_max: int) -> FeedPage:
        """Whole versions beyond `after`."""
        return self._state.feed_page(bucket, after, rows_max, bytes_max)
