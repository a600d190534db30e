"""What a replica keeps of its offline lease: the lease, and the latest time that was ever seen here."""

from __future__ import annotations

from dataclasses import dataclass

from sync.engine.leases import Lease


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A moment: the server's time as far as it is known here, and what the clocks of this device said at it."""

    server_ms: int
    device_ms: int
    monotonic_ms: int
    boot: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Leased:
    """The lease of the last contact that brought one, and the latest moment since; which never goes back."""

    lease: Lease
    latest: Reading
