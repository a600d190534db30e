"""Orders: placing, amending, cancelling, paying, and the one way in which an order's axes move.

Commercial, custody and payment are three axes; the displayed status follows from them by one table and is never set.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sync.kernel.changeset import Fields, Operation, RowKey
from sync.kernel.draft import Draft
from sync.kernel.errors import InvalidMoney
from sync.kernel.money import MINOR_MAX, to_amount, to_minor
from sync.modules.billing import TakePayment
from sync.modules.catalogue import town_product_id
from sync.modules.commerce import cases, stock
from sync.modules.commerce.entities import (
    CUSTODY_LADDER,
    OFF_THE_SHELF,
    ON_THE_VAN,
    displayed_status,
    stock_level_id,
)
from sync.modules.commerce.operations import AmendOrder, CancelOrder, OrderLine, PlaceOrder


def place(operation: PlaceOrder, draft: Draft) -> None:
    """Reserve what is there; a wish that asks for more is refused, a promise already made is oversold."""
    keys: list[RowKey] = [("town", draft.change_set.town)]
    for line in operation.lines:
        keys.append(("product", line.product))
        keys.append(("stock_level", stock_level_id(operation.warehouse, line.product)))
        if line.price is None:
            keys.append(("town_product", town_product_id(line.product)))
    draft.gather(keys)
    draft.need("warehouse", operation.warehouse)
    currency = draft.need("town", draft.change_set.town)["currency"]
    order: dict[str, Any] = {
        "number": operation.number,
        "warehouse_id": operation.warehouse,
        "customer_name": operation.customer_name,
        "phone": operation.phone,
        "address": operation.address,
        "lines": [],
        "currency": currency,
        "total_minor": 0,
        "paid_minor": 0,
        "credit_minor": 0,
        "payment_method": operation.payment_method,
        "commercial": "active",
        "custody": "warehouse",
        "payment": "unpaid",
        "status": "PLACED",
        "driver_id": None,
        "dispatch_id": None,
        "attempts": 0,
        "placed_at": draft.claimed_at,
        "delivered_at": None,
    }
    draft.create("order", operation.id, order)
    _record_move(draft, operation.id, None, order)
    _set_lines(draft, operation, operation.id, operation.lines)


def amend(operation: AmendOrder, draft: Draft) -> None:
    """Other lines: what was reserved is released and reserved anew."""
    order = draft.need("order", operation.order)
    _refuse_unless_open(draft, order)
    if order["custody"] != "warehouse":
        raise draft.refuse(cases.ALREADY_PICKED, number=order["number"])
    release_all(draft, operation, operation.order)
    _set_lines(draft, operation, operation.order, operation.lines)


def cancel(operation: CancelOrder, draft: Draft) -> None:
    """Release what is reserved and call off the driver; goods off the shelf go back, goods on the van are recalled."""
    order = draft.need("order", operation.order)
    _refuse_unless_open(draft, order)
    if order["custody"] in ON_THE_VAN:
        change(draft, operation.order, commercial="recall", note=operation.reason)
        draft.adjust(cases.RECALL_REQUESTED, operation, subject=("order", operation.order), number=order["number"])
        return
    release_all(draft, operation, operation.order)
    if order["dispatch_id"]:
        draft.update("dispatch", order["dispatch_id"], state="WITHDRAWN", note="order cancelled")
    change(draft, operation.order, commercial="cancelled", note=operation.reason)
    if order["custody"] in OFF_THE_SHELF:
        draft.adjust(
            cases.CANCELLED_WHILE_PICKING,
            operation,
            subject=("order", operation.order),
            said={"wish": "cancel", "reason": operation.reason},
            had={"status": order["status"]},
            outcome="cancelled; goods off the shelf",
            audience=f"warehouse:{order['warehouse_id']}",
            number=order["number"],
        )
    draft.effect("customer.notify", order=operation.order, text=f"Order {order['number']} is cancelled.")


def post_payment(operation: TakePayment, draft: Draft) -> None:
    """Cash taken for an order counts towards what it owes; what is beyond that becomes credit."""
    order = draft.need("order", operation.order)
    amount_minor = to_minor(operation.amount, operation.currency)
    data = {"number": order["number"], "amount": operation.amount, "currency": operation.currency}
    said = {"amount": operation.amount, "currency": operation.currency}
    subject = ("payment", operation.id)
    if operation.currency != order["currency"]:
        draft.adjust(
            cases.CURRENCY_MISMATCH,
            operation,
            subject=subject,
            said=said,
            had={"currency": order["currency"]},
            outcome="kept beside the order",
            wanted=order["currency"],
            **data,
        )
        return
    is_void = order["commercial"] == "cancelled" and order["custody"] != "customer"
    owed = 0 if is_void else max(0, order["total_minor"] - order["paid_minor"])
    excess = max(0, amount_minor - owed)
    paid = order["paid_minor"] + amount_minor - excess
    credit = order["credit_minor"] + excess
    after = draft.update(
        "order",
        operation.order,
        paid_minor=paid,
        credit_minor=credit,
        payment=_payment_axis(order["total_minor"], paid, credit),
    )
    if excess:
        draft.adjust(
            cases.PAID_AFTER_CANCEL if is_void else cases.OVERPAYMENT,
            operation,
            subject=subject,
            said=said,
            had={"total_minor": order["total_minor"], "paid_minor": order["paid_minor"]},
            outcome=f"credit {to_amount(after['credit_minor'], operation.currency)} {operation.currency}",
            excess=to_amount(excess, operation.currency),
            **data,
        )


def change(draft: Draft, order_id: str, *, note: str = "", **axes: str) -> Fields:
    """Move the commercial or custody axis by one step and append the event; the displayed status follows."""
    before = draft.need("order", order_id)
    after = {**before, **axes}
    after["status"] = displayed_status(after["commercial"], after["custody"])
    draft.put("order", order_id, after)
    _record_move(draft, order_id, before, after, note=note)
    return after


def reach(draft: Draft, operation: Operation, order_id: str, target: str, *, note: str = "") -> None:
    """Move the goods up the ladder to `target`, filling in the steps that nobody reported; never down again.

    A late report of an earlier step attaches to what is there and moves nothing.
    """
    order = draft.need("order", order_id)
    now = "ready" if order["custody"] == "undelivered" else order["custody"]
    if now not in CUSTODY_LADDER or CUSTODY_LADDER.index(now) >= CUSTODY_LADDER.index(target):
        return
    steps = CUSTODY_LADDER[CUSTODY_LADDER.index(now) + 1 : CUSTODY_LADDER.index(target) + 1]
    for custody in steps:
        before = draft.need("order", order_id)
        after = {**before, "custody": custody, "status": displayed_status(before["commercial"], custody)}
        draft.put("order", order_id, after)
        _record_move(draft, order_id, before, after, is_implied=custody != target, note=note)
    if len(steps) > 1:
        draft.adjust(
            cases.STATES_SKIPPED,
            operation,
            subject=("order", order_id),
            number=order["number"],
            status=after["status"],
            steps=", ".join(steps[:-1]),
        )


def release_all(draft: Draft, operation: Operation, order_id: str) -> None:
    """Give back everything the order still has reserved."""
    order = draft.need("order", order_id)
    gather_stock(draft, order)
    lines = []
    for line in order["lines"]:
        stock.move(
            draft,
            operation,
            order["warehouse_id"],
            line["product_id"],
            reserved=-line["reserved"],
            reason="released",
            order=order_id,
        )
        lines.append({**line, "reserved": 0})
    draft.update("order", order_id, lines=lines)


def gather_stock(draft: Draft, order: Fields) -> None:
    """Say that the stock of every line will be read."""
    warehouse = order["warehouse_id"]
    draft.gather(("stock_level", stock_level_id(warehouse, line["product_id"])) for line in order["lines"])


def totalled(order: Fields, lines: Iterable[Fields]) -> Fields:
    """The order with these lines and what follows from them; money paid beyond the new total becomes credit."""
    kept = list(lines)
    total = sum((line["quantity"] - line["short"]) * line["price_minor"] for line in kept)
    if total > MINOR_MAX:
        raise InvalidMoney("the order is larger than any order can be")
    excess = max(0, order["paid_minor"] - total)
    paid, credit = order["paid_minor"] - excess, order["credit_minor"] + excess
    return {
        **order,
        "lines": kept,
        "total_minor": total,
        "paid_minor": paid,
        "credit_minor": credit,
        "payment": _payment_axis(total, paid, credit),
    }


def _payment_axis(total: int, paid: int, credit: int) -> str:
    if credit:
        return "in_credit"
    if paid >= total:
        return "paid"
    return "partly" if paid else "unpaid"


def _refuse_unless_open(draft: Draft, order: Fields) -> None:
    if order["commercial"] != "active":
        raise draft.refuse(cases.ALREADY_CANCELLED, number=order["number"])
    if order["custody"] in {"customer", "returned"}:
        raise draft.refuse(cases.ALREADY_DELIVERED, number=order["number"])


def _set_lines(draft: Draft, operation: Operation, order_id: str, wanted: Iterable[OrderLine]) -> None:
    order = draft.need("order", order_id)
    is_wish = draft.context.is_server
    lines = []
    oversold: list[tuple[str, int]] = []
    for asked in wanted:
        product = draft.need("product", asked.product)
        free = stock.available(draft, order["warehouse_id"], asked.product)
        reserved = asked.quantity if free is None else min(asked.quantity, free)
        if reserved < asked.quantity and is_wish:
            raise draft.refuse(
                cases.INSUFFICIENT_STOCK, product=product["name"], available=reserved, wanted=asked.quantity
            )
        if reserved < asked.quantity:
            oversold.append((product["name"], asked.quantity - reserved))
        stock.move(
            draft,
            operation,
            order["warehouse_id"],
            asked.product,
            reserved=reserved,
            reason="reserved",
            order=order_id,
        )
        lines.append(_line(draft, order, asked, product, reserved))
    draft.put("order", order_id, totalled(order, lines))
    for name, missing in oversold:
        draft.adjust(
            cases.OVERSOLD,
            operation,
            subject=("order", order_id),
            said={"product": name, "promised": True},
            had={"missing": missing},
            outcome=f"{missing} backordered",
            audience=f"warehouse:{order['warehouse_id']}",
            number=order["number"],
            product=name,
            missing=missing,
        )


def _line(draft: Draft, order: Fields, asked: OrderLine, product: Fields, reserved: int) -> Fields:
    price_minor = _price(draft, order, asked)
    return {
        "product_id": asked.product,
        "sku": product["sku"],
        "name": product["name"],
        "quantity": asked.quantity,
        "price_minor": price_minor,
        "reserved": reserved,
        "picked": 0,
        "short": 0,
    }


def _price(draft: Draft, order: Fields, asked: OrderLine) -> int:
    if asked.price is not None:
        return to_minor(asked.price, order["currency"])
    entry = draft.need("town_product", town_product_id(asked.product))
    price_minor: int = entry["price_minor"]
    return price_minor


def _record_move(
    draft: Draft, order_id: str, before: Fields | None, after: Fields, *, is_implied: bool = False, note: str = ""
) -> None:
    draft.put(
        "order_status_event",
        draft.new_id("order_status_event"),
        {
            "order_id": order_id,
            "from_status": before["status"] if before else None,
            "to_status": after["status"],
            "from_custody": before["custody"] if before else None,
            "to_custody": after["custody"],
            "is_implied": is_implied,
            "actor_id": draft.change_set.actor,
            "device_id": draft.change_set.device,
            "claimed_at": draft.claimed_at,
            "received_at": draft.context.decided_at,
            "note": note,
        },
    )
