"""What `verify` finds although the journal gives it: rules that break the laws of stock, of goods and of money."""

from __future__ import annotations

from typing import Annotated, ClassVar

from sync.kernel.changeset import Intent, Operation
from sync.kernel.draft import Draft
from sync.kernel.ids import Id, derived_id
from sync.kernel.module import Module, ModuleKind, Ref, Registry
from sync.modules import registry
from sync.modules.commerce import PlaceOrder
from sync.modules.commerce.entities import stock_level_id
from sync.modules.commerce.operations import OrderLine
from tests.support.town_stores import TEA, memory_store


class Spirit(Operation):
    """An order goes on a van without a step, a piece comes without a movement, a cent without an entry."""

    op: ClassVar = "test.spirit"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = frozenset({"admin"})
    order: Annotated[Id, Ref(entity="order")]


def spirit(operation: Spirit, draft: Draft) -> None:
    """Break each law once."""
    order = draft.need("order", operation.order)
    draft.put("order", operation.order, {**order, "custody": "van", "paid_minor": 1})
    level_id = stock_level_id(order["warehouse_id"], TEA)
    level = draft.need("stock_level", level_id)
    draft.put("stock_level", level_id, {**level, "on_hand": level["on_hand"] + 1})


HAUNTED = Registry(
    [
        *registry().modules,
        Module(
            name="haunted",
            kind=ModuleKind.WORKFLOW,
            needs=frozenset({"commerce"}),
            operations=(Spirit,),
            rules={Spirit: (spirit,)},
        ),
    ]
)


async def test_a_rule_that_breaks_a_law_is_found_by_what_it_leaves() -> None:
    order = derived_id("order", "haunted")
    async with memory_store(HAUNTED) as store:
        await store.furnish()
        await store.receive(3)
        lines = [OrderLine(product=TEA, quantity=1)]
        place = PlaceOrder(id=order, number="1", warehouse=store.warehouse, customer_name="Grace", lines=lines)
        await store.author(store.admin, place)
        assert await store.findings() == []

        await store.author(store.admin, Spirit(order=order))

        level = "level 4 on hand, 1 reserved; movements give [3, 1], orders and quotas reserve 1"
        assert await store.findings() == [
            f"stock of product {TEA} in warehouse {store.warehouse}: {level}",
            f"order {order}: it says van, and its steps lead elsewhere",
            f"order {order}: it shows (1, 0) as paid and credit, the books say (0, 0)",
        ]
