"""The ports of `verify`: everything that a store holds of a town, read in one snapshot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from server.application.history_ports import EpochRecord, Halt
from server.application.ports import BucketState
from sync.engine.chain import ChainHead
from sync.engine.feed import Stored
from sync.engine.replay import FeedKey, KeptEntry
from sync.engine.town import TownHead


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredSet:
    """A row of the change set table."""

    device: str
    seq: int
    version: int
    digest: bytes
    line: bytes
    signature: str | None
    status: str
    verdict: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredWork:
    """A row of the outbox, as far as the journal gives it, and whether it is done."""

    id: str
    kind: str
    data: Mapping[str, Any]
    version: int
    is_done: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredStatement:
    """A statement that a worker has made; `accounts` is how many parties' it sums up, `body` its sections as JSON."""

    kind: str
    owner_id: str
    version: int
    accounts: int
    body: str


class TownEvidence(Protocol):
    """Everything a store holds of one town, in one snapshot, streamed."""

    @property
    def head(self) -> TownHead:
        """Where the town stands in this snapshot."""
        ...

    def journal(self) -> AsyncIterator[tuple[KeptEntry, list[StoredSet]]]:
        """Every entry in order of version, with the change sets stored for it."""
        ...

    async def stray_sets(self) -> int:
        """How many stored change sets belong to no journal entry."""
        ...

    def rows(self, entity: str) -> AsyncIterator[tuple[str, Stored]]:
        """Every row of an entity, in order of their ids."""
        ...

    def feed(self) -> AsyncIterator[tuple[FeedKey, tuple[int, bytes | None]]]:
        """Every feed row in order of place: its version, and its body or None for a tombstone."""
        ...

    async def all_buckets(self) -> Mapping[str, BucketState]:
        """Every bucket's checksum and version."""
        ...

    async def all_device_heads(self) -> Mapping[str, ChainHead]:
        """Where the chain of every device stands."""
        ...

    @property
    def is_halted(self) -> bool:
        """Whether the town's head says so."""
        ...

    async def epochs(self) -> Sequence[EpochRecord]:
        """Every epoch that was begun, oldest first."""
        ...

    async def halts(self) -> Sequence[Halt]:
        """Every halt there was, oldest first."""
        ...

    async def name(self) -> str | None:
        """The name by which the town is listed."""
        ...

    def outbox(self) -> AsyncIterator[StoredWork]:
        """Everything that was ever to be done, done or not, in order of their ids."""
        ...

    def messages(self) -> AsyncIterator[tuple[str, str, str]]:
        """(id, order id, text) of what customers were told, in order of their ids."""
        ...

    def statements(self) -> AsyncIterator[StoredStatement]:
        """Every statement that was made."""
        ...

    async def line_failures(self) -> Mapping[tuple[str, bytes], int]:
        """How often deciding lines has failed, by device and hash."""
        ...

    async def altered_fork_lines(self) -> Sequence[tuple[str, int]]:
        """(device, seq) of kept lines of forks that are not the bytes of their hash."""
        ...


class EvidenceStore(Protocol):
    """Opens the evidence of a town."""

    def evidence(self, town_id: str) -> AbstractAsyncContextManager[TownEvidence]:
        """One town's evidence; raises `TownUnknown`."""
        ...

    async def towns(self) -> Mapping[str, str]:
        """The name of every town there is a trace of, by id; one that is not listed any more has its id for a name."""
        ...
