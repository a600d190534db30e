"""What was decided by earlier rules is decided again as it was: a journal says by which rules each entry was made."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sync.engine.feed import Stored
from sync.engine.town import Submitted, step
from sync.kernel.changeset import RowKey
from sync.kernel.clock import format_time
from sync.kernel.draft import RULES
from sync.kernel.ids import derived_id
from sync.modules.billing import RequestPayment, RequestRefund, TakePayment
from sync.modules.billing.audit import audit
from sync.modules.billing.entities import invoice_id
from sync.modules.commerce import CancelOrder, FailDelivery, PlaceOrder, ReceiveStock
from sync.modules.commerce.operations import OrderLine
from tests.support.decisions import depart, money
from tests.support.town_in_memory import MarketTown

CASH = TakePayment(order=derived_id("late"), amount="1.00", currency="KES")


class Known(dict[RowKey, Stored | None]):
    """Rows of which those that are not here are nowhere."""

    def __missing__(self, key: RowKey) -> None:
        return None


OLD_RULES: list[tuple[str, Callable[[MarketTown], Submitted], tuple[str, str | None]]] = [
    (
        "facts do not wait",
        lambda town: town.line(
            town.van_a, town.driver_a, TakePayment(order=derived_id("late"), amount="1.00", currency="KES")
        ),
        ("quarantined", "engine.unknown_reference"),
    ),
    (
        "nobody asks whose tour it is",
        lambda town: town.line(town.van_b, town.driver_b, FailDelivery(dispatch=depart(town, town.places()))),
        ("accepted", None),
    ),
    (
        "the office does not mix",
        lambda town: town.line(
            town.server,
            town.admin,
            CancelOrder(order=town.places()),
            ReceiveStock(warehouse=town.warehouse, product=town.tea, quantity=1),
        ),
        ("refused", "people.mixed_intents"),
    ),
    (
        "nobody compares prices",
        lambda town: town.line(
            town.tablet,
            town.picker,
            PlaceOrder(
                id=town.new_id(),
                number="7",
                warehouse=town.warehouse,
                customer_name="c",
                lines=[OrderLine(product=town.tea, quantity=1, price="0.10")],
            ),
        ),
        ("accepted", None),
    ),
]


@pytest.mark.parametrize(("make", "expected"), [case[1:] for case in OLD_RULES], ids=[case[0] for case in OLD_RULES])
def test_what_was_decided_by_the_first_rules_is_decided_again_as_it_was(
    town: MarketTown, make: Callable[[MarketTown], Submitted], expected: tuple[str, str | None]
) -> None:
    line = make(town)
    known = Known({**town.rows, **town.versions})

    by_first, by_these = (
        step(town.head, [line], known, town.registry, format_time(town.now_ms), rules=rules).answered[0].verdict
        for rules in (1, RULES)
    )

    assert (by_first.status.value, by_first.rule) == expected
    assert (by_these.status.value, by_these.rule) != expected


def decided_by(town: MarketTown, rules: int, *lines: Submitted) -> None:
    """Leave the town as the release of these rules would have left it."""
    for line in lines:
        made = step(
            town.head,
            [line],
            Known({**town.rows, **town.versions}),
            town.registry,
            format_time(town.now_ms),
            rules=rules,
        )
        town.rows.update({(row.entity, row.row_id): Stored(version=0, fields=row.after) for row in made.rows})


def order(town: MarketTown, order_id: str) -> PlaceOrder:
    """Three packets of tea, 9.00."""
    lines = [OrderLine(product=town.tea, quantity=3)]
    return PlaceOrder(id=order_id, number=order_id[:4], warehouse=town.warehouse, customer_name="c", lines=lines)


def taken(town: MarketTown, order_id: str, amount: str) -> Submitted:
    """Cash on the van."""
    return town.line(town.van_a, town.driver_a, TakePayment(order=order_id, amount=amount, currency="KES"))


def test_money_of_before_there_were_books_comes_into_them_when_it_is_next_touched(town: MarketTown) -> None:
    known, late = town.new_id(), derived_id("late")
    decided_by(town, 2, town.line(town.server, town.admin, order(town, known)), taken(town, known, "10.00"))
    decided_by(town, 2, taken(town, late, "4.00"))
    assert town.rows_of("journal_entry") == {}

    town.office(order(town, late))
    town.office(CancelOrder(order=known))

    assert audit((key, stored.fields) for key, stored in town.rows.items()) == []
    opening = [row["debit_minor"] for row in town.rows_of("journal_entry").values() if row["account"] == "opening"]
    assert sorted(opening) == [400, 1000]
    assert (money(town, late), money(town, known)) == ((900, 400, 0), (900, 0, 1000))


def test_an_invoice_was_asked_for_twice_at_once_by_the_rules_of_before(town: MarketTown) -> None:
    invoice = invoice_id(town.places())
    asked = [
        RequestPayment(id=town.new_id(), invoice=invoice, amount="1.00", currency="KES", payer="254700000001")
        for _ in range(2)
    ]

    decided_by(town, 3, *(town.line(town.server, town.server.id, one) for one in asked))

    assert [town.row("settlement", one.id)["status"] for one in asked] == ["PENDING", "PENDING"]


def test_what_was_kept_beside_an_order_before_there_were_books_can_be_given_back(town: MarketTown) -> None:
    order_id = town.new_id()
    abroad = TakePayment(id=town.new_id(), order=order_id, amount="4.00", currency="GBP")
    decided_by(town, 2, town.line(town.server, town.admin, order(town, order_id)), taken(town, order_id, "9.00"))
    decided_by(town, 2, town.line(town.van_a, town.driver_a, abroad))
    back = {"payment": abroad.id, "currency": "GBP", "reason": "abroad"}
    town.office(TakePayment(order=order_id, amount="1.00", currency="KES"))

    answered = town.office(RequestRefund.model_validate({**back, "id": town.new_id(), "amount": "4.00"}))

    assert answered.verdict.status.has_effect
