"""The ports of what an admin decides when histories disagree: epochs, halted towns, lines that are kept aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from sync.engine.chain import encode_bytes, epoch_message
from sync.kernel.errors import TallystickError

HALTED_RETRY_SECONDS = 60


class TownHalted(TallystickError):
    """The town is halted: its history lacks what the server had signed. An admin must look; your work is kept."""

    code: ClassVar[str] = "town_halted"
    retry_after_seconds: int = HALTED_RETRY_SECONDS


class NotHalted(TallystickError):
    """The town is not halted."""

    code: ClassVar[str] = "not_halted"


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """Where an epoch began: after `version` of the epoch `before`, whose journal had the hash `journal` there."""

    town: str
    epoch: str
    before: str
    version: int
    journal: bytes
    begun_at: str
    reason: str
    signature: str = ""

    def mark(self) -> dict[str, str | int]:
        """What devices are told, but for the signature."""
        return {
            "epoch": self.epoch,
            "before": self.before,
            "version": self.version,
            "journal": encode_bytes(self.journal),
            "at": self.begun_at,
            "reason": self.reason,
        }

    def message(self) -> bytes:
        """What the server signs."""
        return epoch_message({"town": self.town, **self.mark()})


@dataclass(frozen=True, kw_only=True, slots=True)
class Halt:
    """Why a town stopped: a device showed a head that this server had signed, and its journal did not contain it.

    `epoch`, `version` and `journal` are of that head, `head_version` is where the town stood. `ended` says how it
    ended, None while it lasts: "resumed", or the epoch that was begun.
    """

    id: str
    device_id: str
    epoch: str
    version: int
    journal: bytes
    signature: str
    head_version: int
    halted_at: str
    ended: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptAside:
    """A line that a device sent while it might not act, or beside its chain; `signature` ends what it sent together."""

    seq: int
    line: bytes
    received_at: str
    signature: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleasedHead:
    """The end of a released device's chain, as it was signed by the device itself (None when the upload broke off).

    `epoch` is the town's. Without a line of the device here the chain begins at its certificate.
    """

    line: bytes | None
    signature: str | None
    epoch: str


class Histories(Protocol):
    """What is kept of histories that disagree."""

    async def epochs(self, town_id: str) -> Sequence[EpochRecord]:
        """Every epoch that was begun, oldest first."""
        ...

    async def halts(self, town_id: str) -> Sequence[Halt]:
        """Every halt there was, oldest first."""
        ...

    async def halt(self, town_id: str, halt: Halt) -> None:
        """Stop the town, under its lock; whoever waits for the lock finds it stopped."""
        ...

    async def resume(self, town_id: str, reason: str, at: str) -> int:
        """End every halt of the town that lasts; returns how many. Raises `NotHalted`."""
        ...

    async def kept_lines(self, town_id: str, device_id: str) -> Sequence[KeptAside]:
        """What is kept aside of a device and nothing became of yet, by position and time."""
        ...

    async def keep_lines(
        self, town_id: str, device_id: str, seq: int, lines: Sequence[bytes], *, signature: str, at: str
    ) -> None:
        """Keep lines from position `seq` on as evidence, each once; of a device no more than the limits below."""
        ...

    async def released_head(self, town_id: str, device_id: str, fork: bytes | None) -> ReleasedHead | None:
        """The head of a device that an admin has ever released.

        With `fork`, the first line that is not of its chain: only when that was kept before the last release.
        """
        ...


KEPT_LINES_MAX = 10_000
"""Lines kept aside of one device; what comes beyond them stays on the device."""

KEPT_BYTES_MAX = 64 * 1024 * 1024
"""The bytes of these lines together: ten thousand lines of an honest device are a sixth of it."""
