"""The aggregates of billing, their natural keys, and who may hold which row.

A payment is written once; its `settlement`, under the payment's own id, says what became of it. An allocation and a
journal entry are written once too: what is undone is undone by another one.
"""

from __future__ import annotations

from sync.kernel.changeset import Fields
from sync.kernel.ids import derived_id
from sync.kernel.module import Entity, FieldKind

FREE, PARKED, OWED = "free", "parked", "owed"
"""Credit that pays what is owed by itself, and credit that waits for a person to say what it is;
and below zero, what was given back in a currency in which nothing was paid."""

OPEN_INVOICES = frozenset({"PENDING", "PARTIALLY_PAID"})
NOT_ARRIVED = frozenset({"PENDING", "FAILED", "EXPIRED"})
"""States of a payment in which there is no money yet."""

_TEXT, _INTEGER, _ID, _TIME, _JSON = (
    FieldKind.TEXT,
    FieldKind.INTEGER,
    FieldKind.ID,
    FieldKind.TIME,
    FieldKind.JSON,
)
_DEVICE = frozenset({"device"})
_LATER = ("invoice_id", "reference", "payer", "drawer_id")
"""Fields that payments of earlier rules have not."""


def party_id(source: str) -> str:
    """The party that owes for an order, or the account of a student; there is one."""
    return derived_id("party", source)


def invoice_id(order: str) -> str:
    """The invoice of an order; there is one."""
    return derived_id("invoice", order)


def credit_id(party: str, currency: str, kind: str = FREE) -> str:
    """What a party has been credited in a currency; there is one of each kind."""
    return derived_id("credit", party, currency, kind)


def till_id(holder: str) -> str:
    """Which drawer is open on a device, or in the hands of a person in the office; there is one."""
    return derived_id("till", holder)


def mark_id(kind: str, *parts: str) -> str:
    """The last payment that had this reference, or that looked like this."""
    return derived_id("payment_mark", kind, *parts)


def pay_out_id(method: str, currency: str, reference: str) -> str:
    """What a provider has paid out under a reference of the bank; there is one in each currency."""
    return derived_id("pay_out", method, currency, reference)


def report_id(drawer: str, number: int) -> str:
    """The Z report of a drawer session, or what was amended in it."""
    return derived_id("drawer_report", drawer, number)


def _of_device(row: Fields) -> tuple[str, ...]:
    return (f"device:{row['device_id']}",)


def _payment_projection(_bucket: str, row: Fields) -> Fields:
    return {name: value for name, value in row.items() if name not in _LATER or value is not None}


def _invoice_buckets(row: Fields) -> tuple[str, ...]:
    school = (f"school:{row['school_id']}",) if row["school_id"] else ()
    return (*school, "counter") if row["state"] in OPEN_INVOICES else school


def _drawer_projection(_bucket: str, row: Fields) -> Fields:
    """Who counts a drawer is not told what should be in it, not even once it is counted: they might count again."""
    return row if row["state"] == "CLOSED" else {**row, "expected": None}


