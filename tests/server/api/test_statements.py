"""Statements for the office: of a party, a student and a school, as a document and as a table."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from sync.kernel.ids import derived_id
from sync.modules.billing import TakePayment
from sync.modules.billing.entities import party_id
from sync.modules.billing.operations import InvoiceLine
from sync.modules.schools import OpenSchool, ScheduleFee, UpsertStudent, fee_invoice_id
from tests.support.staff_world import StaffWorld


@dataclass(kw_only=True)
class School:
    """A school of the first town: two students who owe 45.00 each, of which one has paid 20.00 and then 30.00."""

    staff: StaffWorld
    id: str
    grace: str
    alan: str

    def path(self, what: str, *, there: bool = False) -> str:
        town = self.staff.there if there else self.staff.here
        return f"/v1/towns/{town.id}/{what}/statement"


@pytest.fixture
async def school(staff: StaffWorld) -> School:
    new_id = staff.world.new_id
    made = School(staff=staff, id=new_id(), grace=new_id(), alan=new_id())
    fee = new_id()
    await staff.author(staff.here, OpenSchool(id=made.id, name="North"))
    for number, (student, name) in enumerate([(made.grace, "Grace"), (made.alan, "=Alan")]):
        await staff.author(
            staff.here, UpsertStudent(id=student, school=made.id, number=str(number), name=name, class_name="3b")
        )
    await staff.author(
        staff.here,
        ScheduleFee(
            id=fee,
            school=made.id,
            title="Autumn",
            lines=[InvoiceLine(text="Fees", amount="45.00")],
            currency="GBP",
            due_on="2026-12-01",
            students=[made.grace, made.alan],
        ),
    )
    for amount in ("20.00", "30.00"):
        invoice = fee_invoice_id(fee, made.grace)
        line = await staff.world.parts.appliers.author(
            staff.here.id,
            staff.here.users["admin"],
            [TakePayment(id=new_id(), invoice=invoice, amount=amount, currency="GBP")],
        )
        assert b'"status":"refused"' not in line
    return made


async def test_a_students_statement_has_what_was_charged_and_what_came_in(school: School) -> None:
    browser = await school.staff.browser("admin")

    answer = await browser.get(school.path(f"students/{school.grace}"))

    said = answer.json()
    assert answer.status_code == 200
    assert said["town"] == {"id": school.staff.here.id, "name": "Here", "time_zone": "UTC"}
    assert said["account"] == {"kind": "student", "id": school.grace, "name": "Grace"}
    assert [one["currency"] for one in said["currencies"]] == ["GBP"]
    assert [
        (line["what"], line["charged"], line["received"], line["balance"]) for line in said["currencies"][0]["lines"]
    ] == [
        ("Autumn: Grace", "45.00", "", "45.00"),
        ("cash", "", "20.00", "25.00"),
        ("cash", "", "30.00", "-5.00"),
    ]
    assert said["as_of"]["version"] >= said["currencies"][0]["lines"][-1]["version"]


async def test_a_party_has_the_same_statement_as_its_student(school: School) -> None:
    browser = await school.staff.browser("admin")

    party = await browser.get(school.path(f"parties/{party_id(school.grace)}"))
    student = await browser.get(school.path(f"students/{school.grace}"))

    assert party.json()["currencies"] == student.json()["currencies"]


async def test_a_schools_statement_has_everybodys_lines_with_their_names(school: School) -> None:
    browser = await school.staff.browser("admin")

    (section,) = (await browser.get(school.path(f"schools/{school.id}"))).json()["currencies"]

    assert sorted((line["name"], line["charged"], line["received"]) for line in section["lines"]) == [
        ("=Alan", "45.00", ""),
        ("Grace", "", "20.00"),
        ("Grace", "", "30.00"),
        ("Grace", "45.00", ""),
    ]
    assert (section["charged"], section["received"], section["closing"]) == ("90.00", "50.00", "40.00")


async def test_a_table_is_a_file_whose_cells_are_no_formulas(school: School) -> None:
    browser = await school.staff.browser("admin")

    answer = await browser.get(school.path(f"schools/{school.id}") + "?format=csv")

    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    assert ",'=Alan,Autumn: =Alan,45.00" in answer.text


async def test_a_statement_is_asked_for_some_days(school: School) -> None:
    browser = await school.staff.browser("admin")

    answer = await browser.get(school.path(f"students/{school.grace}") + "?since=2026-11-22&until=2026-11-23")

    (section,) = answer.json()["currencies"]
    assert (section["opening"], section["closing"], section["lines"]) == ("-5.00", "-5.00", [])


@pytest.mark.parametrize(
    "query", ["?since=yesterday", "?until=2026-13-01", "?format=xls", "?page=1", "?since=1&since=2"]
)
async def test_what_cannot_be_asked_for_is_told(school: School, query: str) -> None:
    browser = await school.staff.browser("admin")

    assert (await browser.get(school.path(f"students/{school.grace}") + query)).status_code == 400


async def test_a_statement_that_has_not_changed_is_not_sent_again(school: School) -> None:
    browser = await school.staff.browser("admin")
    path = school.path(f"students/{school.grace}")
    first = await browser.get(path)

    assert (await browser.get(path, If_None_Match=first.headers["etag"])).status_code == 304


async def test_only_the_office_reads_statements_and_only_of_its_town(school: School) -> None:
    driver, stranger = await school.staff.browser("driver"), await school.staff.browser("admin", school.staff.there)
    path = school.path(f"students/{school.grace}")

    assert (await driver.get(path)).status_code == 403
    assert (await stranger.get(path)).status_code == 404
    assert (await stranger.get(school.path(f"students/{school.grace}", there=True))).status_code == 404
    assert (await school.staff.world.client.get(path)).status_code == 401


@pytest.mark.parametrize("what", ["students", "schools", "parties"])
async def test_what_is_not_there_has_no_statement(school: School, what: str) -> None:
    browser = await school.staff.browser("admin")

    assert (await browser.get(school.path(f"{what}/{derived_id('nobody')}"))).status_code == 404
