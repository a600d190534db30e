"""A counter that takes payments without end: one device in a process of its own, which bills accounts and is paid.

Everything goes the way of a real device: recorded, signed, sent, decided by the rules, settled. What is not real is the
pace, and that a hundred payments are one change set.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from client_sdk import Replica
from sync.kernel.changeset import Operation
from sync.kernel.errors import TallystickError
from sync.kernel.ids import RANDOM_BYTES, make_id
from sync.modules.billing import InvoiceLine, IssueInvoice, RegisterParty, TakePayment
from sync.protocol.limits import OPERATIONS_MAX

PIN, PASSPHRASE = "2580", "figures"
CURRENCY = "GBP"
SETS_IN_EXCHANGE = 20
"""Change sets that are recorded before the device syncs."""

BILL = "100000.00"
"""What an account is billed: more than is ever paid of it, and within what a town thinks possible."""

PENCE = 100

Row = TypeVar("Row")


class Told(Protocol):
    """Hears how many payments were answered; reaches over processes."""

    def put(self, count: int, /) -> None:
        """So many more."""
        ...


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one till does. Each of `accounts` is paid `each` times, the first of them `first` times."""

    user: str
    path: Path
    accounts: int
    each: int
    first: int

    @property
    def payments(self) -> int:
        """How many there will be."""
        return (self.accounts - 1) * self.each + self.first


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a till has done: its accounts by party, in the order of the job, and what became of its change sets."""

    parties: Sequence[str]
    payments: int
    refused: int


def begin(url: str, code: str, path: Path) -> None:
    """Make the till's replica. A code is good for minutes, and a till may have to wait for hours until it works."""
    with Replica.enrol(url, code=code, path=path, passphrase=PASSPHRASE) as replica:
        replica.sync()


def work(job: Job, told: Told | None) -> Done:
    """Bill the accounts, then take the payments; `told` hears how many were answered."""
    try:
        with Replica.open(job.path, passphrase=PASSPHRASE) as replica:
            replica.sync()
            parties, invoices = ([_new_id() for _ in range(job.accounts)] for _ in range(2))
            refused = _send(replica, job, _bills(parties, invoices), None)
            refused += _send(replica, job, _payments(job, invoices), told)
    except TallystickError as fault:  # it does not pass from one process to another
        raise RuntimeError(f"{fault.code}: {fault}") from None
    return Done(parties=parties, payments=job.payments, refused=refused)


def _new_id() -> str:
    return make_id(time.time_ns() // 1_000_000, os.urandom(RANDOM_BYTES))


def _send(replica: Replica, job: Job, operations: Iterator[Operation], told: Told | None) -> int:
    """How many change sets were not taken as they are."""
    refused = waiting = 0
    for place, part in enumerate(_parts(operations, OPERATIONS_MAX), start=1):
        with replica.acting_as(job.user, pin=PIN):
            replica.record(*part)
        waiting += len(part)
        if place % SETS_IN_EXCHANGE == 0 or len(part) < OPERATIONS_MAX:
            refused += _synced(replica)
            if told is not None:
                told.put(waiting)
            waiting = 0
    refused += _synced(replica)
    if told is not None and waiting:
        told.put(waiting)
    return refused


def _synced(replica: Replica) -> int:
    return sum(verdict.status.value != "accepted" for _, verdict in replica.sync().verdicts)


def _bills(parties: Sequence[str], invoices: Sequence[str]) -> Iterator[Operation]:
    for number, party in enumerate(parties):
        yield RegisterParty(id=party, name=f"Account {number}")
    for number, (party, invoice) in enumerate(zip(parties, invoices, strict=True)):
        lines = [InvoiceLine(text="everything", amount=BILL)]
        yield IssueInvoice(id=invoice, party=party, title=f"Bill {number}", lines=lines, currency=CURRENCY)


def _payments(job: Job, invoices: Sequence[str]) -> Iterator[Operation]:
    """Round by round, each with an amount of its own: no payment looks like one of the minute before."""
    for turn in range(max(job.each, job.first)):
        amount = f"{turn // PENCE + 1}.{turn % PENCE:02}"
        payers = invoices if turn < min(job.each, job.first) else invoices[:1] if turn < job.first else invoices[1:]
        for number, invoice in enumerate(payers):
            reference = f"{turn}-{number}"
            yield TakePayment(invoice=invoice, amount=amount, currency=CURRENCY, method="card", reference=reference)


def _parts(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    part: list[Row] = []
    for row in rows:
        part.append(row)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
