"""What is loaded before the first fold: with it, everyday batches are folded once, however long they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sync.engine.feed import Stored
from sync.engine.town import Submitted, TownHead, first_keys, step
from sync.kernel.changeset import ChangeSet, Operation, RowKey
from sync.kernel.ids import derived_id
from sync.modules import registry
from sync.modules.catalogue import DefineProduct, OfferProduct, product_id, town_product_id
from sync.modules.commerce import AdjustStock, CompleteDelivery, PickLine, PlaceOrder, ReceiveStock
from sync.modules.commerce.cases import STOCK_NEGATIVE
from sync.modules.commerce.entities import fulfilment_id, stock_level_id
from sync.modules.commerce.operations import OrderLine
from tests.support.decisions import depart
from tests.support.town_in_memory import MarketTown, found_market_town

TOWN, DEVICE, WAREHOUSE, ORDER = (derived_id("test", name) for name in ("town", "device", "warehouse", "order"))
AT = "2026-11-21T08:15:02.114Z"
CUP = product_id("CUP")


def submitted(*operations: Operation) -> Submitted:
    """A line of the town itself."""
    change_set = ChangeSet(
        town=TOWN, device=DEVICE, seq=1, prev="", actor=DEVICE, base=0, epoch="", at=f"{AT}-0000", ops=operations
    )
    return Submitted(device=DEVICE, seq=1, line=b"", digest=bytes(32), change_set=change_set, is_server=True)


def test_a_batch_of_new_products_needs_no_second_load() -> None:
    products = [DefineProduct(id=derived_id("op", number), sku=f"P{number}", name="Cup") for number in range(100)]
    batch = [submitted(*products)]
    loaded = dict.fromkeys(first_keys(batch, registry()))

    made = step(TownHead(town=TOWN, epoch="", version=0, journal=bytes(32)), batch, loaded, registry(), AT)

    assert [answer.verdict.status.value for answer in made.answered] == ["accepted"]
    assert len(made.rows) == 100


def test_an_operation_says_which_rows_it_reads_under_natural_keys() -> None:
    level = ("stock_level", stock_level_id(WAREHOUSE, CUP))
    offer = OfferProduct(product=CUP, price="1.00")
    order = PlaceOrder(
        id=ORDER, number="1", warehouse=WAREHOUSE, customer_name="Cee", lines=[OrderLine(product=CUP, quantity=1)]
    )
    pick = PickLine(order=ORDER, product=CUP, quantity=1)

    keys = first_keys(
        [submitted(offer, order, pick, ReceiveStock(warehouse=WAREHOUSE, product=CUP, quantity=1))], registry()
    )

    assert keys >= {
        level,
        ("town_product", town_product_id(CUP)),
        ("fulfilment", fulfilment_id(ORDER)),
        ("order", ORDER),
    }


class CountedTown(MarketTown):
    """A market town that counts how often rows are loaded for the batches it decides."""

    loads = 0

    def load(self, keys: Iterable[RowKey]) -> Mapping[RowKey, Stored | None]:
        self.loads += 1
        return super().load(keys)


def test_a_delivery_that_empties_many_shelves_asks_for_what_is_said_of_them_at_once() -> None:
    town = CountedTown()
    found_market_town(town=town)
    goods = [product_id(f"P{number}") for number in range(12)]
    town.office(*(DefineProduct(sku=f"P{number}", name="Cup") for number in range(12)))
    town.office(*(OfferProduct(product=product, price="1.00") for product in goods))
    town.does(
        town.tablet,
        town.picker,
        *(ReceiveStock(warehouse=town.warehouse, product=product, quantity=3) for product in goods),
    )
    dispatch = depart(town, town.places(*((product, 3) for product in goods)))
    broken = (AdjustStock(warehouse=town.warehouse, product=product, delta=-3, reason="damaged") for product in goods)
    town.does(town.tablet, town.picker, *broken)
    town.loads = 0

    answer = town.does(town.van_a, town.driver_a, CompleteDelivery(dispatch=dispatch, received_by="Zoë"))

    assert len([note for note in answer.verdict.notes if note.code == STOCK_NEGATIVE.id]) == len(goods)
    assert town.loads < len(goods)
