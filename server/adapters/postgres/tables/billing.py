"""Tables of `sync.modules.billing`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from server.adapters.postgres.tables.base import UUID, TownRow, datetime, json, moment, whole


class Party(TownRow, table=True):
    """Who owes, or is owed."""

    __tablename__ = "parties"
    kind: str
    name: str
    phone: str
    source_entity: str | None
    source_id: UUID | None


class Invoice(TownRow, table=True):
    """What a party owes for something, and what is paid on it."""

    __tablename__ = "invoices"
    __table_args__ = (
        Index("invoices_party_idx", "town_id", "party_id", "issued_at", "id"),
        Index(
            "invoices_school_idx",
            *("town_id", "school_id", "issued_at", "id"),
            postgresql_where=text("school_id IS NOT NULL"),
        ),
        Index("invoices_listing_idx", "town_id", "issued_at", "id"),
        Index(
            "invoices_due_idx",
            "town_id",
            "due_on",
            postgresql_where="state IN ('PENDING', 'PARTIALLY_PAID') AND due_on IS NOT NULL",
        ),
    )
    party_id: UUID
    source_entity: str | None
    source_id: UUID | None
    school_id: UUID | None
    title: str
    lines: list[dict[str, Any]] = json()
    currency: str
    total_minor: int = whole()
    paid_minor: int = whole()
    remaining_minor: int = whole()
    due_on: str | None
    state: str
    issued_at: datetime = moment()


class Payment(TownRow, table=True):
    """Money that was taken, or asked for; never changed."""

    __tablename__ = "payments"
    __table_args__ = (
        Index("payments_order_idx", "town_id", "order_id"),
        Index("payments_invoice_idx", "town_id", "invoice_id"),
        Index("payments_listing_idx", "town_id", "taken_at", "id"),
    )
    order_id: UUID | None
    method: str
    amount_minor: int = whole()
    currency: str
    taken_by: UUID
    device_id: UUID
    taken_at: datetime = moment()
    status: str
    invoice_id: UUID | None
    reference: str | None
    payer: str | None
    drawer_id: UUID | None


class Settlement(TownRow, table=True):
    """What became of a payment; it has the payment's id."""

    __tablename__ = "settlements"
    __table_args__ = (
        Index("settlements_status_idx", "town_id", "status", "changed_at", "id"),
        Index("settlements_order_idx", "town_id", "order_id"),
    )
    device_id: UUID
    order_id: UUID | None
    invoice_id: UUID | None
    status: str
    amount_minor: int = whole()
    currency: str
    suspense_minor: int = whole()
    allocated_minor: int = whole()
    credited_minor: int = whole()
    parked_minor: int = whole()
    refunded_minor: int = whole()
    is_parked: bool
    reference: str
    reason: str
    changed_at: datetime = moment()


class PaymentEvent(TownRow, table=True):
    """One step of a payment; never changed."""

    __tablename__ = "payment_events"
    __table_args__ = (Index("payment_events_payment_idx", "town_id", "payment_id"),)
    payment_id: UUID
    operation: str
    from_status: str
    to_status: str
    amount_minor: int = whole()
    currency: str
    reference: str
    reason: str
    actor_id: UUID
    device_id: UUID
    claimed_at: datetime = moment()
    received_at: datetime = moment()


class PaymentMark(TownRow, table=True):
    """The last payment that had a reference, or that looked like this."""

    __tablename__ = "payment_marks"
    payment_id: UUID
    actor_id: UUID
    at: datetime = moment()
    seq: int = whole()


class Allocation(TownRow, table=True):
    """What came to an invoice out of a payment or of credit, or went back; never changed."""

    __tablename__ = "allocations"
    __table_args__ = (
        Index("allocations_invoice_idx", "town_id", "invoice_id"),
        Index("allocations_payment_idx", "town_id", "payment_id"),
    )
    invoice_id: UUID
    payment_id: UUID | None
    party_id: UUID
    amount_minor: int = whole()
    currency: str
    booked_at: datetime = moment()


