"""Stock: deltas add up in any order, and every change of a level is a movement beside it.

Nothing here sets a quantity; what a count corrects is a movement too (`shelf`, `counts`).
"""

from __future__ import annotations

from sync.kernel.changeset import Fields, Operation
from sync.kernel.draft import Draft
from sync.modules.commerce import cases, counts, shelf
from sync.modules.commerce.entities import stock_level_id
from sync.modules.commerce.operations import AdjustStock, OpenWarehouse, ReceiveStock, TransferStock
from sync.modules.commerce.shelf import Place


def open_warehouse(operation: OpenWarehouse, draft: Draft) -> None:
    """The warehouse's row."""
    draft.create("warehouse", operation.id, {"name": operation.name})


def receive(operation: ReceiveStock, draft: Draft) -> None:
    """Goods came in: on hand grows."""
    move(
        draft,
        operation,
        operation.warehouse,
        operation.product,
        on_hand=operation.quantity,
        reason=operation.reason or "received",
    )


def adjust(operation: AdjustStock, draft: Draft) -> None:
    """More or less was found: on hand changes by the difference, also below zero, which asks for a count."""
    move(
        draft,
        operation,
        operation.warehouse,
        operation.product,
        on_hand=operation.delta,
        reason=operation.reason or "adjusted",
    )


def transfer(operation: TransferStock, draft: Draft) -> None:
    """Two movements that add up to nothing."""
    if operation.source == operation.target:
        draft.adjust(cases.SAME_WAREHOUSE, operation, subject=("warehouse", operation.source))
        return
    move(draft, operation, operation.source, operation.product, on_hand=-operation.quantity, reason="transferred")
    move(draft, operation, operation.target, operation.product, on_hand=operation.quantity, reason="transferred")


def available(draft: Draft, warehouse: str, product: str) -> int | None:
    """What can still be promised, never below zero; None on a device that does not hold this stock."""
    level_id = stock_level_id(warehouse, product)
    if not draft.sees("stock_level", level_id):
        return None
    level = draft.get("stock_level", level_id)
    return max(0, level["on_hand"] - level["reserved"]) if level else 0


def move(
    draft: Draft,
    operation: Operation,
    warehouse: str,
    product: str,
    *,
    on_hand: int = 0,
    reserved: int = 0,
    reason: str,
    order: str | None = None,
) -> None:
    """Change a level by deltas and append the movement; a device that does not hold the stock shows nothing."""
    place = Place(warehouse=warehouse, product=product)
    if not (on_hand or reserved) or not draft.sees("stock_level", place.level_id):
        return
    before = shelf.level_of(draft, place)
    shelf.book(draft, place, on_hand=on_hand, reserved=reserved, reason=reason, order=order)
    if on_hand:
        counts.settle_late(draft, operation, place, on_hand)
    after = draft.need("stock_level", place.level_id)
    if after["on_hand"] < min(0, before["on_hand"]):
        _below_zero(draft, operation, place.level_id, before, after)


def _below_zero(draft: Draft, operation: Operation, level_id: str, before: Fields, after: Fields) -> None:
    product = draft.get("product", after["product_id"])
    draft.adjust(
        cases.STOCK_NEGATIVE,
        operation,
        subject=("stock_level", level_id),
        said={"delta": after["on_hand"] - before["on_hand"]},
        had={"on_hand": before["on_hand"]},
        outcome=f"on hand {after['on_hand']}",
        audience=f"warehouse:{after['warehouse_id']}",
        product=product["name"] if product else after["product_id"],
        on_hand=after["on_hand"],
    )
