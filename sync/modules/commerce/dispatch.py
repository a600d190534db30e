"""Dispatch and delivery: who shall take an order, and what the driver says happened. The driver's word is a fact."""

from __future__ import annotations

from sync.kernel.changeset import Fields, Operation
from sync.kernel.draft import Draft
from sync.kernel.module import Case
from sync.kernel.money import to_amount, to_minor
from sync.modules.billing import TakePayment
from sync.modules.commerce import cases, stock
from sync.modules.commerce.entities import IN_WAREHOUSE, OPEN_DISPATCHES, stock_level_id
from sync.modules.commerce.operations import (
    AssignDispatch,
    CompleteDelivery,
    FailDelivery,
    ReassignDispatch,
    ReturnDelivery,
    StartDelivery,
    WithdrawDispatch,
)
from sync.modules.commerce.orders import (
    change,
    cod_due,
    gather_stock,
    give_credit,
    need_open,
    reach,
    release_all,
    settle,
)

TOURS_SINCE = 2
"""The rules since which it is asked whose tour it is (`sync.kernel.draft.RULES`)."""


def assign(operation: AssignDispatch, draft: Draft) -> None:
    """Give an order that has no driver to one; a failed one is ready again."""
    order = need_open(draft, operation.order)
    if _has_open_dispatch(draft, order):
        raise draft.refuse(cases.ALREADY_ASSIGNED, number=order["number"])
    _give(operation, draft, operation.order, operation.driver)


def reassign(operation: ReassignDispatch, draft: Draft) -> None:
    """Take the order from its driver and give it to another."""
    order = need_open(draft, operation.order)
    if not _has_open_dispatch(draft, order):
        raise draft.refuse(cases.NOT_ASSIGNED, number=order["number"])
    draft.update("dispatch", order["dispatch_id"], state="WITHDRAWN", note="given to another driver")
    _give(operation, draft, operation.order, operation.driver)


def withdraw(operation: WithdrawDispatch, draft: Draft) -> None:
    """Take the order off the driver's tour."""
    dispatch = draft.need("dispatch", operation.dispatch)
    order = need_open(draft, dispatch["order_id"])
    if dispatch["state"] not in OPEN_DISPATCHES:
        raise draft.refuse(cases.NOT_ASSIGNED, number=order["number"])
    draft.update("dispatch", operation.dispatch, state="WITHDRAWN", note="withdrawn")
    if order["dispatch_id"] == operation.dispatch:
        draft.update("order", dispatch["order_id"], dispatch_id=None, driver_id=None)


def start(operation: StartDelivery, draft: Draft) -> None:
    """The goods are on the van, also when the dispatch had been withdrawn."""
    dispatch = draft.need("dispatch", operation.dispatch)
    order_id = dispatch["order_id"]
    order = draft.need("order", order_id)
    check_tour(operation, draft, dispatch, order)
    if order["custody"] in {"customer", "returned"}:
        return  # a late report of a step that the delivery or the return has already implied
    if dispatch["state"] == "WITHDRAWN":
        _conflict(
            operation,
            draft,
            cases.STARTED_AFTER_WITHDRAWAL,
            order_id,
            order,
            had={"dispatch": "WITHDRAWN", "commercial": order["commercial"]},
            outcome="goods on the van",
        )
        if order["driver_id"] is None:
            draft.update("order", order_id, driver_id=dispatch["driver_id"])  # who has the goods must see the job
        if order["commercial"] == "cancelled":
            settle(draft, order_id, change(draft, order_id, commercial="recall"))
    else:
        now = {"state": "OUT_FOR_DELIVERY", "attempt": _attempt(dispatch), "cod_due_minor": cod_due(order)}
        draft.update("dispatch", operation.dispatch, **now)
    reach(draft, operation, order_id, "van")


def complete(operation: CompleteDelivery, draft: Draft) -> None:
    """The goods are with the customer. That is so; what else was known is adjusted around it."""
    dispatch = draft.need("dispatch", operation.dispatch)
    order_id = dispatch["order_id"]
    order = draft.need("order", order_id)
    check_tour(operation, draft, dispatch, order)
    if order["custody"] == "customer":
        _deliver_again(operation, draft, dispatch, order)
        return
    if order["commercial"] != "active":
        _conflict(
            operation,
            draft,
            cases.DELIVERED_AFTER_CANCEL,
            order_id,
            order,
            had={"commercial": order["commercial"], "status": order["status"]},
            outcome="delivered; the cancellation is overtaken",
        )
    if order["custody"] == "returned":
        _conflict(
            operation,
            draft,
            cases.DELIVERED_AFTER_RETURN,
            order_id,
            order,
            had={"custody": "returned", "status": order["status"]},
            outcome="delivered; the return is overtaken",
        )
    _call_off_rival(operation, draft, order_id, order)
    draft.update(
        "dispatch", operation.dispatch, state="DELIVERED", note=operation.received_by, attempt=_attempt(dispatch)
    )
    reach(draft, operation, order_id, "customer", note=operation.received_by)
    draft.update(
        "order",
        order_id,
        dispatch_id=operation.dispatch,
        driver_id=dispatch["driver_id"],
        delivered_at=draft.claimed_at,
    )
    _take_from_stock(operation, draft, order_id)
    settle(draft, order_id, draft.need("order", order_id))
    _check_collected(operation, draft, order_id)