class Credit(TownRow, table=True):
    """What a party has paid beyond what it owed, in one currency."""

    __tablename__ = "credits"
    __table_args__ = (Index("credits_party_idx", "town_id", "party_id"),)
    party_id: UUID
    kind: str
    name: str
    currency: str
    left_minor: int = whole()


class Refund(TownRow, table=True):
    """What is given back of a payment."""

    __tablename__ = "refunds"
    __table_args__ = (
        Index("refunds_payment_idx", "town_id", "payment_id"),
        Index("refunds_state_idx", "town_id", "state", "requested_at", "id"),
    )
    payment_id: UUID
    amount_minor: int = whole()
    currency: str
    method: str
    reason: str
    state: str
    paid_minor: int = whole()
    device_id: UUID
    requested_by: UUID
    requested_at: datetime = moment()
    decided_by: UUID | None
    paid_by: UUID | None
    reference: str


class Till(TownRow, table=True):
    """Which drawer is in use where."""

    __tablename__ = "tills"
    device_id: UUID
    holder_id: UUID
    session_id: UUID


class DrawerSession(TownRow, table=True):
    """A drawer from its float to its Z report; sums are minor units by currency."""

    __tablename__ = "drawer_sessions"
    __table_args__ = (Index("drawer_sessions_state_idx", "town_id", "state", "opened_at", "id"),)
    device_id: UUID
    holder_id: UUID
    is_implied: bool
    opening: dict[str, int] = json()
    expected: dict[str, int] = json()
    counted: dict[str, int] | None = Field(sa_type=JSONB, nullable=True)
    differences: dict[str, int] | None = Field(sa_type=JSONB, nullable=True)
    reports: int = whole()
    state: str
    opened_at: datetime = moment()
    counted_at: datetime | None = moment(nullable=True)
    closed_at: datetime | None = moment(nullable=True)
    closed_by: UUID | None
    closed_version: int | None = Field(sa_type=BigInteger)


class DrawerReport(TownRow, table=True):
    """The Z report of a drawer session, or what was amended in it; never changed."""

    __tablename__ = "drawer_reports"
    __table_args__ = (Index("drawer_reports_drawer_idx", "town_id", "drawer_id", "number"),)
    drawer_id: UUID
    device_id: UUID
    number: int = whole()
    opening: dict[str, int] = json()
    expected: dict[str, int] = json()
    counted: dict[str, int] = json()
    differences: dict[str, int] = json()
    late_payment_id: UUID | None
    made_at: datetime = moment()


class PayOut(TownRow, table=True):
    """What a provider had taken and has paid out to the bank; never changed."""

    __tablename__ = "pay_outs"
    __table_args__ = (Index("pay_outs_listing_idx", "town_id", "booked_at", "id"),)
    method: str
    amount_minor: int = whole()
    fee_minor: int = whole()
    currency: str
    reference: str
    booked_by: UUID
    booked_at: datetime = moment()


class JournalEntry(TownRow, table=True):
    """One side of the double entry of a change set; never changed.

    A trigger holds that the entries of a change set balance in each currency.
    """

    __tablename__ = "journal_entries"
    __table_args__ = (
        Index("journal_entries_version_idx", "town_id", "version"),
        Index("journal_entries_party_idx", "town_id", "party_id", "version", "id"),
    )
    account: str
    debit_minor: int = whole()
    credit_minor: int = whole()
    currency: str
    party_id: UUID | None
    invoice_id: UUID | None
    payment_id: UUID | None
    drawer_id: UUID | None
    device_id: UUID
    seq: int = whole()
    claimed_at: datetime = moment()
    booked_at: datetime = moment()


class Receipt(TownRow, table=True):
    """A receipt's number and what it was given for; never changed."""

    __tablename__ = "receipts"
    __table_args__ = (Index("receipts_number_idx", "town_id", "device_id", "number"),)
    device_id: UUID
    number: int = whole()
    seq: int = whole()
    line_seq: int = whole()
    payment_ids: list[str] = json()
    given_at: datetime = moment()
