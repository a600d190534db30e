"""What travels and what is decided: operations, change sets, verdicts, conflicts, effects.

A change set is written once as bytes by its device (`sync.protocol.codec`); the values here are what those bytes say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from sync.kernel.ids import Id

Fields = Mapping[str, Any]
"""The fields of one row, JSON values only. Never changed in place: a change makes a new mapping."""

RowKey = tuple[str, str]
"""(entity name, id)."""


class Intent(StrEnum):
    """What an operation claims: that it happened, that it was seen, or that it is asked for."""

    FACT = "fact"
    OBSERVATION = "observation"
    WISH = "wish"


class Operation(BaseModel):
    """One typed statement inside a change set; subclasses add fields and say their name, intent and roles."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    op: ClassVar[str]
    intent: ClassVar[Intent]
    roles: ClassVar[frozenset[str]]
    creates: ClassVar[str | None] = None
    """The entity of the row that this operation's id names, if it makes one."""
    offline_intent: ClassVar[Intent | None] = None
    """What it is when a device recorded it; the same as `intent` unless said otherwise."""
    resolves: ClassVar[frozenset[str]] = frozenset()
    """The ways of resolving a conflict in which it may be a part (`sync.modules.casework`)."""

    by_device: ClassVar[bool] = False
    """Whether a device may record it in nobody's name: the actor of the change set is the device itself."""

    id: Id = ""
    """Names what the operation makes, and tells it from others; `Replica.record` fills it in."""

    def intent_from(self, *, is_server: bool) -> Intent:
        """The intent of this operation when it comes from the server itself or from a device."""
        return self.intent if is_server or self.offline_intent is None else self.offline_intent

    def made(self) -> RowKey | None:
        """The row that its id names; None when it makes none."""
        return (self.creates, self.id) if self.creates else None

    def reads(self) -> Iterable[RowKey]:
        """Rows that its rules will read beyond those it refers to, as far as the operation alone tells which.

        Only for speed: a store loads them for a whole batch at once, instead of one after the other as rules ask.
        """
        return ()

    def brings(self) -> Iterable[RowKey]:
        """Rows with derived ids that it may make beside the one of its own, and that facts may have waited for."""
        return ()

    def reads_on(self, device: str) -> Iterable[RowKey]:
        """As `reads`, for a device that recorded it: rows whose natural key names the device."""
        del device
        return ()

    def as_shown(self, row: Callable[[str, str], Fields | None]) -> Self:
        """This operation as a device writes it: with what its user was shown where it was left to the device to say.

        `row` reads what the replica shows, None for what it does not hold.
        """
        del row
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class Replaced:
    """The line that a change set stands for, which was never accepted: its device, its place and its hash."""

    device: str
    seq: int
    hash: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangeSet:
    """One business action by one user on one device, as its line says it."""

    town: str
    device: str
    seq: int
    prev: str
    actor: str
    base: int
    epoch: str
    at: str
    ops: tuple[Operation, ...]
    totals: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    anchor: Mapping[str, Any] | None = None
    seen: Mapping[str, Any] | None = None
    replaces: Replaced | None = None
    receipt: int | None = None
    """The number of the receipt that was given for it, counted by its device."""
    receipts: int = 0
    """The highest number that its device has given so far."""


class Status(StrEnum):
    """What became of a change set."""

    ACCEPTED = "accepted"
    ADJUSTED = "adjusted"
    REFUSED = "refused"
    QUARANTINED = "quarantined"

    @property
    def has_effect(self) -> bool:
        """Whether the change set has changed anything, as it was said or otherwise."""
        return self in {Status.ACCEPTED, Status.ADJUSTED}


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """One reason, in words for the user and in data for a program."""

    code: str
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The shape on the wire."""
        return {"code": self.code, "text": self.text, "data": dict(self.data)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The decision about one change set; `rule` names the first rule that made it other than accepted."""

    status: Status
    rule: str | None = None
    notes: tuple[Note, ...] = ()
    conflicts: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The shape on the wire, without position and version; empty members are left out."""
        said: dict[str, Any] = {"status": self.status.value}
        if self.rule:
            said["rule"] = self.rule
        if self.notes:
            said["notes"] = [note.as_dict() for note in self.notes]
        if self.conflicts:
            said["conflicts"] = list(self.conflicts)
        return said


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """Work to be done outside the town after commit; carried by the outbox, done once by its id."""

    id: str
    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What a fold of one change set over a view gives: the verdict, the rows as they shall be, the effects."""

    verdict: Verdict
    rows: Mapping[RowKey, Fields]
    effects: tuple[Effect, ...] = ()
