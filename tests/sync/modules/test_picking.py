"""Picking a big order: what it costs follows from the lines and the picks, not from one times the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from sync.engine.feed import Stored
from sync.kernel.changeset import RowKey
from sync.modules.catalogue import DefineProduct, OfferProduct, product_id
from sync.modules.commerce import PickLine, ReceiveStock, ShortPick
from tests.support.town_in_memory import MarketTown, found_market_town

LINES = 400
OPERATIONS = 100
LOOKS_EACH_MAX = 4


class CountedQuantity(int):
    """How many an order line asks for; counts how often anybody works out what is left of it."""

    looks = 0

    def __sub__(self, other: int) -> int:
        CountedQuantity.looks += 1
        return int(self) - other


def town_with_a_big_order() -> tuple[MarketTown, str]:
    town = found_market_town(tea=LINES)
    order = town.places(*[(town.tea, 1)] * LINES)
    stored = town.rows["order", order]
    lines = [{**line, "quantity": CountedQuantity(line["quantity"])} for line in stored.fields["lines"]]
    town.rows["order", order] = Stored(version=stored.version, fields={**stored.fields, "lines": lines})
    CountedQuantity.looks = 0
    return town, order


@pytest.mark.parametrize("kind", [PickLine, ShortPick])
def test_each_line_of_a_big_order_is_looked_at_a_few_times_however_many_picks_there_are(
    kind: type[PickLine | ShortPick],
) -> None:
    town, order = town_with_a_big_order()

    town.does(town.tablet, town.picker, *[kind(order=order, product=town.tea, quantity=1) for _ in range(OPERATIONS)])

    done = [line["picked"] + line["short"] for line in town.row("order", order)["lines"]]
    assert done == [1] * OPERATIONS + [0] * (LINES - OPERATIONS)
    assert CountedQuantity.looks <= LOOKS_EACH_MAX * (LINES + OPERATIONS)


def test_what_many_operations_need_is_asked_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    town = found_market_town()
    products = [product_id(f"SKU {number}") for number in range(20)]
    town.office(*(DefineProduct(sku=f"SKU {number}", name="Thing") for number in range(20)), actor=town.admin)
    town.office(*(OfferProduct(product=product, price="1.00") for product in products), actor=town.admin)
    stock = [ReceiveStock(warehouse=town.warehouse, product=product, quantity=5) for product in products]
    town.does(town.tablet, town.picker, *stock)
    order = town.places(*((product, 2) for product in products))
    asked: list[int] = []
    load = town.load

    def noting(keys: Iterable[RowKey]) -> Mapping[RowKey, Stored | None]:
        loaded = load(keys)
        asked.append(len(loaded))
        return loaded

    monkeypatch.setattr(town, "load", noting)
    missing = [ShortPick(order=order, product=product, quantity=1) for product in products]
    answered = town.does(town.tablet, town.picker, *missing)

    assert answered.verdict.status.value == "adjusted"
    assert (len(asked), asked[1]) == (2, len(products))
