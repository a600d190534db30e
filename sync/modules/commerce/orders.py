"""Orders: placing, amending, cancelling, and the one way in which an order's axes move.

Commercial, custody and payment are three axes; the displayed status follows from them by one table and is never set.
Law of the money: what was received is paid + credit, and paid is never more than what the order owes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sync.kernel.changeset import Fields, Intent, Operation
from sync.kernel.draft import Draft
from sync.kernel.errors import InvalidMoney
from sync.kernel.money import MINOR_MAX, to_amount, to_minor
from sync.modules.catalogue import town_product_id
from sync.modules.commerce import accounts, cases, prices, quotas, stock
from sync.modules.commerce.entities import (
    OFF_THE_SHELF,
    ON_THE_VAN,
    OPEN_DISPATCHES,
    custody_steps,
    displayed_status,
    is_void,
    stock_level_id,
)
from sync.modules.commerce.operations import AmendOrder, CancelOrder, OrderLine, PlaceOrder


def place(operation: PlaceOrder, draft: Draft) -> None:
    """Reserve what is there; a wish that asks for more is refused, a promise already made is oversold."""
    draft.gather([("town", draft.change_set.town), *operation.reads()])
    if not draft.context.is_server:
        draft.gather(operation.reads_on(draft.change_set.device))
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
        "archived_at": None,
    }
    draft.create("order", operation.id, order)
    _record_move(draft, operation.id, None, order)
    accounts.begin(draft, operation.id, order)
    _set_lines(draft, operation, operation.id, operation.lines)


def amend(operation: AmendOrder, draft: Draft) -> None:
    """Other lines: what was reserved is released and reserved anew."""
    order = need_open(draft, operation.order)
    if order["custody"] != "warehouse":
        raise draft.refuse(cases.ALREADY_PICKED, number=order["number"])
    release_all(draft, operation, operation.order)
    _set_lines(draft, operation, operation.order, operation.lines)


def cancel(operation: CancelOrder, draft: Draft) -> None:
    """Release what is reserved and call off the driver; goods off the shelf go back, goods on the van are recalled."""
    order = need_open(draft, operation.order)
    if (operation.by_customer or operation.unpaid_only) and order["custody"] != "warehouse":
        raise draft.refuse(cases.ALREADY_PICKED, number=order["number"])
    if operation.unpaid_only and order["payment"] != "unpaid":
        raise draft.refuse(cases.NOT_UNPAID, number=order["number"])
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
    give_credit(draft, operation, operation.order)
    draft.effect("customer.notify", order=operation.order, text=f"Order {order['number']} is cancelled.")


def need_open(draft: Draft, order_id: str) -> Fields:
    """The order, when it can still be changed; refuse otherwise."""
    order = draft.need("order", order_id)
    if order["custody"] == "customer":
        raise draft.refuse(cases.ALREADY_DELIVERED, number=order["number"])
    if order["custody"] == "returned":
        raise draft.refuse(cases.ALREADY_RETURNED, number=order["number"])
    if order["commercial"] != "active":
        raise draft.refuse(cases.ALREADY_CANCELLED, number=order["number"])
    return order


def change(draft: Draft, order_id: str, *, note: str = "", **axes: str) -> Fields:
    """Move the commercial or custody axis by one step and append the event; the displayed status follows."""
    before = draft.need("order", order_id)
    after = {**before, **axes}
    after["status"] = displayed_status(after["commercial"], after["custody"])
    draft.put("order", order_id, after)
    _record_move(draft, order_id, before, after, note=note)
    return after


def reach(draft: Draft, operation: Operation, order_id: str, target: str, *, note: str = "") -> None:
    """Move the goods on to `target`, filling in the steps that nobody reported; never down again.

    A late report of an earlier step attaches to what is there and moves nothing.
    """
    order = after = draft.need("order", order_id)
    steps = custody_steps(order["custody"], target)
    for custody in steps:
        before, is_implied = after, custody != target
        after = {**before, "custody": custody, "status": displayed_status(before["commercial"], custody)}
        after["attempts"] += custody == "undelivered"
        draft.put("order", order_id, after)
        _record_move(draft, order_id, before, after, is_implied=is_implied, note="" if is_implied else note)
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


def total(draft: Draft, order_id: str, lines: Iterable[Fields]) -> Fields:
    """Give the order these lines and what follows from them."""
    kept = list(lines)
    total_minor = sum((line["quantity"] - line["short"]) * line["price_minor"] for line in kept)
    if total_minor > MINOR_MAX:
        raise InvalidMoney("the order is larger than any order can be")
    return settle(draft, order_id, {**draft.need("order", order_id), "lines": kept, "total_minor": total_minor})


def settle(draft: Draft, order_id: str, order: Fields, *, payment: str | None = None) -> Fields:
    """Put what was received on what the order owes and the rest aside as credit, and tell the driver what is due.

    `payment` is the payment that has changed what was received. More may have been given back than was received: that
    is owed beside the order, as credit below zero.
    """
    void = is_void(order["commercial"], order["custody"])
    received = order["paid_minor"] + order["credit_minor"]
    paid = max(0, min(received, 0 if void else order["total_minor"]))
    axis = _payment_axis(order["total_minor"], paid, received - paid)
    after = {**order, "paid_minor": paid, "credit_minor": received - paid, "payment": axis}
    accounts.follow(draft, order_id, after, payment=payment)
    draft.put("order", order_id, after)
    dispatch = draft.get("dispatch", order["dispatch_id"]) if order["dispatch_id"] else None
    if dispatch and dispatch["state"] in OPEN_DISPATCHES:
        draft.update("dispatch", order["dispatch_id"], cod_due_minor=cod_due(after))
    return after


def cod_due(order: Fields) -> int:
    """What the driver has to collect."""
    due: int = order["total_minor"] - order["paid_minor"]
    return due if order["payment_method"] == "cod" else 0


def give_credit(draft: Draft, operation: Operation, order_id: str) -> None:
    """What was paid for an order that is cancelled is owed to the customer."""
    order = draft.need("order", order_id)
    after = settle(draft, order_id, order)
    freed = after["credit_minor"] - order["credit_minor"]
    if freed:
        currency = order["currency"]
        draft.adjust(
            cases.PAID_BEFORE_CANCEL,
            operation,
            subject=("order", order_id),
            said={"operation": operation.op},
            had={"paid_minor": order["paid_minor"]},
            outcome=f"credit {to_amount(after['credit_minor'], currency)} {currency}",
            number=order["number"],
            amount=to_amount(freed, currency),
            currency=currency,
        )


def _payment_axis(total: int, paid: int, credit: int) -> str:
    if credit > 0:
        return "in_credit"
    if paid >= total:
        return "paid"
    return "partly" if paid else "unpaid"


def _set_lines(draft: Draft, operation: AmendOrder | PlaceOrder, order_id: str, wanted: Sequence[OrderLine]) -> None:
    order = draft.need("order", order_id)
    is_wish = operation.intent_from(is_server=draft.context.is_server) is Intent.WISH
    lines = []
    oversold: list[tuple[str, int]] = []
    unsaid: list[Fields] = []
    for asked in wanted:
        product = draft.need("product", asked.product)
        given = 0
        if isinstance(operation, PlaceOrder):
            given = quotas.take(operation, draft, asked.product, product["name"], asked.quantity)
        free = stock.available(draft, order["warehouse_id"], asked.product)
        reserved = asked.quantity if free is None else min(asked.quantity, given + free)
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
            reserved=reserved - given,
            reason="reserved",
            order=order_id,
        )
        lines.append(_line(draft, order, asked, product, reserved))
        if asked.price is None and not draft.context.is_server:
            unsaid.append(lines[-1])
    total(draft, order_id, lines)
    if unsaid:
        _note_list_prices(draft, operation, order_id, unsaid)
    prices.compare(draft, operation, order_id, {(line["product_id"], line["price_minor"]) for line in order["lines"]})
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


def _note_list_prices(draft: Draft, operation: Operation, order_id: str, unsaid: Sequence[Fields]) -> None:
    """What a device told the customer is not known here, so the price list's word is not taken silently."""
    order = draft.need("order", order_id)
    amount = to_amount(order["total_minor"], order["currency"])
    draft.adjust(
        cases.PRICED_BY_LIST,
        operation,
        subject=("order", order_id),
        said={"prices": None},
        had={"prices_minor": [line["price_minor"] for line in unsaid]},
        outcome=f"total {amount} {order['currency']}",
        number=order["number"],
        lines=len(unsaid),
        total=amount,
        currency=order["currency"],
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
