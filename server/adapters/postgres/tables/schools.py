"""Tables of `sync.modules.schools`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Index

from server.adapters.postgres.tables.base import UUID, TownRow, datetime, json, moment, whole


class School(TownRow, table=True):
    """A school of the town."""

    __tablename__ = "schools"
    school_id: UUID
    name: str


class Student(TownRow, table=True):
    """Who goes to a school, and has an account there."""

    __tablename__ = "students"
    __table_args__ = (Index("students_school_idx", "town_id", "school_id", "class_name", "name", "id"),)
    school_id: UUID
    party_id: UUID
    number: str
    name: str
    class_name: str
    phone: str
    state: str
    invoices: int = whole()


class FeeSchedule(TownRow, table=True):
    """A fee that was charged to many at once."""

    __tablename__ = "fee_schedules"
    __table_args__ = (Index("fee_schedules_school_idx", "town_id", "school_id", "issued_at", "id"),)
    school_id: UUID
    title: str
    lines: list[dict[str, Any]] = json()
    total_minor: int = whole()
    currency: str
    due_on: str
    students: int = whole()
    issued_at: datetime = moment()
