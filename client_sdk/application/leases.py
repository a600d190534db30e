"""What this device may do without the server, and how much of that is left.

The time is the server's at the last contact and what has passed since. While the machine runs, a clock that nobody can
set tells that; after a restart the device's clock does, as far as it goes forward. The latest moment that was ever seen
is kept, so setting the clock back gives nothing back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import orjson

from client_sdk.application.lease_ports import Leased, Reading
from client_sdk.application.ports import Contact, Recording, Standing, Store, System
from client_sdk.errors import Refused
from sync.engine.leases import CASH, MONEY, cash_left, check_lease, is_over, lease_of
from sync.kernel.changeset import Note, Operation
from sync.kernel.clock import parse_time
from sync.kernel.draft import Refused as RuleRefused
from sync.kernel.errors import TallystickError
from sync.kernel.money import to_amount, to_minor
from sync.protocol.messages import Welcome

NOTED_MS = 60_000
"""How much time passes before it is written down that it has: what a restart at a wrong moment can give back."""

Sums = Mapping[str, int]
"""Cash taken in, in minor units by currency."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaseStatus:
    """What the device may still do without the server.

    `cash_left` says how much by currency, None when there is no limit. Once `is_over`, or when none is left, money is
    refused until the next sync; everything else goes on.
    """

    valid_until: str
    cash_left: Mapping[str, str] | None
    is_over: bool


def renewed(before: Standing, welcome: Welcome, contact: Contact) -> Leased | None:
    """What is kept once an answer is taken: its lease from the moment it was issued, or the one there was."""
    if welcome.lease is None:
        return before.leased
    latest = Reading(
        server_ms=parse_time(welcome.lease.issued),
        device_ms=contact.device_ms,
        monotonic_ms=contact.monotonic_ms,
        boot=contact.boot,
    )
    return Leased(lease=lease_of(welcome.lease), latest=latest)


def with_reading(standing: Standing, reading: Reading) -> Standing:
    """The standing that has seen this moment as well; the latest one stays."""
    if standing.leased is None:
        return standing
    latest_ms = max(standing.leased.latest.server_ms, reading.server_ms)
    return replace(standing, leased=replace(standing.leased, latest=replace(reading, server_ms=latest_ms)))


def read_clock(leased: Leased, system: System) -> Reading:
    """What the time is now, by the clock that can be trusted most."""
    latest, device_ms = leased.latest, system.now_ms()
    monotonic_ms, boot = system.monotonic_ms(), system.boot_id()
    passed_ms = monotonic_ms - latest.monotonic_ms if boot == latest.boot else device_ms - latest.device_ms
    server_ms = latest.server_ms + max(0, passed_ms)
    return Reading(server_ms=server_ms, device_ms=device_ms, monotonic_ms=monotonic_ms, boot=boot)


def note_time(store: Store, system: System) -> None:
    """Write down how late it is, if that is news."""
    leased = store.standing().leased
    if leased is not None and _is_news(reading := read_clock(leased, system), leased):
        store.saw(reading)


def check(recording: Recording, system: System, operations: Sequence[Operation]) -> None:
    """Raise the SDK's `Refused` for what the lease does not give; a device without one is not limited."""
    leased = recording.standing.leased
    if leased is None:
        return
    reading = read_clock(leased, system)
    taking = _taken({**operation.model_dump(), "op": operation.op} for operation in operations if operation.op in MONEY)
    first = recording.first_pending() if taking and leased.lease.cash_units is not None else None
    totals = {currency: sums["in"] for currency, sums in recording.head.totals.items()}
    try:
        check_lease(
            leased.lease,
            [operation.op for operation in operations],
            now_ms=reading.server_ms,
            taking=taking,
            unheard=_since(first, totals),
        )
    except RuleRefused as refused:
        case = refused.case
        raise Refused(case.id, [Note(code=case.id, text=case.explain(refused.data), data=refused.data)]) from None
    if _is_news(reading, leased):
        recording.saw(reading)


def lease_status(store: Store, system: System) -> LeaseStatus | None:
    """How the lease stands; None without one. What stands in the way of noting the time does not matter here."""
    leased = store.standing().leased
    if leased is None:
        return None
    with suppress(TallystickError):
        note_time(store, system)
    lease, left = leased.lease, None
    if lease.cash_units is not None:
        unheard = _unheard(store)
        currencies = sorted({store.identity().currency, *unheard})
        left = {currency: to_amount(cash_left(lease, currency, unheard) or 0, currency) for currency in currencies}
    now_ms = read_clock(leased, system).server_ms
    return LeaseStatus(valid_until=lease.until, cash_left=left, is_over=is_over(lease, now_ms))


def _is_news(reading: Reading, leased: Leased) -> bool:
    latest = leased.latest
    return reading.boot != latest.boot or reading.server_ms - latest.server_ms >= NOTED_MS


def _unheard(store: Store) -> Sums:
    """Cash in lines that the server has not answered."""
    state = store.exchange_state()
    if state.head_seq == state.acked:
        return {}
    first = store.outbox_from(state.acked + 1, lines_max=1, bytes_max=1)[0]
    last = store.outbox_from(state.head_seq, lines_max=1, bytes_max=1)[0]
    return _since(first.line, _totals(orjson.loads(last.line)))


def _since(first: bytes | None, totals: Sums) -> Sums:
    """Cash taken from the line `first` on, when these are the running totals now; nothing without a line."""
    if first is None:
        return {}
    said = orjson.loads(first)
    before, own = _totals(said), _taken(said.get("ops", ()))
    return {currency: now - before.get(currency, 0) + own.get(currency, 0) for currency, now in totals.items()}


def _totals(line: Mapping[str, Any]) -> Sums:
    """Running totals of a line of this device, which says every place of an amount."""
    return {currency: int(sums["in"].replace(".", "")) for currency, sums in line.get("totals", {}).items()}


def _taken(operations: Iterable[Mapping[str, Any]]) -> Sums:
    """Cash that operations take in."""
    taken: dict[str, int] = {}
    for said in operations:
        if MONEY.get(said["op"]) == "in" and said.get("method", "cash") in CASH:
            currency = said["currency"]
            taken[currency] = taken.get(currency, 0) + to_minor(said["amount"], currency)
    return taken
