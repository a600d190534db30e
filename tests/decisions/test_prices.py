"""Who wins over a price: what the customer was told stands, and nothing changes it silently."""

from __future__ import annotations

from sync.modules.catalogue import OfferProduct
from sync.modules.commerce import AmendOrder, PlaceOrder
from sync.modules.commerce.operations import OrderLine
from tests.support.decisions import ACCEPTED, Left, adjusted, money, told
from tests.support.town_in_memory import MarketTown


def from_the_tablet(town: MarketTown, *prices: str | None) -> PlaceOrder:
    """An order that was taken on the tablet, one piece of tea a line."""
    lines = [OrderLine(product=town.tea, quantity=1, price=price) for price in prices]
    return PlaceOrder(id=town.new_id(), number="77", warehouse=town.warehouse, customer_name="Zoë", lines=lines)


def test_orders_priced_by_list_leaves_somebody_to_ask_what_a_device_has_promised(town: MarketTown) -> None:
    order = from_the_tablet(town, None, "2.00", None)

    answered = town.does(town.tablet, town.picker, order)

    assert told(town, answered) == adjusted(
        "orders.priced_by_list",
        Left(
            kind="price_unsaid",
            sentence="Order 77 came without a price in 2 of its lines; the price list of now counts.",
            about=("order", order.id),
            by="order.place",
            said={"prices": None},
            had={"prices_minor": [300, 300]},
            outcome="total 8.00 KES",
            task="Order 77: make sure that the customer was told 8.00 KES",
        ),
    )
    assert money(town, order.id) == (800, 0, 0)


def test_a_price_that_was_told_stands_whatever_the_list_says_later(town: MarketTown) -> None:
    shown = from_the_tablet(town, None).as_shown(town.row)
    town.office(OfferProduct(product=town.tea, price="9.00"))

    assert told(town, town.does(town.tablet, town.picker, shown)) == ACCEPTED
    assert money(town, shown.id) == (300, 0, 0)


def test_amended_lines_say_what_was_told_too(town: MarketTown) -> None:
    order = town.places()
    amended = AmendOrder(order=order, lines=[OrderLine(product=town.tea, quantity=2)])
    shown = amended.as_shown(town.row)
    town.office(OfferProduct(product=town.tea, price="9.00"))

    assert told(town, town.does(town.tablet, town.picker, shown)) == ACCEPTED
    assert money(town, order) == (600, 0, 0)


def test_a_price_that_the_device_does_not_show_is_left_to_the_server(town: MarketTown) -> None:
    order = from_the_tablet(town, None)
    assert order.as_shown(lambda _entity, _row_id: None) == order
