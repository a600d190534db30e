"""Fulfilment: what is in the tote is in the tote, whatever became of the order meanwhile.

An order may have hundreds of lines and a change set a hundred picks of it: a pick finds its lines in a list that was
made once for all of them, and changes only those.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from sync.kernel.changeset import Fields, Operation
from sync.kernel.draft import Draft
from sync.modules.commerce import cases, stock
from sync.modules.commerce.entities import fulfilment_id, is_void
from sync.modules.commerce.operations import CompletePack, PickLine, ShortPick, StartPick
from sync.modules.commerce.orders import reach, settle

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
    sheet = _sheet(draft, operation.order, order)
    shares, left = sheet.shares(operation.product, operation.quantity)
    wanted = sheet.wanted.get(operation.product, 0)
    picked = {place: {**line, "picked": line["picked"] + share} for place, line, share in shares}
    draft.update("order", operation.order, lines=sheet.changed(picked))
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
    sheet = _sheet(draft, operation.order, order)
    shares, left = sheet.shares(operation.product, operation.quantity)
    missing = operation.quantity - left
    _fulfilment(draft, operation.order, order)
    product = draft.get("product", operation.product)
    name = product["name"] if product else operation.product
    if not missing:
        subject = ("order", operation.order)
        draft.adjust(cases.NOTHING_SHORT, operation, subject=subject, number=order["number"], product=name)
        return
    lines = sheet.changed(_release_short(draft, operation, order, shares))
    total_minor = order["total_minor"] - sum(share * line["price_minor"] for _, line, share in shares)
    settle(draft, operation.order, {**order, "lines": lines, "total_minor": total_minor})
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
            "archived_at": None,
        }
        draft.put("fulfilment", row_id, fulfilment)
    return fulfilment


def _progress(operation: Operation, draft: Draft, order_id: str) -> None:
    """Picking has begun, and is complete when every piece is picked or short."""
    order = draft.need("order", order_id)
    if order["custody"] == "warehouse":
        reach(draft, operation, order_id, "picking")
    if _sheet(draft, order_id, order).is_complete:
        reach(draft, operation, order_id, "picked")
        fulfilment = draft.need("fulfilment", fulfilment_id(order_id))
        if fulfilment["state"] == "OPEN":
            draft.put("fulfilment", fulfilment_id(order_id), {**fulfilment, "state": "PICKED"})


class _Sheet:
    """The lines of an order in the making, with a list by product of those that still want some."""

    def __init__(self, lines: list[Fields]) -> None:
        self.lines = lines
        self.wanted: dict[str, int] = {}
        self._open: dict[str, deque[int]] = {}
        for place, line in enumerate(lines):
            product = line["product_id"]
            self.wanted[product] = self.wanted.get(product, 0) + line["quantity"]
            if _open_quantity(line) > 0:
                self._open.setdefault(product, deque()).append(place)

    @property
    def is_complete(self) -> bool:
        """Whether every piece is picked or short."""
        return not self._open

    def shares(self, product: str, quantity: int) -> tuple[list[_Share], int]:
        """How `quantity` spreads over the lines of a product, in order; also says how many no line asks for."""
        shares: list[_Share] = []
        left = quantity
        for place in self._open.get(product, ()):
            if not left:
                break
            line = self.lines[place]
            share = min(left, _open_quantity(line))
            left -= share
            shares.append((place, line, share))
        return shares, left

    def changed(self, after: Mapping[int, Fields]) -> list[Fields]:
        """The lines with these in their places; the ones before stay as they are, somebody may still hold them."""
        self.lines = list(self.lines)
        for place, line in after.items():
            self.lines[place] = line
            places = self._open[line["product_id"]]
            if _open_quantity(line) <= 0:
                places.popleft()  # shares are given from the front
            if not places:
                del self._open[line["product_id"]]
        return self.lines


_Share = tuple[int, Fields, int]
"""The place of a line, the line, and how many pieces it takes."""


def _sheet(draft: Draft, order_id: str, order: Fields) -> _Sheet:
    key = ("order", order_id)
    sheet: _Sheet | None = draft.worked_out.get(key)
    if sheet is None or sheet.lines is not order["lines"]:
        sheet = draft.worked_out[key] = _Sheet(order["lines"])
    return sheet


def _open_quantity(line: Fields) -> int:
    left: int = line["quantity"] - line["picked"] - line["short"]
    return left


def _release_short(draft: Draft, operation: ShortPick, order: Fields, shares: list[_Share]) -> dict[int, Fields]:
    """A line keeps no more reserved than it can still be delivered.

    When the delivery was known first, it took the missing pieces out of the stock: they are booked back.
    """
    is_delivered = order["custody"] == "customer"
    after: dict[int, Fields] = {}
    for place, line, share in shares:
        short = line["short"] + share
        surplus = max(0, line["reserved"] - (line["quantity"] - short))
        stock.move(
            draft,
            operation,
            order["warehouse_id"],
            line["product_id"],
            on_hand=share if is_delivered else 0,
            reserved=-surplus,
            reason="short",
            order=operation.order,
        )
        after[place] = {**line, "short": short, "reserved": line["reserved"] - surplus}
    return after
