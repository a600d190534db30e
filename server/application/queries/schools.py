"""Which students a fee is for, and whether an account is of the school that somebody works for."""

from __future__ import annotations

from typing import ClassVar

from server.application.commands.act import Staff
from server.application.people_ports import ListingReader, Listings, Wanted, Where
from server.application.queries.listings import bounds
from server.application.statement_ports import Of
from server.domain.access import NotFound
from sync.kernel.errors import LimitExceeded, TallystickError
from sync.modules.schools import STUDENTS_MAX

CHARGED_MAX = 3 * STUDENTS_MAX
"""Students that one request charges: as many as fit into one change set of the wire."""


class NobodyCharged(TallystickError):
    """Nobody is at this school, or in this class, who could be charged."""

    code: ClassVar[str] = "nobody_charged"


async def charged(reader: ListingReader, school_id: str, class_name: str | None) -> list[str]:
    """The students who are at the school now, or in one of its classes, by name.

    Raises `NobodyCharged`, `LimitExceeded`.
    """
    where = [
        Where(field="school_id", how="is", value=school_id),
        Where(field="state", how="is", value="ACTIVE"),
        *([Where(field="class_name", how="is", value=class_name)] if class_name else []),
    ]
    rows = await reader.page(Wanted(entity="student", where=where, order="name", rows_max=CHARGED_MAX + 1))
    if len(rows) > CHARGED_MAX:
        raise LimitExceeded(f"one request charges at most {CHARGED_MAX} students; charge class by class")
    if not rows:
        raise NobodyCharged
    return [row.id for row in rows]


async def check_account(staff: Staff, of: Of, owner_id: str, listings: Listings) -> None:
    """Raise `NotFound` for an account that is of another school than the one that this person works for."""
    if not bounds(staff, "invoices"):
        return
    async with listings.reading(staff.seen, staff.town_id) as reader:
        school_id = owner_id if of is Of.SCHOOL else await _school_of(reader, of, owner_id)
    if school_id != staff.school_id:
        raise NotFound


async def _school_of(reader: ListingReader, of: Of, owner_id: str) -> str | None:
    party = await reader.row("party", owner_id) if of is Of.PARTY else None
    student_id = party.fields["source_id"] if party else owner_id
    student = await reader.row("student", student_id) if student_id else None
    return student.fields["school_id"] if student else None
