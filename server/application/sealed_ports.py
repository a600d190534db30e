"""The ports of the operators' tools: what revoked devices have handed in, and the lines in quarantine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

UPLOADS_SHOWN_MAX = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedUpload:
    """Lines `from_seq` to `to_seq` of a device as it has sealed them; `head` is the hash of the last one."""

    town_id: str
    device_id: str
    from_seq: int
    to_seq: int
    head: bytes
    box: bytes
    signature: str
    received_at: str
    reviewed: int | None = None
    """How many of the lines went to review; None as long as that was not tried to its end."""
    problem: str | None = None
    """Why no more did."""


class SealedUploads(Protocol):
    """What revoked devices have handed in; kept for ever."""

    async def keep(self, upload: SealedUpload) -> None:
        """Durable when it returns; the same lines again change nothing, one line more is another upload.

        Raises `LimitExceeded` for too many.
        """
        ...

    async def reviewed(self, upload: SealedUpload, lines: int, problem: str | None) -> None:
        """Note what became of it."""
        ...

    async def of_device(self, town_id: str, device_id: str) -> Sequence[SealedUpload]:
        """Everything that a device has handed in, by position, without the boxes' content."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class QuarantinedLine:
    """A line that is kept without effect: its place, its bytes, why, and what became of the conflict about it."""

    device_id: str
    seq: int
    version: int
    digest: bytes
    line: bytes
    rule: str
    reason: str
    conflict_id: str
    state: str
    raised_at: str


class Quarantine(Protocol):
    """The lines of a town that have no effect and about which somebody has to decide."""

    async def lines(
        self, town_id: str, *, is_open: bool, after_version: int, lines_max: int
    ) -> Sequence[QuarantinedLine]:
        """Lines by the version that brought them, those after `after_version`; with `is_open` only undecided ones.

        It ends with the version in which it has `lines_max`.
        """
        ...

    async def line(self, town_id: str, device_id: str, seq: int) -> QuarantinedLine | None:
        """The one at this place, if it is in quarantine."""
        ...
