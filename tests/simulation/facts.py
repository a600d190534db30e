"""What a world has seen happen, for its checkers: plain values, written down when they happened and never changed.

Checkers know nothing of the world; they compare these notes with what is stored at the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import orjson

from client_sdk.adapters.memory_state import State
from client_sdk.application.ports import Entry
from server.adapters.memory_town import TownState
from server.application.queries.verify_town import Report
from sync.engine.chain import encode_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """A change set that `record` returned from: whose, and its hash in base64url."""

    device_id: str
    seq: int
    hash: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """A verdict that a device took: for which of its lines, and what it was.

    `seen` is the version and the journal hash of the checkpoint that it came with: it tells of which history it is.
    `stands_for` is the hash of the line that this one was written for anew: whoever writes it once more names that one.
    """

    device_id: str
    seq: int
    hash: str
    seen: tuple[int, str]
    version: int
    status: str
    rule: str | None
    stands_for: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Promised:
    """A line of the office that was answered: its hash, and the version and journal hash where it was decided."""

    town_id: str
    hash: str
    seen: tuple[int, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """A row that came over the wire to a device that had `cursor` of its bucket; `is_gone` for a tombstone."""

    device_id: str
    town_id: str
    bucket: str
    cursor: int
    entity: str
    row_id: str
    version: int
    is_gone: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulled:
    """A sync that succeeded: where its town stood when it began, and where the replica is after it.

    `is_barred`: the device was out of use all the time.
    """

    name: str
    before: int
    version: int
    is_barred: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Replicated:
    """A replica at the end. `is_settled`: it could sync, so it must be what the server is; `findings` are its own."""

    name: str
    device_id: str
    town_id: str
    state: State
    is_settled: bool
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A statement that somebody was shown: whose, of which version, and what it came to, in minor units by currency.

    `since` is the version that it may not be older than. Where its version is not in the journal any more, the hash of
    `seen` is empty, and `lost_seconds` is how long before that part was lost.
    """

    town_id: str
    party_id: str
    seen: tuple[int, str]
    closing: tuple[tuple[str, int], ...]
    since: int = 0
    lost_seconds: float = 0.0


@dataclass(kw_only=True)
class Facts:
    """Everything that the checkers look at. `lost` are hashes of lines whose only disk was destroyed by a fault."""

    recorded: list[Recorded] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    pulled: list[Pulled] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    towns: dict[str, TownState] = field(default_factory=dict)
    reports: dict[str, Report] = field(default_factory=dict)
    replicas: list[Replicated] = field(default_factory=list)
    sealed: dict[str, set[str]] = field(default_factory=dict)
    """By device, the hashes of the lines that it has handed in sealed, and of those that they stand for."""
    holds: dict[str, frozenset[str]] = field(default_factory=dict)
    """By device, every bucket that it may ever have held."""
    orderly: list[str] = field(default_factory=list)
    """What came out that nobody may hear: exceptions without a name, answers of 500."""
    promised: list[Promised] = field(default_factory=list)
    moved: dict[str, tuple[int, str]] = field(default_factory=dict)
    """By the reference of a payment or refund at the provider, what it has moved: minor units and currency."""
    statements: list[Shown] = field(default_factory=list)
    went_back: set[str] = field(default_factory=set)
    """The towns whose database was ever replaced by an older copy of it."""
    sometimes: Counter[str] = field(default_factory=Counter)


def replaced(line: bytes) -> Iterator[str]:
    """The hash of the line that this one stands for."""
    if b'"replaces"' in line:
        yield orjson.loads(line)["replaces"]["hash"]


def held(entries: Iterable[Entry]) -> set[str]:
    """The hashes of these lines of a device, and of those that they stand for."""
    return {digest for one in entries for digest in (encode_bytes(one.digest), *replaced(one.line))}
