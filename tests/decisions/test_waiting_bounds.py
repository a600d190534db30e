"""What facts about what has not come may take of a town, whoever sends how many of them, and that none is forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import orjson

from sync.engine.feed import Stored
from sync.engine.stubs import STUB_BYTES_MAX, STUB_OPERATIONS_MAX, stub_id
from sync.engine.town import step_loading
from sync.kernel.changeset import Operation, RowKey
from sync.kernel.clock import format_time
from sync.kernel.ids import derived_id
from sync.modules.billing import TakePayment
from sync.modules.commerce import AssignDispatch, CompleteDelivery, ExpireStub, PickLine, PlaceOrder, StartPick
from sync.modules.commerce.operations import OrderLine
from sync.modules.commerce.waiting import WAIT_HOURS
from tests.support.town_in_memory import MarketTown

ORDERS = [derived_id("late", number) for number in range(90)]
ROUNDS_MAX = 6
HOUR_MS = 3_600_000


def placed(town: MarketTown, order: str, lines: int = 1) -> PlaceOrder:
    line = OrderLine(product=town.tea, quantity=1, price="3.00")
    return PlaceOrder(id=order, number="1", warehouse=town.warehouse, customer_name="Zoë", lines=[line] * lines)


def rounds(town: MarketTown, *operations: Operation) -> int:
    """How often rows are loaded until the tablet's change set is decided."""
    loads: list[int] = []

    def load(keys: Iterable[RowKey]) -> Mapping[RowKey, Stored | None]:
        loads.append(1)
        return town.load(keys)

    line = town.line(town.tablet, town.picker, *operations)
    step_loading(town.head, [line], load, town.registry, format_time(town.now_ms))
    town.take([line])
    return len(loads)


def test_a_stub_keeps_what_waits_for_it_and_not_the_whole_change_set(town: MarketTown) -> None:
    facts = [StartPick(order=order) for order in ORDERS]

    town.does(town.tablet, town.picker, placed(town, town.new_id(), lines=400), *facts)

    sizes = [len(orjson.dumps(stub["facts"])) for stub in town.rows_of("stub").values()]
    assert len(sizes) == len(ORDERS)
    assert max(sizes) < 1_000


def test_facts_about_many_orders_and_the_orders_themselves_are_decided_in_a_few_rounds(town: MarketTown) -> None:
    assert rounds(town, *(StartPick(order=order) for order in ORDERS)) <= ROUNDS_MAX
    assert rounds(town, *(placed(town, order) for order in ORDERS)) <= ROUNDS_MAX
    assert {order["custody"] for order in town.rows_of("order").values()} == {"picking"}


def test_a_stub_holds_so_many_operations_however_few_the_change_sets_are(town: MarketTown) -> None:
    picks = [PickLine(order=ORDERS[0], product=town.tea, quantity=1)] * STUB_OPERATIONS_MAX

    verdicts = [town.does(town.tablet, town.picker, *picks).verdict.status.value for _ in range(2)]

    [stub] = town.rows_of("stub").values()
    assert (verdicts, len(stub["facts"])) == (["adjusted", "quarantined"], 1)
    assert len(orjson.dumps(stub["facts"])) < STUB_BYTES_MAX


def test_cash_that_comes_after_somebody_was_told_is_told_too(town: MarketTown) -> None:
    stub = stub_id("order", ORDERS[0])
    told = []
    for amount in ("9.00", "1.00"):
        town.does(town.van_a, town.driver_a, TakePayment(order=ORDERS[0], amount=amount, currency="KES"))
        town.now_ms += WAIT_HOURS * HOUR_MS
        told += [town.does(town.server, town.server.id, ExpireStub(stub=stub)) for _ in range(2)]

    sentences = [note.text for answered in told for note in answered.verdict.notes]
    assert [sentence.split(" were ")[0] for sentence in sentences] == ["9.00 KES", "10.00 KES"]


def test_cash_that_was_booked_at_once_is_not_expected_again_when_the_delivery_counts(town: MarketTown) -> None:
    order, dispatch = town.places(), derived_id("dispatch")
    part = TakePayment(order=order, amount="4.00", currency="KES")
    town.does(town.van_a, town.driver_a, CompleteDelivery(dispatch=dispatch), part)

    town.office(AssignDispatch(id=dispatch, order=order, driver=town.driver_a))

    assert [row["kind"] for row in town.rows_of("conflict").values()] == ["delivered_unpaid"]
