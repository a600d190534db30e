"""Statements that workers make: noted from the books, made once for many changes, shown only while they are new."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from server.adapters.postgres.account_book import PostgresAccountBook
from server.application.statement_ports import Changed, Of
from server.jobs.relay import answer
from server.jobs.statements import note_changes
from sync.kernel.clock import format_time
from sync.modules.billing import TakePayment
from sync.modules.billing.entities import party_id
from sync.modules.billing.operations import InvoiceLine
from sync.modules.schools import OpenSchool, ScheduleFee, UpsertStudent, fee_invoice_id
from tests.support.real_town import RealTown, real_town
from tests.support.write_path import findings, stored


@dataclass(frozen=True, kw_only=True)
class School:
    """A town with a school and a student who owes 45.00."""

    town: RealTown
    school: str
    student: str
    invoice: str

    @property
    def shelf_version(self) -> str:
        return f"SELECT version FROM statements WHERE kind = 'party' AND owner_id = '{party_id(self.student)}'"

    async def pay(self, amount: str) -> None:
        await self.town.author(TakePayment(id=self.town.new_id(), invoice=self.invoice, amount=amount, currency="GBP"))

    async def note(self) -> int:
        return await self.town.shelf.note(self.town.id, format_time(self.town.system.now_ms()))

    async def work(self) -> None:
        assert (await answer(self.town, self.town.id)).failed == 0

    async def is_made(self, of: Of, owner: str) -> bool:
        """Whether a worker's statement is shown."""
        account = await PostgresAccountBook(self.town.pool).account([self.town.id], self.town.id, of, owner)
        return account.made is not None


@pytest.fixture
async def school(migrated_database: str) -> AsyncIterator[School]:
    async with real_town(migrated_database) as town:
        school, student, fee = town.new_id(), town.new_id(), town.new_id()
        await town.author(OpenSchool(id=school, name="North"))
        await town.author(UpsertStudent(id=student, school=school, number="7", name="Grace", class_name="3"))
        lines = [InvoiceLine(text="Autumn", amount="45.00")]
        await town.author(
            ScheduleFee(
                id=fee,
                school=school,
                title="Autumn",
                lines=lines,
                currency="GBP",
                due_on="2026-12-01",
                students=[student],
            )
        )
        yield School(town=town, school=school, student=student, invoice=fee_invoice_id(fee, student))


async def test_what_was_booked_is_noted_once_and_made(school: School) -> None:
    assert [await school.note(), await school.note()] == [2, 0]
    await school.work()

    shown = [(Of.PARTY, party_id(school.student)), (Of.STUDENT, school.student), (Of.SCHOOL, school.school)]
    assert [await school.is_made(of, owner) for of, owner in shown] == [True, True, True]
    assert await findings(school.town) == ()


async def test_many_changes_are_one_making(school: School) -> None:
    for amount in ("1.00", "2.00", "3.00"):
        await school.pay(amount)
        await school.note()
    [(head,)] = await stored(school.town, "SELECT version FROM town_heads")
    first, newest = (Changed(version=version, parties=[party_id(school.student)], schools=[]) for version in (1, head))

    made = [await school.town.shelf.rebuild(school.town.id, one, "2026-11-21T08:00:00Z") for one in (first, newest)]

    assert made == [1, 0]
    assert await stored(school.town, school.shelf_version) == [(head,)]


async def test_what_was_made_is_not_shown_any_more_once_something_is_booked(school: School) -> None:
    await school.note()
    await school.work()

    await school.pay("5.00")

    assert [await school.is_made(Of.STUDENT, school.student), await school.is_made(Of.SCHOOL, school.school)] == [
        False,
        False,
    ]


async def test_a_student_who_goes_to_another_school_takes_their_lines_along(school: School) -> None:
    await school.note()
    await school.work()
    other = school.town.new_id()
    await school.town.author(OpenSchool(id=other, name="South"))

    await school.town.author(
        UpsertStudent(
            id=school.town.new_id(), student=school.student, school=other, number="7", name="Grace", class_name="3"
        )
    )

    assert not await school.is_made(Of.SCHOOL, school.school)
    assert await findings(school.town) == ()


async def test_everything_is_let_go_and_made_again_when_it_is_asked_for(school: School) -> None:
    await school.note()
    await school.work()

    noted = await school.town.shelf.note(school.town.id, format_time(school.town.system.now_ms()), everything=True)
    assert (noted, await school.is_made(Of.STUDENT, school.student)) == (2, False)
    await school.work()

    assert await school.is_made(Of.STUDENT, school.student)


async def test_the_scheduler_notes_every_town_and_rings(school: School) -> None:
    rung = []

    class Bell:
        async def ring(self, town_id: str) -> None:
            rung.append(town_id)

    @dataclass(frozen=True)
    class Parts:
        shelf = school.town.shelf
        bell = Bell()
        system = school.town.system

    await note_changes(Parts())
    await note_changes(Parts())

    assert rung == [school.town.id]


async def test_what_was_done_is_forgotten_after_a_while_and_what_waits_is_not(school: School) -> None:
    await school.note()
    await school.work()
    await school.pay("5.00")
    await school.note()

    assert await school.town.agenda.forget("9999-01-01T00:00:00Z") > 0
    assert await stored(school.town, "SELECT count(*) FROM agenda WHERE done_at IS NOT NULL") == [(0,)]
    assert await stored(school.town, "SELECT count(*) > 0 FROM agenda") == [(True,)]
