"""A delivery that turns out not to have been: history stays, and the goods are on the van again."""

from __future__ import annotations

from sync.kernel.changeset import Fields
from sync.kernel.draft import Draft
from sync.modules.commerce import cases, stock
from sync.modules.commerce.dispatch import check_tour
from sync.modules.commerce.operations import CorrectDelivery
from sync.modules.commerce.orders import change, gather_stock, give_credit

ATTEMPTS_MAX = 10
"""Attempts to deliver an order after which a device's correction moves nothing: each one books every line anew."""


def correct(operation: CorrectDelivery, draft: Draft) -> None:
    """Take back what `delivery.complete` of this dispatch has done to order and stock; money that was taken stays."""
    dispatch = draft.need("dispatch", operation.dispatch)
    order_id = dispatch["order_id"]
    order = draft.need("order", order_id)
    check_tour(operation, draft, dispatch, order)
    if order["custody"] != "customer" or order["dispatch_id"] != operation.dispatch:
        if draft.context.is_server:  # in the office nothing has happened yet, and a conflict may be resolved by this
            raise draft.refuse(cases.NOT_DELIVERED, number=order["number"])
        draft.adjust(cases.NOTHING_TO_CORRECT, operation, subject=("order", order_id), number=order["number"])
        return
    if order["attempts"] >= ATTEMPTS_MAX and not draft.context.is_server:
        draft.adjust(
            cases.CORRECTED_TOO_OFTEN,
            operation,
            subject=("order", order_id),
            said={"operation": operation.op, "reason": operation.reason, "at": draft.claimed_at},
            had={"status": order["status"], "delivered_at": order["delivered_at"]},
            outcome="stays delivered",
            number=order["number"],
            count=order["attempts"],
        )
        return
    draft.update("dispatch", operation.dispatch, state="FAILED", note=operation.reason)
    change(draft, order_id, custody="undelivered", note=operation.reason)
    _take_to_stock(operation, draft, order_id)
    give_credit(draft, operation, order_id)
    draft.adjust(
        cases.DELIVERY_CORRECTED,
        operation,
        subject=("order", order_id),
        said={"operation": operation.op, "reason": operation.reason, "at": draft.claimed_at},
        had={"status": order["status"], "delivered_at": order["delivered_at"]},
        outcome="not delivered; the goods are on the van",
        number=order["number"],
        reason=operation.reason,
    )


def _take_to_stock(operation: CorrectDelivery, draft: Draft, order_id: str) -> None:
    """What had left the stock with the delivery is on hand again, and promised to this order."""
    order = draft.need("order", order_id)
    gather_stock(draft, order)
    lines: list[Fields] = []
    for line in order["lines"]:
        quantity = line["quantity"] - line["short"]
        stock.move(
            draft,
            operation,
            order["warehouse_id"],
            line["product_id"],
            on_hand=quantity,
            reserved=quantity,
            reason="delivery corrected",
            order=order_id,
        )
        lines.append({**line, "reserved": quantity})
    draft.update("order", order_id, lines=lines, delivered_at=None, attempts=order["attempts"] + 1)
