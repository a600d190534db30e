"""The lists about money: who owes, what was paid and became of it, what lies in drawers, which schools charge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from server.application.queries.listed import COUNTERS, OFFICE, SCHOOL_ONLY, Filter, List

METHODS: Final = ("cash", "card", "cod", "momo", "bank")
STATUSES: Final = ("PENDING", "CONFIRMED", "FAILED", "EXPIRED", "VOIDED", "REVERSED")

_BILLING: Mapping[str, List] = {
    "parties": List(
        entity="party",
        roles=COUNTERS,
        filters={"kind": Filter(field="kind"), "source": Filter(field="source_id")},
        orders=("name",),
    ),
    "invoices": List(
        entity="invoice",
        roles=COUNTERS | SCHOOL_ONLY,
        filters={
            "state": Filter(field="state", values=("PENDING", "PARTIALLY_PAID", "PAID", "CANCELLED")),
            "party": Filter(field="party_id"),
            "source": Filter(field="source_id"),
            "school": Filter(field="school_id"),
            "currency": Filter(field="currency"),
            "due_from": Filter(field="due_on", how="from"),
            "due_before": Filter(field="due_on", how="before"),
            "issued_from": Filter(field="issued_at", how="from"),
            "issued_before": Filter(field="issued_at", how="before"),
        },
        orders=("-issued_at", "total_minor", "remaining_minor"),
        of_school="school_id",
    ),
    "payments": List(
        entity="payment",
        roles=COUNTERS,
        filters={
            "method": Filter(field="method", values=METHODS),
            "invoice": Filter(field="invoice_id"),
            "order_id": Filter(field="order_id"),
            "drawer": Filter(field="drawer_id"),
            "device": Filter(field="device_id"),
            "taken_by": Filter(field="taken_by"),
            "taken_from": Filter(field="taken_at", how="from"),
            "taken_before": Filter(field="taken_at", how="before"),
        },
        orders=("-taken_at", "amount_minor"),
        hidden=frozenset({"status"}),
    ),
    "settlements": List(
        entity="settlement",
        roles=COUNTERS,
        filters={
            "status": Filter(field="status", values=STATUSES),
            "invoice": Filter(field="invoice_id"),
            "order_id": Filter(field="order_id"),
            "is_parked": Filter(field="is_parked"),
            "changed_from": Filter(field="changed_at", how="from"),
            "changed_before": Filter(field="changed_at", how="before"),
        },
        orders=("-changed_at", "amount_minor"),
    ),
    "credits": List(
        entity="credit",
        roles=COUNTERS,
        filters={
            "party": Filter(field="party_id"),
            "kind": Filter(field="kind", values=("free", "parked", "owed")),
            "currency": Filter(field="currency"),
        },
        orders=("-left_minor", "name"),
    ),
    "refunds": List(
        entity="refund",
        roles=COUNTERS,
        filters={
            "state": Filter(field="state", values=("REQUESTED", "APPROVED", "PAID", "REJECTED")),
            "payment": Filter(field="payment_id"),
            "method": Filter(field="method", values=("cash", "momo", "card", "bank")),
            "requested_by": Filter(field="requested_by"),
        },
        orders=("-requested_at", "amount_minor"),
    ),
    "pay-outs": List(
        entity="pay_out",
        roles=OFFICE,
        filters={
            "method": Filter(field="method", values=("momo", "card")),
            "currency": Filter(field="currency"),
            "reference": Filter(field="reference"),
            "booked_from": Filter(field="booked_at", how="from"),
            "booked_before": Filter(field="booked_at", how="before"),
        },
        orders=("-booked_at", "amount_minor"),
    ),
    "drawer-sessions": List(
        entity="drawer_session",
        roles=COUNTERS,
        filters={
            "state": Filter(field="state", values=("OPEN", "COUNTED", "CLOSED")),
            "device": Filter(field="device_id"),
            "holder": Filter(field="holder_id"),
            "opened_from": Filter(field="opened_at", how="from"),
            "opened_before": Filter(field="opened_at", how="before"),
        },
        orders=("-opened_at",),
    ),
}
_SCHOOLS: Mapping[str, List] = {
    "schools": List(entity="school", roles=COUNTERS | SCHOOL_ONLY, filters={}, orders=("name",), of_school="school_id"),
    "students": List(
        entity="student",
        roles=COUNTERS | SCHOOL_ONLY,
        filters={
            "school": Filter(field="school_id"),
            "class": Filter(field="class_name"),
            "number": Filter(field="number"),
            "state": Filter(field="state", values=("ACTIVE", "WITHDRAWN", "DELETED")),
        },
        orders=("name", "number", "class_name"),
        of_school="school_id",
    ),
    "fee-schedules": List(
        entity="fee_schedule",
        roles=OFFICE | SCHOOL_ONLY,
        filters={"school": Filter(field="school_id")},
        orders=("-issued_at", "title"),
        of_school="school_id",
    ),
}
MONEY_LISTS: Mapping[str, List] = {**_BILLING, **_SCHOOLS}
