"""Who wins over a price: what the customer was told stands, and nothing changes it silently."""

from __future__ import annotations

from sync.engine.town import Answered
from sync.kernel.ids import derived_id
from sync.modules.billing.ledger import signed
from sync.modules.catalogue import OfferProduct
from sync.modules.commerce import AmendOrder, PlaceOrder
from sync.modules.commerce.operations import OrderLine
from sync.modules.commerce.prices import DAY_MS
from sync.modules.identity import ChangeSettings
from sync.modules.town_settings import TownSettings
from tests.support.decisions import ACCEPTED, Left, adjusted, money, noted, told
from tests.support.town_in_memory import MarketTown


def from_the_tablet(town: MarketTown, *prices: str | None) -> PlaceOrder:
    """An order that was taken on the tablet, one piece of tea a line."""
    lines = [OrderLine(product=town.tea, quantity=1, price=price) for price in prices]
    return PlaceOrder(id=town.new_id(), number="77", warehouse=town.warehouse, customer_name="Zoë", lines=lines)


def test_orders_priced_by_list_leaves_somebody_to_ask_what_a_device_has_promised(town: MarketTown) -> None:
    order = from_the_tablet(town, None, "3.00", None)

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
            outcome="total 9.00 KES",
            task="Order 77: make sure that the customer was told 9.00 KES",
        ),
    )
    assert money(town, order.id) == (900, 0, 0)


def test_a_price_that_was_told_stands_whatever_the_list_says_later(town: MarketTown) -> None:
    shown, base = from_the_tablet(town, None).as_shown(town.row), town.version
    town.office(OfferProduct(product=town.tea, price="9.00"))

    town.does(town.tablet, town.picker, shown, base=base)

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


def changed_behind_its_back(town: MarketTown, price: str, *, days: int = 0) -> tuple[PlaceOrder, Answered]:
    """The tablet sells two pieces of tea for 3.00 each, days after the list says `price`, of which it has not heard."""
    base = town.version
    town.office(OfferProduct(product=town.tea, price=price))
    town.now_ms += days * DAY_MS
    order = from_the_tablet(town, "3.00", "3.00")
    return order, town.does(town.tablet, town.picker, order, base=base)


def booked(town: MarketTown) -> dict[str, int]:
    """Debit less credit of sales and of price differences."""
    sums = {"sales": 0, "price_difference": 0}
    for entry in town.rows_of("journal_entry").values():
        if entry["account"] in sums:
            sums[entry["account"]] += signed(entry)
    return sums


def test_payments_price_honoured_and_the_difference_is_booked(town: MarketTown) -> None:
    order, answered = changed_behind_its_back(town, "4.50")

    assert told(town, answered) == noted(
        "payments.price_honoured",
        "Prices of order 77 have changed since the customer was told; what was told stands, and 3.00 KES are booked as "
        "the difference.",
    )
    assert (money(town, order.id), booked(town)) == ((600, 0, 0), {"sales": -900, "price_difference": 300})


def test_payments_price_difference_beyond_what_the_town_takes_for_granted(town: MarketTown) -> None:
    order, answered = changed_behind_its_back(town, "14.00")

    assert told(town, answered) == adjusted(
        "payments.price_difference",
        Left(
            kind="price_difference",
            sentence="Prices of order 77 had changed by 22.00 KES when the customer was told others; what was told "
            "stands.",
            about=("order", order.id),
            by="order.place",
            said={"prices": ["3.00", "3.00"]},
            had={"prices_minor": [1400, 1400]},
            outcome="what was told stands",
            task="Order 77: find out why 22.00 KES less than the list was asked for",
        ),
    )
    assert money(town, order.id) == (600, 0, 0)


def test_payments_price_difference_after_the_towns_grace_period(town: MarketTown) -> None:
    town.office(ChangeSettings(settings=TownSettings(price_grace_days=2)), actor=town.admin)

    rules = [
        changed_behind_its_back(town, price, days=days)[1].verdict.rule for price, days in (("3.10", 2), ("3.20", 3))
    ]

    assert rules == ["payments.price_honoured", "payments.price_difference"]


def test_a_price_that_was_offered_again_as_it_was_has_not_changed(town: MarketTown) -> None:
    assert told(town, changed_behind_its_back(town, "3.00")[1]) == ACCEPTED


def test_payments_price_unlisted_is_told_and_booked(town: MarketTown) -> None:
    order = from_the_tablet(town, "2.50", "3.00")

    answered = town.does(town.tablet, town.picker, order)

    assert told(town, answered) == noted(
        "payments.price_unlisted",
        "Order 77 has prices that are not those of the list, which the device knew: they differ by 0.50 KES; what was "
        "told stands.",
    )
    assert (money(town, order.id), booked(town)) == ((550, 0, 0), {"sales": -600, "price_difference": 50})


def test_payments_price_made_up_leaves_somebody_to_ask(town: MarketTown) -> None:
    order = from_the_tablet(town, "30.00", "3.00")

    answered = town.does(town.tablet, town.picker, order)

    assert told(town, answered) == adjusted(
        "payments.price_made_up",
        Left(
            kind="price_made_up",
            sentence="Order 77 has prices that are not those of the list, which the device knew: they differ by 27.00 "
            "KES, which is more than nobody asks about; what was told stands.",
            about=("order", order.id),
            by="order.place",
            said={"prices": ["30.00"]},
            had={"prices_minor": [300]},
            outcome="what was told stands",
            task="Order 77: ask who took it why its prices differ from the list by 27.00 KES",
        ),
    )
    assert money(town, order.id) == (3300, 0, 0)


def test_prices_that_were_made_up_both_ways_do_not_make_up_for_each_other(town: MarketTown) -> None:
    town.office(ChangeSettings(settings=TownSettings(price_difference_units_max=3)), actor=town.admin)

    answered = town.does(town.tablet, town.picker, from_the_tablet(town, "1.00", "5.00"))

    assert answered.verdict.rule == "payments.price_made_up"
    assert booked(town) == {"sales": -600, "price_difference": 0}


def test_a_price_that_is_made_up_when_lines_are_amended_is_told_as_well(town: MarketTown) -> None:
    order = town.places()
    lines = [OrderLine(product=town.tea, quantity=3, price="0.10")]

    answered = town.does(town.tablet, town.picker, AmendOrder(order=order, lines=lines))

    assert (answered.verdict.rule, money(town, order)) == ("payments.price_unlisted", (30, 0, 0))


def test_the_office_sells_at_whatever_price_it_says(town: MarketTown) -> None:
    assert told(town, town.office(from_the_tablet(town, "0.10"))) == ACCEPTED


def test_a_price_of_a_list_that_was_lost_with_its_epoch_is_nobodys_invention(town: MarketTown) -> None:
    epoch, town.epoch = town.epoch, derived_id("the epoch before")
    line = town.line(town.tablet, town.picker, from_the_tablet(town, "0.10"))
    town.epoch = epoch

    assert told(town, town.take([line]).answered[0]) == ACCEPTED
