"""Fulfilment: what is in the tote is in the tote, whatever became of the order meanwhile."""

from __future__ import annotations

from sync.kernel.changeset import Fields, Operation
from sync.kernel.draft import Draft
from sync.modules.commerce import cases, stock
from sync.modules.commerce.entities import fulfilment_id, is_void
from sync.modules.commerce.operations import CompletePack, PickLine, ShortPick, StartPick
from sync.modules.commerce.orders import reach, total

_Picking = StartPick | PickLine | ShortPick | CompletePack


def start(operation: StartPick, draft: Draft) -> None:
    """Picking has begun."""
    order = draft.need("order", operation.order)
    _fulfilment(draft, operation.order, order)
    if not _cancelled(operation, draft, order):
        reach(draft, operation, operation.order, "picking")


def pick(operation: PickLine, draft: Draft) -> None:
    """Goods are in the tote; those of a cancelled order, or more than it asks for, have to go back."""
    order = draft.need("order", operation.order)
    lines, left = _fill(order["lines"], operation.product, operation.quantity, "picked")
    wanted = sum(line["quantity"] for line in order["lines"] if line["product_id"] == operation.product)
    draft.update("order", operation.order, lines=lines)
    _fulfilment(draft, operation.order, order)
    if _cancelled(operation, draft, order):
        return
    if left:
        product = draft.get("product", operation.product)
        draft.adjust(
            cases.PICKED_TOO_MANY,
            operation,
            subject=("order", operation.order),
            said={"quantity": operation.quantity},
            had={"wanted": wanted},
            outcome=f"{left} beyond the order",
            audience=f"warehouse:{order['warehouse_id']}",
            number=order["number"],
            product=product["name"] if product else operation.product,
            picked=operation.quantity,
            wanted=wanted,
        )
    _progress(operation, draft, operation.order)


def short(operation: ShortPick, draft: Draft) -> None:
    """Goods were not there: release their reservation, shorten the line, have the shelf counted, tell the customer."""
    order = draft.need("order", operation.order)
    lines, left = _fill(order["lines"], operation.product, operation.quantity, "short")
    missing = operation.quantity - left
    _fulfilment(draft, operation.order, order)
    product = draft.get("product", operation.product)
    name = product["name"] if product else operation.product
    if not missing:
        subject = ("order", operation.order)
        draft.adjust(cases.NOTHING_SHORT, operation, subject=subject, number=order["number"], product=name)
        return
    total(draft, operation.order, _release_short(draft, operation, order, lines))
    draft.adjust(
        cases.SHORT_PICK,
        operation,
        subject=("order", operation.order),
        said={"missing": operation.quantity},
        had={"total_minor": order["total_minor"]},
        outcome=f"shortened by {missing}",
        audience=f"warehouse:{order['warehouse_id']}",
        number=order["number"],
        product=name,
        missing=missing,
    )
    draft.effect(
        "customer.notify", order=operation.order, text=f"Order {order['number']}: {missing} of {name} are missing."
    )
    if not _cancelled(operation, draft, order):
        _progress(operation, draft, operation.order)


def pack(operation: CompletePack, draft: Draft) -> None:
    """The parcels are closed; an order that already has a driver is ready for dispatch."""
    order = draft.need("order", operation.order)
    fulfilment = _fulfilment(draft, operation.order, order)
    packed = {**fulfilment, "parcels": operation.parcels, "state": "PACKED"}
    draft.put("fulfilment", fulfilment_id(operation.order), packed)
    if _cancelled(operation, draft, order):
        return
    reach(draft, operation, operation.order, "packed")
    if order["dispatch_id"] and draft.need("order", operation.order)["custody"] == "packed":
        reach(draft, operation, operation.order, "ready")


def _cancelled(operation: _Picking, draft: Draft, order: Fields) -> bool:
    """Leave the conflict when the order is cancelled, once per change set; the goods are recorded all the same."""
    if not is_void(order["commercial"], order["custody"]):
        return False
    subject = ("order", operation.order)
    told = [note.data["subject"] for note in draft.notes if note.code == cases.PICKED_AFTER_CANCEL.id]
    if list(subject) not in told:
        draft.adjust(
            cases.PICKED_AFTER_CANCEL,
            operation,
            subject=subject,
            said={"operation": operation.op},
            had={"commercial": "cancelled"},
            outcome="goods off the shelf",
            audience=f"warehouse:{order['warehouse_id']}",
            number=order["number"],
        )
    return True


def _fulfilment(draft: Draft, order_id: str, order: Fields) -> Fields:
    row_id = fulfilment_id(order_id)
    fulfilment = draft.get("fulfilment", row_id)
    if fulfilment is None:
        fulfilment = {
            "order_id": order_id,
            "warehouse_id": order["warehouse_id"],
            "picker_id": draft.change_set.actor,
            "parcels": 0,
            "state": "OPEN",
        }
        draft.put("fulfilment", row_id, fulfilment)
    return fulfilment


def _progress(operation: Operation, draft: Draft, order_id: str) -> None:
    """Picking has begun, and is complete when every piece is picked or short."""
    order = draft.need("order", order_id)
    if order["custody"] == "warehouse":
        reach(draft, operation, order_id, "picking")
    if all(line["picked"] + line["short"] >= line["quantity"] for line in order["lines"]):
        reach(draft, operation, order_id, "picked")
        fulfilment = draft.need("fulfilment", fulfilment_id(order_id))
        if fulfilment["state"] == "OPEN":
            draft.put("fulfilment", fulfilment_id(order_id), {**fulfilment, "state": "PICKED"})


def _fill(lines: list[Fields], product: str, quantity: int, what: str) -> tuple[list[Fields], int]:
    """Spread `quantity` over the lines of a product; also says how many no line asks for."""
    filled: list[Fields] = []
    left = quantity
    for line in lines:
        open_quantity = line["quantity"] - line["picked"] - line["short"]
        share = min(left, max(0, open_quantity)) if line["product_id"] == product else 0
        left -= share
        filled.append({**line, what: line[what] + share})
    return filled, left


def _release_short(draft: Draft, operation: ShortPick, order: Fields, lines: list[Fields]) -> list[Fields]:
    """A line keeps no more reserved than it can still be delivered.

    When the delivery was known first, it took the missing pieces out of the stock: they are booked back.
    """
    is_delivered = order["custody"] == "customer"
    released: list[Fields] = []
    for before, line in zip(order["lines"], lines, strict=True):
        surplus = max(0, line["reserved"] - (line["quantity"] - line["short"]))
        stock.move(
            draft,
            operation,
            order["warehouse_id"],
            line["product_id"],
            on_hand=line["short"] - before["short"] if is_delivered else 0,
            reserved=-surplus,
            reason="short",
            order=operation.order,
        )
        released.append({**line, "reserved": line["reserved"] - surplus})
    return released
