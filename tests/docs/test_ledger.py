"""The examples of the ledger's page are done, and leave what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from sync.kernel.ids import derived_id
from sync.modules.billing import (
    CancelInvoice,
    FailPayment,
    PayOut,
    PayRefund,
    RequestCardPayment,
    RequestRefund,
    ReversePayment,
    VoidPayment,
)
from tests.support.counters import CounterTown, found_counter_town

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "ledger.md"


def examples() -> Iterator[tuple[str, dict[str, int]]]:
    """The name of each example, and the accounts that it leaves."""
    rows = PAGE.read_text().partition("| example |")[2].splitlines()[2:]
    for row in rows:
        name, _, left = (cell.strip() for cell in row.strip("|").split("|"))
        yield name, {part.split()[0]: int(part.split()[1]) for part in left.split(",")}


def twice(town: CounterTown, invoice: str) -> None:
    town.pays(invoice, "9.00")
    town.hears(town.asks(invoice=invoice))


def cancelled(town: CounterTown, invoice: str) -> None:
    town.office(CancelInvoice(invoice=invoice))
    town.pays(invoice, "9.00")


def tap(town: CounterTown, invoice: str) -> None:
    town.pays(invoice, "4.00")
    town.does(town.desk_a, town.clerk, town.payment(invoice, "4.00"))


def voided(town: CounterTown, invoice: str) -> None:
    town.does(town.desk_a, town.clerk, VoidPayment(payment=town.pays(invoice, "9.00")[0], reason="r"))


def late(town: CounterTown, invoice: str) -> None:
    payment = town.asks(invoice=invoice)
    town.does(town.server, town.server.id, FailPayment(payment=payment))
    town.hears(payment)


def reversed_again(town: CounterTown, invoice: str) -> None:
    payment = town.asks(invoice=invoice)
    town.hears(payment)
    town.does(town.server, town.server.id, ReversePayment(payment=payment, reference="R"))


def by_card(town: CounterTown, invoice: str) -> str:
    payment = RequestCardPayment(id=town.new_id(), invoice=invoice, amount="9.00", currency="KES")
    town.does(town.server, town.server.id, payment)
    town.hears(payment.id, reference="ch_1")
    return payment.id


def charged_back(town: CounterTown, invoice: str) -> None:
    back = ReversePayment(payment=by_card(town, invoice), reference="dp_1")
    town.does(town.server, town.server.id, back)


def agreed(town: CounterTown, invoice: str) -> tuple[str, str]:
    payment, _ = town.pays(invoice, "9.00")
    refund = RequestRefund(id=town.new_id(), payment=payment, amount="2.00", currency="KES", reason="r")
    town.does(town.desk_a, town.clerk, refund)
    return payment, refund.id


def given(town: CounterTown, invoice: str) -> None:
    payment, refund = agreed(town, invoice)
    town.does(town.desk_a, town.clerk, PayRefund(payment=payment, refund=refund, amount="2.00", currency="KES"))


def unasked(town: CounterTown, invoice: str) -> None:
    payment, _ = town.pays(invoice, "9.00")
    town.does(town.desk_a, town.clerk, PayRefund(payment=payment, amount="2.00", currency="KES"))


def short_day(town: CounterTown, invoice: str) -> None:
    drawer = town.opens("20.00")
    town.pays(invoice, "9.00")
    town.counts(drawer, "28.50")
    town.closes(drawer)


def by_transfer(town: CounterTown, invoice: str, amount: str = "9.00", reference: str = "TRF 1") -> None:
    town.pays(invoice, amount, method="bank", reference=reference)


def transfer_twice(town: CounterTown, invoice: str) -> None:
    by_transfer(town, invoice, "4.00")
    by_transfer(town, invoice, "4.00")


def paid_out(town: CounterTown, invoice: str) -> None:
    town.hears(town.asks(invoice=invoice))
    town.office(PayOut(method="momo", amount="8.80", fee="0.20", currency="KES", reference="FT 1"))


def paid_out_too_much(town: CounterTown, invoice: str) -> None:
    town.hears(town.asks(invoice=invoice))
    town.office(PayOut(method="momo", amount="10.00", currency="KES", reference="FT 1"))


def paid_then_cancelled(town: CounterTown, invoice: str) -> None:
    town.pays(invoice, "9.00")
    town.office(CancelInvoice(invoice=invoice))


DONE: Mapping[str, Callable[[CounterTown, str], object]] = {
    "issued": lambda _town, _invoice: None,
    "paid": lambda town, invoice: town.pays(invoice, "9.00"),
    "paid in part": lambda town, invoice: town.pays(invoice, "4.00"),
    "overpaid": lambda town, invoice: town.pays(invoice, "10.50"),
    "paid twice": twice,
    "cancelled, then paid": cancelled,
    "paid, then cancelled": paid_then_cancelled,
    "unknown invoice": lambda town, _invoice: town.pays(derived_id("another"), "4.00"),
    "double tap": tap,
    "voided": voided,
    "asked by mobile money": lambda town, invoice: town.asks(invoice=invoice),
    "confirmed late": late,
    "reversed by the provider": reversed_again,
    "paid by card online": by_card,
    "charged back": charged_back,
    "refund agreed": agreed,
    "refund paid": given,
    "given back unasked": unasked,
    "a day with a shortage": short_day,
    "paid by transfer": by_transfer,
    "one transfer recorded twice": transfer_twice,
    "paid out": paid_out,
    "more paid out than there was": paid_out_too_much,
}


def test_every_example_of_the_page_is_done() -> None:
    assert [name for name, _ in examples()] == list(DONE)


@pytest.mark.parametrize(("name", "left"), list(examples()), ids=[name for name, _ in examples()])
def test_an_example_leaves_what_the_page_says(name: str, left: dict[str, int]) -> None:
    town = found_counter_town()

    DONE[name](town, town.bills("9.00"))

    assert town.balances() == left