def fail(operation: FailDelivery, draft: Draft) -> None:
    """The customer does not have the goods; an order that is delivered stays delivered."""
    dispatch = draft.need("dispatch", operation.dispatch)
    order_id = dispatch["order_id"]
    order = draft.need("order", order_id)
    check_tour(operation, draft, dispatch, order)
    if order["custody"] == "customer":
        _fail_after_delivery(operation, draft, dispatch, order)
        return
    if order["custody"] == "returned":
        draft.update("dispatch", operation.dispatch, note=operation.reason)  # the return has implied the failure
        return
    state = dispatch["state"] if dispatch["state"] == "WITHDRAWN" else "FAILED"
    draft.update("dispatch", operation.dispatch, state=state, note=operation.reason, attempt=_attempt(dispatch))
    other = order["dispatch_id"]
    rival = draft.get("dispatch", other) if other and other != operation.dispatch else None
    if rival and rival["state"] == "OUT_FOR_DELIVERY":
        draft.adjust(cases.FAILED_ELSEWHERE, operation, subject=("order", order_id), number=order["number"])
        return
    reach(draft, operation, order_id, "undelivered", note=operation.reason)


def check_tour(operation: Operation, draft: Draft, dispatch: Fields, order: Fields) -> None:
    """Leave a conflict when a driver's device reports about what is on another driver's tour."""
    if draft.context.is_server or draft.context.rules < TOURS_SINCE:
        return
    device = draft.get("device", draft.change_set.device)
    if device is None or device["role"] != "driver" or device["user_id"] == dispatch["driver_id"]:
        return
    owner = draft.get("user", device["user_id"])
    _conflict(
        operation,
        draft,
        cases.NOT_ON_TOUR,
        dispatch["order_id"],
        order,
        had={"driver_id": dispatch["driver_id"]},
        outcome="recorded",
        name=owner["name"] if owner else device["user_id"],
    )


def take_back(operation: ReturnDelivery, draft: Draft) -> None:
    """The warehouse has the goods again: only now are they free to sell. A recall is fulfilled by it."""
    order = draft.need("order", operation.order)
    if order["custody"] == "customer":
        _conflict(
            operation,
            draft,
            cases.RETURNED_AFTER_DELIVERY,
            operation.order,
            order,
            had={"status": order["status"]},
            outcome="goods in the warehouse, not booked",
        )
        return
    release_all(draft, operation, operation.order)
    if order["custody"] == "returned":
        return
    if _has_open_dispatch(draft, order):
        draft.update("dispatch", order["dispatch_id"], state="FAILED", note="came back to the warehouse")
    if order["commercial"] == "cancelled" and order["custody"] in IN_WAREHOUSE:
        change(draft, operation.order, custody="returned")  # put back from the tote: it never left the house
        return
    reach(draft, operation, operation.order, "returned")
    if order["commercial"] == "recall":
        change(draft, operation.order, commercial="cancelled")
        give_credit(draft, operation, operation.order)


def _attempt(dispatch: Fields) -> int:
    """Whatever a driver reports after a failed attempt is the next one."""
    attempt: int = dispatch["attempt"]
    return attempt + 1 if dispatch["state"] == "FAILED" else attempt


def _has_open_dispatch(draft: Draft, order: Fields) -> bool:
    dispatch = draft.get("dispatch", order["dispatch_id"]) if order["dispatch_id"] else None
    return dispatch is not None and dispatch["state"] in OPEN_DISPATCHES


def _give(operation: AssignDispatch | ReassignDispatch, draft: Draft, order_id: str, driver_id: str) -> None:
    driver = draft.need("user", driver_id)
    if not driver["is_active"] or "driver" not in driver["roles"]:
        raise draft.refuse(cases.NOT_A_DRIVER, name=driver["name"])
    order = draft.need("order", order_id)
    row = {
        "order_id": order_id,
        "driver_id": driver_id,
        "attempt": order["attempts"] + 1,
        "cod_due_minor": cod_due(order),
        "currency": order["currency"],
        "state": "ASSIGNED",
        "note": "",
        "archived_at": None,
    }
    draft.create("dispatch", operation.id, row)
    draft.update("order", order_id, dispatch_id=operation.id, driver_id=driver_id)
    if order["custody"] in {"packed", "undelivered"}:
        change(draft, order_id, custody="ready")


