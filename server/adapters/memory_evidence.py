"""What `verify` reads of towns in memory: one state that stands still, with the work and the messages beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from operator import itemgetter

from server.adapters.memory_outbox import MemoryMessages, MemoryOutbox
from server.adapters.memory_town import TownState
from server.adapters.memory_towns import MemoryTowns
from server.application.evidence import StoredSet, StoredStatement, StoredWork
from server.application.history_ports import EpochRecord, Halt
from server.application.ports import BucketState
from sync.engine.chain import ChainHead
from sync.engine.feed import Stored
from sync.engine.replay import FeedKey, KeptEntry


class MemoryEvidence:
    """The `EvidenceStore` port."""

    def __init__(self, towns: MemoryTowns, outbox: MemoryOutbox, messages: MemoryMessages) -> None:
        self._towns = towns
        self._outbox = outbox
        self._messages = messages

    @asynccontextmanager
    async def evidence(self, town_id: str) -> AsyncIterator[MemoryTownEvidence]:
        """One town; raises `TownUnknown`."""
        yield MemoryTownEvidence(self._towns.shared(town_id), self._outbox, self._messages)

    async def towns(self) -> Mapping[str, str]:
        """The name of every town."""
        return {town_id: state.name for town_id, state in self._towns.states.items()}


class MemoryTownEvidence:
    """One town's evidence."""

    def __init__(self, state: TownState, outbox: MemoryOutbox, messages: MemoryMessages) -> None:
        self._state = state
        self._outbox = outbox
        self._messages = messages
        self.head = state.head
        self.is_halted = state.is_halted

    async def journal(self) -> AsyncIterator[tuple[KeptEntry, list[StoredSet]]]:
        """Entries in the order in which they are kept, with their change sets."""
        sets: dict[int, list[StoredSet]] = {}
        for one in self._state.sets.values():
            sets.setdefault(one.version, []).append(one)
        for entry in self._state.journal:
            kept = KeptEntry(version=entry.version, body=entry.body, digest=entry.digest, signature=entry.signature)
            yield kept, sets.get(entry.version, [])

    async def stray_sets(self) -> int:
        """Change sets whose version has no journal entry."""
        versions = {entry.version for entry in self._state.journal}
        return sum(one.version not in versions for one in self._state.sets.values())

    async def rows(self, entity: str) -> AsyncIterator[tuple[str, Stored]]:
        """Every row of an entity."""
        rows = [(row_id, stored) for (name, row_id), stored in self._state.rows.items() if name == entity]
        for row_id, stored in sorted(rows, key=itemgetter(0)):
            yield row_id, stored

    async def feed(self) -> AsyncIterator[tuple[FeedKey, tuple[int, bytes | None]]]:
        """Every feed row, tombstones too."""
        rows = (
            ((entity, row_id, bucket), (version, body))
            for (bucket, entity, row_id), version, body in self._state.feed_rows()
        )
        for place, said in sorted(rows, key=itemgetter(0)):
            yield place, said

    async def all_buckets(self) -> Mapping[str, BucketState]:
        """Every bucket's checksum."""
        return dict(self._state.buckets)

    async def all_device_heads(self) -> Mapping[str, ChainHead]:
        """Every device's stored head."""
        return dict(self._state.heads)

    async def epochs(self) -> Sequence[EpochRecord]:
        """Every epoch that was begun."""
        return list(self._state.epochs)

    async def halts(self) -> Sequence[Halt]:
        """Every halt, and how it ended."""
        return list(self._state.halts)

    async def name(self) -> str | None:
        """The name by which the town is listed."""
        return self._state.name

    async def outbox(self) -> AsyncIterator[StoredWork]:
        """Every row, done or not."""
        rows = [(row_id, row) for (town_id, row_id), row in self._outbox.rows.items() if town_id == self.head.town]
        for _, row in sorted(rows, key=itemgetter(0)):
            effect = row.effect
            yield StoredWork(
                id=effect.id,
                kind=effect.kind,
                data=effect.data,
                version=row.version,
                is_done=row.done_at is not None,
            )

    async def messages(self) -> AsyncIterator[tuple[str, str, str]]:
        """Every message."""
        written = self._messages.written.items()
        own = [(message_id, message) for (town_id, message_id), message in written if town_id == self.head.town]
        for message_id, message in sorted(own, key=itemgetter(0)):
            yield message_id, message.order_id, message.text

    async def statements(self) -> AsyncIterator[StoredStatement]:
        """None is ever made in memory."""
        made: Sequence[StoredStatement] = ()
        for one in made:
            yield one

    async def line_failures(self) -> Mapping[tuple[str, bytes], int]:
        """Every count."""
        return dict(self._state.failures)

    async def altered_fork_lines(self) -> Sequence[tuple[str, int]]:
        """Those whose bytes are not the ones they are kept under."""
        kept = self._state.kept.items()
        return sorted((device, one.seq) for (device, digest), one in kept if sha256(one.line).digest() != digest)
