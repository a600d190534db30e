"""Leases for tests: what a town gives with its next answers, signed or not."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sync.engine.chain import sign
from sync.engine.leases import lease_message, lease_of
from sync.kernel.clock import format_time
from sync.protocol.messages import LeaseMark
from tests.support.toy import START_MS

DAY_MS = 24 * 3600 * 1000
PAYMENT = "payment.take"


def mark(
    days: int = 7, cash_units: int | None = None, operations: tuple[str, ...] = (PAYMENT,), issued_ms: int = START_MS
) -> LeaseMark:
    """A lease from `issued_ms` on; its signature is for stores, which believe what the exchange has checked."""
    return LeaseMark(
        issued=format_time(issued_ms),
        until=format_time(issued_ms + days * DAY_MS),
        cash_units=cash_units,
        operations=list(operations),
        sig="A" * 86,
    )


def signed(lease: LeaseMark, key: Ed25519PrivateKey, *, town: str, device: str, clock: str) -> dict[str, Any]:
    """The lease as a welcome carries it, signed for this town, device and clock of the hello."""
    return lease.model_dump() | {"sig": sign(key, lease_message(town, device, clock, lease_of(lease)))}
