"""The laws of money by themselves: each finds what breaks it, and says where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from sync.engine.feed import Stored
from sync.kernel.changeset import RowKey
from sync.modules.billing import PayOut, TakePayment
from sync.modules.billing.audit import audit
from tests.support.counters import CounterTown, found_counter_town

Rows = dict[RowKey, Mapping[str, Any]]


def traded() -> tuple[CounterTown, dict[str, str]]:
    """An order that was overpaid, and an invoice that is paid in part."""
    town = found_counter_town()
    order, invoice = town.places(), town.bills("9.00")
    town.does(town.van_a, town.driver_a, TakePayment(order=order, amount="10.00", currency="KES"))
    payment, _ = town.pays(invoice, "4.00")
    town.office(PayOut(method="card", amount="3.00", fee="0.10", currency="KES", reference="FT 1"))
    return town, {"order": order, "invoice": invoice, "payment": payment, "drawer": town.drawer()}


def rows_of(town: CounterTown) -> Rows:
    """A copy to tamper with."""
    stored: dict[RowKey, Stored] = town.rows
    return {key: dict(row.fields) for key, row in stored.items()}


def first(rows: Rows, entity: str, **fields: object) -> RowKey:
    """A row of an entity that has these fields."""
    return next(key for key, row in rows.items() if key[0] == entity and fields.items() <= dict(row).items())


def change(rows: Rows, key: RowKey, **fields: object) -> None:
    """Other fields in a row."""
    rows[key] = {**rows[key], **fields}


def one_side(rows: Rows, names: Mapping[str, str]) -> None:
    key = first(rows, "journal_entry", payment_id=names["payment"], credit_minor=0)
    change(rows, key, debit_minor=rows[key]["debit_minor"] + 1)


def other_account(rows: Rows, names: Mapping[str, str]) -> None:
    change(rows, first(rows, "journal_entry", payment_id=names["payment"], credit_minor=0), account="bank")


def kept_more(rows: Rows, _names: Mapping[str, str]) -> None:
    change(rows, first(rows, "pay_out"), fee_minor=11)


FAULTS: dict[str, tuple[Callable[[Rows, Mapping[str, str]], object], str]] = {
    "an entry of one side only": (one_side, "books of change set"),
    "an entry on another account": (other_account, "drawer session {drawer}"),
    "an allocation that is gone": (
        lambda rows, names: rows.pop(first(rows, "allocation", invoice_id=names["invoice"])),
        "invoice {invoice}",
    ),
    "an invoice that says it is paid": (
        lambda rows, names: change(rows, ("invoice", names["invoice"]), remaining_minor=0),
        "invoice {invoice}",
    ),
    "an allocation above its payment": (
        lambda rows, names: change(
            rows, first(rows, "allocation", payment_id=names["payment"]), amount_minor=401, invoice_id=names["invoice"]
        ),
        "payment {payment}",
    ),
    "a payment that says it is in suspense": (
        lambda rows, names: change(rows, ("settlement", names["payment"]), suspense_minor=1),
        "payment {payment}",
    ),
    "a settlement without its payment": (
        lambda rows, names: rows.pop(("payment", names["payment"])),
        "payment {payment}",
    ),
    "a pay-out that is gone": (lambda rows, _names: rows.pop(first(rows, "pay_out")), "bank in KES"),
    "a pay-out with another fee": (kept_more, "fees in KES"),
    "a cent of credit": (lambda rows, _names: change(rows, first(rows, "credit"), left_minor=101), "credit:"),
    "a drawer that expects nothing": (
        lambda rows, names: change(rows, ("drawer_session", names["drawer"]), expected={"KES": 0}),
        "drawer session {drawer}",
    ),
    "an order that shows less": (
        lambda rows, names: change(rows, ("order", names["order"]), paid_minor=899),
        "order {order}",
    ),
}


def test_books_that_nobody_has_touched_add_up() -> None:
    town, _ = traded()

    assert audit(rows_of(town).items()) == []


@pytest.mark.parametrize(("tamper", "place"), FAULTS.values(), ids=FAULTS)
def test_the_audit_finds(tamper: Callable[[Rows, Mapping[str, str]], object], place: str) -> None:
    town, names = traded()
    rows = rows_of(town)

    tamper(rows, names)

    assert any(where.startswith(place.format(**names)) for where, _ in audit(rows.items()))
