"""Whether something comes before or after the facts about it, the same rows are left, whatever the facts are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from sync.engine.stubs import stub_id
from sync.kernel.changeset import Fields, Operation, RowKey
from sync.kernel.ids import derived_id
from sync.modules.billing import TakePayment
from sync.modules.commerce import (
    AssignDispatch,
    CompleteDelivery,
    CompletePack,
    FailDelivery,
    PickLine,
    PlaceOrder,
    ReturnDelivery,
    ShortPick,
    StartDelivery,
    StartPick,
)
from sync.modules.commerce.operations import OrderLine
from tests.support.town_in_memory import MarketTown, MemoryDevice, found_market_town

ORDER, DISPATCH = derived_id("law", "order"), derived_id("law", "dispatch")
SAME = {"order", "dispatch", "payment", "fulfilment", "stock_level"}
"""Entities whose rows must not tell what came first."""

Fact = tuple[str, int, int]
"""What, how much of which product, and on which device."""
Make = Callable[[MarketTown, int], Operation]

ABOUT_THE_ORDER: Mapping[str, Make] = {
    "start": lambda _town, _size: StartPick(order=ORDER),
    "pick": lambda town, size: PickLine(order=ORDER, product=goods(town, size), quantity=size),
    "short": lambda town, size: ShortPick(order=ORDER, product=goods(town, size), quantity=size),
    "pack": lambda _town, size: CompletePack(order=ORDER, parcels=size),
    "pay": lambda _town, size: TakePayment(
        id=derived_id("pay", size), order=ORDER, amount=f"{size}.25", currency="KES" if size < 5 else "GBP"
    ),
    "return": lambda _town, _size: ReturnDelivery(order=ORDER),
}
ABOUT_THE_DISPATCH: Mapping[str, Make] = {
    "depart": lambda _town, _size: StartDelivery(dispatch=DISPATCH),
    "deliver": lambda _town, size: CompleteDelivery(dispatch=DISPATCH, received_by=str(size)),
    "fail": lambda _town, size: FailDelivery(dispatch=DISPATCH, reason=str(size)),
}


def facts(kinds: Mapping[str, Make]) -> st.SearchStrategy[list[Fact]]:
    one = st.tuples(st.sampled_from(sorted(kinds)), st.integers(1, 5), st.integers(0, 1))
    return st.lists(one, min_size=1, max_size=12)


def goods(town: MarketTown, size: int) -> str:
    return (town.tea, town.rice)[size % 2]


def place(town: MarketTown) -> None:
    """The tablet of the shop, which reports when it likes."""
    lines = [OrderLine(product=product, quantity=3, price="3.00") for product in (town.tea, town.rice)]
    order = PlaceOrder(id=ORDER, number="1", warehouse=town.warehouse, customer_name="c", lines=lines)
    town.does(town.tablet, town.picker, order)


def assign(town: MarketTown) -> None:
    town.office(AssignDispatch(id=DISPATCH, order=ORDER, driver=town.driver_a))


def live(
    said: Sequence[Fact], kinds: Mapping[str, Make], arrive: Callable[[MarketTown], None], position: int
) -> MarketTown:
    """A town in which `arrive` happens after so many of the facts."""
    town = found_market_town(tea=4, rice=2)
    if arrive is assign:
        place(town)
    for number, (kind, size, where) in enumerate(said):
        if number == position:
            arrive(town)
        report(town, (town.van_a, town.van_b)[where], kinds[kind](town, size), number)
    if position >= len(said):
        arrive(town)
    return town


def report(town: MarketTown, device: MemoryDevice, operation: Operation, number: int) -> None:
    actor = town.driver_a if device is town.van_a else town.driver_b
    named = operation.model_copy(update={"id": derived_id("fact", number)})
    town.does(device, actor, named)


def rows(town: MarketTown) -> dict[RowKey, Fields]:
    return {key: stored.fields for key, stored in town.rows.items() if key[0] in SAME}


def money(town: MarketTown) -> int:
    return sum(row["amount_minor"] for row in town.rows_of("payment").values())


@given(facts(ABOUT_THE_ORDER), st.integers(0, 12))
@settings(max_examples=150, deadline=None)
def test_an_order_may_come_before_or_after_the_facts_about_it(said: list[Fact], position: int) -> None:
    first = live(said, ABOUT_THE_ORDER, place, 0)
    later = live(said, ABOUT_THE_ORDER, place, position)

    assert rows(later) == rows(first)
    assert money(later) == money(first)


@given(facts(ABOUT_THE_DISPATCH), st.integers(0, 12))
@settings(max_examples=150, deadline=None)
def test_a_dispatch_may_come_before_or_after_the_facts_about_it(said: list[Fact], position: int) -> None:
    first = live(said, ABOUT_THE_DISPATCH, assign, 0)
    later = live(said, ABOUT_THE_DISPATCH, assign, position)

    assert rows(later) == rows(first)


@given(facts(ABOUT_THE_ORDER))
@settings(max_examples=50, deadline=None)
def test_cash_is_on_the_books_before_the_order_comes(said: list[Fact]) -> None:
    waiting = live(said, ABOUT_THE_ORDER, lambda _town: None, 0)

    assert money(waiting) == money(live(said, ABOUT_THE_ORDER, place, 0))
    assert waiting.row("stub", stub_id("order", ORDER))["state"] == "waiting"
