"""What workers make of the books, all of which can be made again, and the agenda that says what is to be made."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, Index
from sqlmodel import Field, SQLModel

from server.adapters.postgres.tables.base import UUID, datetime, json, moment, whole


class Statement(SQLModel, table=True):
    """The statement of a party or a school at a version of its town; `accounts` is how many parties' it sums up."""

    __tablename__ = "statements"
    town_id: UUID = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    owner_id: UUID = Field(primary_key=True)
    version: int = whole()
    accounts: int = whole()
    made_at: datetime = moment()
    body: str


class StatementMark(SQLModel, table=True):
    """Up to which version it is on the agenda whose statements have changed."""

    __tablename__ = "statement_marks"
    town_id: UUID = Field(primary_key=True)
    version: int = whole()


class Agenda(SQLModel, table=True):
    """Work that follows from what is there already, so that nothing is lost with it: it can be noted again."""

    __tablename__ = "agenda"
    __table_args__ = (Index("agenda_due_idx", "town_id", "due_at", postgresql_where="done_at IS NULL"),)
    town_id: UUID = Field(primary_key=True)
    id: UUID = Field(primary_key=True)
    kind: str
    data: dict[str, Any] = json()
    version: int = whole()
    due_at: datetime = moment()
    attempts: int = whole()
    done_at: datetime | None = moment(nullable=True)
    problem: str | None
    traceparent: str | None


class Paper(SQLModel, table=True):
    """A file that was made for somebody who asked; it is found by its hash."""

    __tablename__ = "papers"
    __table_args__ = (CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="papers_sha256_check"),)
    town_id: UUID = Field(primary_key=True)
    id: UUID = Field(primary_key=True)
    name: str
    media_type: str
    sha256: str
    made_at: datetime = moment()


class Reminder(SQLModel, table=True):
    """What somebody was to be told about an invoice that is overdue, and which time this is."""

    __tablename__ = "reminders"
    __table_args__ = (Index("reminders_invoice_idx", "town_id", "invoice_id"),)
    town_id: UUID = Field(primary_key=True)
    id: UUID = Field(primary_key=True)
    invoice_id: UUID
    number: int = whole()
    phone: str
    text: str
    written_at: datetime = moment()


class ReminderOutcome(SQLModel, table=True):
    """How a reminder ended that was to leave by itself; what has none may be on the agenda, under the same id."""

    __tablename__ = "reminder_outcomes"
    town_id: UUID = Field(primary_key=True)
    id: UUID = Field(primary_key=True)
    outcome: str
    why: str
    at: datetime = moment()