def _call_off_rival(operation: CompleteDelivery, draft: Draft, order_id: str, order: Fields) -> None:
    other = order["dispatch_id"]
    if not other or other == operation.dispatch:
        return
    rival = draft.get("dispatch", other)
    if rival and rival["state"] in OPEN_DISPATCHES:
        draft.update("dispatch", other, state="WITHDRAWN", note="delivered by another driver")
    draft.adjust(cases.DELIVERED_BY_OTHER, operation, subject=("order", order_id), number=order["number"])


def _fail_after_delivery(operation: FailDelivery, draft: Draft, dispatch: Fields, order: Fields) -> None:
    order_id = dispatch["order_id"]
    is_other = order["dispatch_id"] != operation.dispatch
    if is_other:
        state = "FAILED" if dispatch["state"] in OPEN_DISPATCHES else dispatch["state"]
        draft.update("dispatch", operation.dispatch, state=state, note=operation.reason)
    if is_other and draft.claimed_at <= order["delivered_at"]:
        draft.adjust(cases.FAILED_ELSEWHERE, operation, subject=("order", order_id), number=order["number"])
        return
    _conflict(
        operation,
        draft,
        cases.FAILED_AFTER_DELIVERY,
        order_id,
        order,
        had={"status": order["status"], "delivered_at": order["delivered_at"]},
        outcome="stays delivered",
    )


def _deliver_again(operation: CompleteDelivery, draft: Draft, dispatch: Fields, order: Fields) -> None:
    order_id = dispatch["order_id"]
    if dispatch["state"] != "DELIVERED":
        draft.update("dispatch", operation.dispatch, note="reported delivered after another had delivered")
    _conflict(
        operation,
        draft,
        cases.DUPLICATE_DELIVERY,
        order_id,
        order,
        had={"delivered_at": order["delivered_at"], "driver_id": order["driver_id"]},
        outcome="kept as an attempt",
    )


def _take_from_stock(operation: CompleteDelivery, draft: Draft, order_id: str) -> None:
    """What was handed over leaves the stock, and what was still reserved for it is free."""
    order = draft.need("order", order_id)
    gather_stock(draft, order)
    _gather_products(draft, order)
    lines = []
    for line in order["lines"]:
        stock.move(
            draft,
            operation,
            order["warehouse_id"],
            line["product_id"],
            on_hand=-(line["quantity"] - line["short"]),
            reserved=-line["reserved"],
            reason="delivered",
            order=order_id,
        )
        lines.append({**line, "reserved": 0})
    draft.update("order", order_id, lines=lines)


def _gather_products(draft: Draft, order: Fields) -> None:
    """What is said of a shelf that runs below nothing has its product's name.

    Were each one asked for when it is found, a batch would be decided as often as it has such shelves.
    """
    warehouse, products = order["warehouse_id"], [line["product_id"] for line in order["lines"]]
    draft.gather(
        ("product", product) for product in products if draft.sees("stock_level", stock_level_id(warehouse, product))
    )


def _check_collected(operation: CompleteDelivery, draft: Draft, order_id: str) -> None:
    """What is due and not in the driver's hands, not even by a later operation of the same change set."""
    order = draft.need("order", order_id)
    due = cod_due(order) - _still_coming(operation, draft, order_id, order["currency"])
    if due > 0:
        _conflict(
            operation,
            draft,
            cases.DELIVERED_UNPAID,
            order_id,
            order,
            had={"total_minor": order["total_minor"], "paid_minor": order["paid_minor"]},
            outcome="delivered, unpaid",
            audience=f"driver:{order['driver_id']}",
            due=to_amount(due, order["currency"]),
            currency=order["currency"],
        )


def _still_coming(operation: CompleteDelivery, draft: Draft, order_id: str, currency: str) -> int:
    operations = draft.change_set.ops
    later = operations[operations.index(operation) + 1 :]
    payments = [op for op in later if isinstance(op, TakePayment) and (op.order, op.currency) == (order_id, currency)]
    return sum(to_minor(payment.amount, currency) for payment in payments)


def _conflict(
    operation: Operation,
    draft: Draft,
    case: Case,
    order_id: str,
    order: Fields,
    *,
    had: Fields,
    outcome: str,
    audience: str = "",
    **data: str,
) -> None:
    draft.adjust(
        case,
        operation,
        subject=("order", order_id),
        said={"operation": operation.op, "at": draft.claimed_at},
        had=had,
        outcome=outcome,
        audience=audience,
        number=order["number"],
        **data,
    )
