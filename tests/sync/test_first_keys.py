"""What is loaded before the first fold: with it, everyday batches are folded once, however long they are."""

from __future__ import annotations

from sync.engine.town import Submitted, TownHead, first_keys, step
from sync.kernel.changeset import ChangeSet, Operation
from sync.kernel.ids import derived_id
from sync.modules import registry
from sync.modules.catalogue import DefineProduct, OfferProduct, product_id, town_product_id
from sync.modules.commerce import PickLine, PlaceOrder, ReceiveStock
from sync.modules.commerce.entities import fulfilment_id, stock_level_id
from sync.modules.commerce.operations import OrderLine

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
