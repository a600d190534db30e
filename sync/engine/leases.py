"""The offline lease: how long, up to how much cash, and with which operations a device may take money by itself.

The server signs one at every contact, over the clock that the device said then, so that it answers this contact and no
other. A device asks its lease before it records, and only about money: reading, every other fact and sending go on.
The server never refuses a fact for want of a lease, because what happened has happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sync.kernel.cases import CASH_CEILING, LEASE_LACKS, LEASE_OVER
from sync.kernel.clock import parse_time
from sync.kernel.draft import Refused
from sync.kernel.money import to_amount, to_minor
from sync.protocol.messages import LeaseMark

MONEY: Mapping[str, str] = {"payment.take": "in", "refund.pay": "out"}
"""Operations that move money through the device, and which way; they have an amount and a currency."""

CASH = frozenset({"cash", "cod"})
"""Methods by which money comes as cash, which the ceiling is for; an operation that names none is about cash."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """What a device may do without the server from `issued` to `until`.

    `cash_units` is the most cash, in whole units of each currency, that the server may not have heard of yet; None is
    no limit. `operations` are those of `MONEY` that the device may record.
    """

    issued: str
    until: str
    cash_units: int | None
    operations: tuple[str, ...]


def taken_by(operations: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """What operations, as a line says them, took in: minor units by currency. Raises `InvalidMoney`."""
    sums: dict[str, int] = {}
    for said in operations:
        if MONEY.get(said["op"]) == "in":
            currency = said["currency"]
            sums[currency] = sums.get(currency, 0) + to_minor(said["amount"], currency)
    return sums


def lease_of(mark: LeaseMark) -> Lease:
    """The lease that a welcome carries."""
    return Lease(issued=mark.issued, until=mark.until, cash_units=mark.cash_units, operations=tuple(mark.operations))


def lease_message(town: str, device: str, clock: str, lease: Lease) -> bytes:
    """What the server signs; `clock` is that of the hello which it answers, the operations come last."""
    cash = "" if lease.cash_units is None else str(lease.cash_units)
    told = (town, device, clock, lease.issued, lease.until, cash, *lease.operations)
    return "\n".join(("tallystick/lease/1", *told)).encode()


def is_over(lease: Lease, now_ms: int) -> bool:
    """Whether the lease has ended at this server time, in milliseconds since 1970."""
    return now_ms > parse_time(lease.until)


def cash_left(lease: Lease, currency: str, unheard: Mapping[str, int]) -> int | None:
    """How much cash may still be taken, in minor units, beside what the server has not heard of; None is no limit."""
    if lease.cash_units is None:
        return None
    return max(0, to_minor(str(lease.cash_units), currency) - unheard.get(currency, 0))


def check_lease(
    lease: Lease, names: Iterable[str], *, now_ms: int, taking: Mapping[str, int], unheard: Mapping[str, int]
) -> None:
    """Raise `Refused` when the operations `names` need what the lease does not give at this server time.

    `taking` is the cash that they take in and `unheard` what was taken before without the server's knowledge, both in
    minor units by currency.
    """
    moving = [name for name in names if name in MONEY]
    if not moving:
        return
    if is_over(lease, now_ms):
        raise Refused(LEASE_OVER, {"until": lease.until})
    for name in moving:
        if name not in lease.operations:
            raise Refused(LEASE_LACKS, {"what": name})
    for currency, minor in taking.items():
        left = cash_left(lease, currency, unheard)
        if left is not None and minor > left:
            data = {"left": to_amount(left, currency), "currency": currency, "amount": to_amount(minor, currency)}
            raise Refused(CASH_CEILING, data)