ENTITIES = (
    Entity(
        name="party",
        plural="parties",
        fields={"kind": _TEXT, "name": _TEXT, "phone": _TEXT, "source_entity": _TEXT, "source_id": _ID},
    ),
    Entity(
        name="invoice",
        plural="invoices",
        fields={
            "party_id": _ID,
            "source_entity": _TEXT,
            "source_id": _ID,
            "school_id": _ID,
            "title": _TEXT,
            "lines": _JSON,
            "currency": _TEXT,
            "total_minor": _INTEGER,
            "paid_minor": _INTEGER,
            "remaining_minor": _INTEGER,
            "due_on": _TEXT,
            "state": _TEXT,
            "issued_at": _TIME,
        },
        bucket_kinds=frozenset({"counter", "school"}),
        buckets=_invoice_buckets,
        is_awaited=True,
    ),
    Entity(
        name="payment",
        plural="payments",
        fields={
            "order_id": _ID,
            "method": _TEXT,
            "amount_minor": _INTEGER,
            "currency": _TEXT,
            "taken_by": _ID,
            "device_id": _ID,
            "taken_at": _TIME,
            "status": _TEXT,
            "invoice_id": _ID,
            "reference": _TEXT,
            "payer": _TEXT,
            "drawer_id": _ID,
        },
        bucket_kinds=_DEVICE,
        buckets=_of_device,
        project=_payment_projection,
        is_append_only=True,
        is_awaited=True,
    ),
    Entity(
        name="settlement",
        plural="settlements",
        fields={
            "device_id": _ID,
            "order_id": _ID,
            "invoice_id": _ID,
            "status": _TEXT,
            "amount_minor": _INTEGER,
            "currency": _TEXT,
            "suspense_minor": _INTEGER,
            "allocated_minor": _INTEGER,
            "credited_minor": _INTEGER,
            "parked_minor": _INTEGER,
            "refunded_minor": _INTEGER,
            "is_parked": FieldKind.BOOLEAN,
            "reference": _TEXT,
            "reason": _TEXT,
            "changed_at": _TIME,
        },
        bucket_kinds=_DEVICE,
        buckets=_of_device,
    ),
    Entity(
        name="payment_event",
        plural="payment_events",
        fields={
            "payment_id": _ID,
            "operation": _TEXT,
            "from_status": _TEXT,
            "to_status": _TEXT,
            "amount_minor": _INTEGER,
            "currency": _TEXT,
            "reference": _TEXT,
            "reason": _TEXT,
            "actor_id": _ID,
            "device_id": _ID,
            "claimed_at": _TIME,
            "received_at": _TIME,
        },
        is_append_only=True,
    ),
    Entity(
        name="payment_mark",
        plural="payment_marks",
        fields={"payment_id": _ID, "actor_id": _ID, "at": _TIME, "seq": _INTEGER},
    ),
    Entity(
        name="allocation",
        plural="allocations",
        fields={
            "invoice_id": _ID,
            "payment_id": _ID,
            "party_id": _ID,
            "amount_minor": _INTEGER,
            "currency": _TEXT,
            "booked_at": _TIME,
        },
        is_append_only=True,
    ),
    Entity(
        name="credit",
        plural="credits",
        fields={"party_id": _ID, "kind": _TEXT, "name": _TEXT, "currency": _TEXT, "left_minor": _INTEGER},
        bucket_kinds=frozenset({"counter"}),
        buckets=lambda row: ("counter",) if row["left_minor"] > 0 else (),
    ),
    Entity(
        name="refund",
        plural="refunds",
        fields={
            "payment_id": _ID,
            "amount_minor": _INTEGER,
            "currency": _TEXT,
            "method": _TEXT,
            "reason": _TEXT,
            "state": _TEXT,
            "paid_minor": _INTEGER,
            "device_id": _ID,
            "requested_by": _ID,
            "requested_at": _TIME,
            "decided_by": _ID,
            "paid_by": _ID,
            "reference": _TEXT,
        },
        bucket_kinds=frozenset({"counter"}),
        buckets=lambda row: ("counter",) if row["state"] in {"REQUESTED", "APPROVED"} else (),
    ),
    Entity(
        name="till",
        plural="tills",
        fields={"device_id": _ID, "holder_id": _ID, "session_id": _ID},
        bucket_kinds=_DEVICE,
        buckets=_of_device,
    ),
    Entity(
        name="drawer_session",
        plural="drawer_sessions",
        fields={
            "device_id": _ID,
            "holder_id": _ID,
            "is_implied": FieldKind.BOOLEAN,
            "opening": _JSON,
            "expected": _JSON,
            "counted": _JSON,
            "differences": _JSON,
            "reports": _INTEGER,
            "state": _TEXT,
            "opened_at": _TIME,
            "counted_at": _TIME,
            "closed_at": _TIME,
            "closed_by": _ID,
            "closed_version": _INTEGER,
        },
        bucket_kinds=_DEVICE,
        buckets=_of_device,
        project=_drawer_projection,
    ),
    Entity(
        name="drawer_report",
        plural="drawer_reports",
        fields={
            "drawer_id": _ID,
            "device_id": _ID,
            "number": _INTEGER,
            "opening": _JSON,
            "expected": _JSON,
            "counted": _JSON,
            "differences": _JSON,
            "late_payment_id": _ID,
            "made_at": _TIME,
        },
        bucket_kinds=_DEVICE,
        buckets=_of_device,
        is_append_only=True,
    ),
    Entity(
        name="pay_out",
        plural="pay_outs",
        fields={
            "method": _TEXT,
            "amount_minor": _INTEGER,
            "fee_minor": _INTEGER,
            "currency": _TEXT,
            "reference": _TEXT,
            "booked_by": _ID,
            "booked_at": _TIME,
        },
        is_append_only=True,
    ),
    Entity(
        name="journal_entry",
        plural="journal_entries",
        fields={
            "account": _TEXT,
            "debit_minor": _INTEGER,
            "credit_minor": _INTEGER,
            "currency": _TEXT,
            "party_id": _ID,
            "invoice_id": _ID,
            "payment_id": _ID,
            "drawer_id": _ID,
            "device_id": _ID,
            "seq": _INTEGER,
            "claimed_at": _TIME,
            "booked_at": _TIME,
        },
        is_append_only=True,
    ),
)
