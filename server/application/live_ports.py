"""The ports of what is live: hints that something has changed. A hint says where, never what, and may be lost."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Hint:
    """Rows of these buckets have changed, the last of them at this town version."""

    version: int
    buckets: frozenset[str]


class Ear(Protocol):
    """One listener; what was not taken yet is one hint, however much has happened."""

    async def heard(self, seconds_max: float) -> Hint | None:
        """What has changed since the last call, None when nothing has in this time; raises `Unavailable` at the end."""
        ...

    def end(self) -> None:
        """Nothing more is heard: `heard` raises from now on."""
        ...


class Hints(Protocol):
    """From whoever commits to whoever listens, in any process."""

    def publish(self, town_id: str, hint: Hint) -> None:
        """Tell of a commit; returns at once, never raises, and may tell nobody."""
        ...

    def listening(self, town_id: str, buckets: frozenset[str]) -> AbstractContextManager[Ear]:
        """Hear of these buckets until the block ends; raises `Unavailable` when hints cannot be heard just now."""
        ...
