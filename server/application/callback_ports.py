"""The ports of work that no commit asks for: what others send us by themselves, and what follows from what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from server.application.ports import Outbox

CALLBACKS_WAITING_MAX = 10_000
"""Callbacks of one town that nobody has looked at yet; beyond it none is taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Callback:
    """What came, as it came. `id` follows from it, so that the same again is the same; `data` is what it is about."""

    id: str
    town_id: str
    kind: str
    data: Mapping[str, Any]
    received_at: str
    method: str
    content_type: str
    body: bytes


class Inbox(Outbox, Protocol):
    """Callbacks as work to be done, in leases as the outbox's."""

    async def keep(self, callback: Callback) -> bool:
        """Keep it, due at once; when it was here before it is counted, and due once more.

        False when another body is kept under this id, which stays as it is and is not due. Raises `LimitExceeded` when
        `CALLBACKS_WAITING_MAX` wait in this town.
        """
        ...

    async def forget(self, before: str) -> int:
        """Drop what was looked at before this time; what waits or was given up stays. Returns how many."""
        ...


class Agenda(Outbox, Protocol):
    """Work that follows from what is there already, in leases as the outbox's; it can be noted again."""

    async def note(self, town_id: str, item_id: str, kind: str, data: Mapping[str, Any], at: str) -> None:
        """Put it on, due at once; what is on it by this id, done or not, stays as it is."""
        ...

    async def forget(self, before: str) -> int:
        """Drop what was done before this time; how much that was."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Work that is not done; `source` is where it came from, `is_dead` says that it is not tried any more by itself."""

    id: str
    town_id: str
    source: str
    kind: str
    data: Mapping[str, Any]
    due_at: str
    attempts: int
    problem: str | None
    is_dead: bool


class Jobs(Protocol):
    """What is not done, of outbox, inbox and agenda, for whoever looks after it."""

    async def undone(self, town_id: str, jobs_max: int) -> Sequence[Job]:
        """By the time when it is due; what is given up comes last."""
        ...

    async def retry(self, town_id: str, job_id: str, now: str) -> bool:
        """Due now, with all its attempts before it; False when there is no such work to be done."""
        ...
