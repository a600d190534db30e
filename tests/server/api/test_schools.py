"""Schools over HTTP: students, fees for a class in one action, and people who work for one school alone."""

from __future__ import annotations

import pytest

from server.api.office import schools
from server.application.commands.administer import NewPerson, add_user
from sync.modules.billing.entities import party_id
from tests.server.api.test_money_doors import done, listed, refused, shown
from tests.support.staff_world import Browser, StaffWorld

FEE = {"title": "Autumn", "lines": [{"text": "Fees", "amount": "45.00"}], "currency": "GBP", "due_on": "2026-12-01"}


async def opened(browser: Browser, name: str = "South") -> str:
    return done(await browser.post("schools", {"name": name}))


async def enrolled(browser: Browser, school: str, name: str, class_name: str = "3b") -> str:
    said = {"school": school, "number": name, "name": name, "class_name": class_name}
    return done(await browser.post("students", said))


async def test_a_class_is_charged_in_one_action_and_once_for_each_key(staff: StaffWorld) -> None:
    office = await staff.browser()
    school = await opened(office)
    grace, alan = await enrolled(office, school, "Grace"), await enrolled(office, school, "Alan")
    await enrolled(office, school, "Mary", "4c")
    said = {**FEE, "school": school, "class_name": "3b"}

    answers = [await office.post("fee-schedules", said, Idempotency_Key="autumn") for _ in range(2)]

    assert answers[0].json() == answers[1].json()
    assert (await shown(office, f"fee-schedules/{done(answers[0])}"))["students"] == 2
    charged = (await shown(office, f"invoices?school={school}&order=total_minor"))["items"]
    assert sorted((one["title"], one["source_id"]) for one in charged) == [
        ("Autumn: Alan", alan),
        ("Autumn: Grace", grace),
    ]


async def test_a_large_school_is_charged_by_several_schedules_in_one_action(
    staff: StaffWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schools, "STUDENTS_MAX", 2)
    office = await staff.browser()
    school = await opened(office)
    for name in ("Ada", "Bea", "Cid"):
        await enrolled(office, school, name)

    answer = await office.post("fee-schedules", {**FEE, "school": school})

    rows = (await shown(office, f"fee-schedules?school={school}"))["items"]
    assert sorted(row["students"] for row in rows) == [1, 2]
    assert {row["version"] for row in rows} == {answer.json()["version"]}


async def test_nobody_is_charged_where_nobody_is_and_nobody_by_halves(staff: StaffWorld) -> None:
    office = await staff.browser()
    school = await opened(office)
    student = await enrolled(office, school, "Grace")
    both = {**FEE, "school": school, "class_name": "3b", "students": [student]}

    assert refused(await office.post("fee-schedules", {**FEE, "school": school, "class_name": "9z"})) == (
        409,
        "nobody_charged",
    )
    assert refused(await office.post("fee-schedules", both)) == (400, "malformed")
    assert await listed(office, "fee-schedules") == []


async def test_a_student_with_invoices_is_withdrawn_and_not_deleted(staff: StaffWorld) -> None:
    money, office = await staff.charge(staff.here), await staff.browser()
    by_mistake = await enrolled(office, money.school, "Nobody")

    assert refused(await office.call("DELETE", f"students/{money.student}")) == (409, "schools.student_has_invoices")
    assert done(await office.post(f"students/{money.student}/withdraw")) == money.student
    assert done(await office.call("DELETE", f"students/{by_mistake}")) == by_mistake
    assert await listed(office, "students?state=WITHDRAWN") == [money.student]
    gone = await shown(office, f"students/{by_mistake}")
    assert (gone["state"], gone["name"]) == ("DELETED", "")


async def test_who_has_left_comes_back_in_another_class(staff: StaffWorld) -> None:
    money, office = await staff.charge(staff.here), await staff.browser()
    await office.post(f"students/{money.student}/withdraw")
    said = {"school": money.school, "number": "1", "name": "Amina", "class_name": "4b"}

    assert done(await office.call("PUT", f"students/{money.student}", said)) == money.student

    assert await listed(office, "students?class=4b&state=ACTIVE") == [money.student]


async def test_who_works_for_one_school_sees_nothing_of_another(staff: StaffWorld) -> None:
    money, admin = await staff.charge(staff.here), await staff.browser()
    own = await opened(admin)
    student = await enrolled(admin, own, "Grace")
    done(await admin.post("fee-schedules", {**FEE, "school": own}))
    secretary = await staff.browser("school_office", school=own)
    (invoice,) = await listed(admin, f"invoices?school={own}")

    assert await listed(secretary, "schools") == [own]
    assert await listed(secretary, "students") == [student]
    assert await listed(secretary, f"students?school={money.school}") == []
    assert await listed(secretary, "invoices") == [invoice]
    assert (await shown(secretary, f"invoices/{invoice}"))["school_id"] == own
    theirs = (f"schools/{money.school}", f"students/{money.student}")
    accounts = (*theirs, f"parties/{party_id(money.student)}", f"parties/{money.party}")
    paths = (
        *theirs,
        f"invoices/{money.invoice}",
        f"fee-schedules/{money.fee}",
        *(f"{account}/statement" for account in accounts),
    )
    assert {refused(await secretary.get(path)) for path in paths} == {(404, "not_found")}
    assert (await secretary.get(f"students/{student}/statement")).status_code == 200
    assert (await secretary.get(f"parties/{party_id(student)}/statement")).status_code == 200
    assert (await secretary.get(f"schools/{own}/statement")).status_code == 200


async def test_who_works_for_one_school_changes_nothing_of_another(staff: StaffWorld) -> None:
    money, admin = await staff.charge(staff.here), await staff.browser()
    own = await opened(admin)
    secretary = await staff.browser("school_office", school=own)
    student = {"school": money.school, "number": "2", "name": "Grace", "class_name": "3b"}

    answers = [
        await secretary.post("students", student),
        await secretary.call("PUT", f"students/{money.student}", {**student, "school": own}),
        await secretary.post(f"students/{money.student}/withdraw"),
        await secretary.call("DELETE", f"students/{money.student}"),
        await secretary.post("fee-schedules", {**FEE, "school": money.school, "students": [money.student]}),
    ]

    assert {refused(answer) for answer in answers} == {(409, "schools.other_office")}
    assert await enrolled(secretary, own, "Grace")


async def test_who_was_given_no_school_works_for_all_of_them_and_an_admin_gives_one(staff: StaffWorld) -> None:
    money, admin = await staff.charge(staff.here), await staff.browser()
    own = await opened(admin)
    secretary = await staff.browser("school_office")
    assert set(await listed(secretary, "schools")) == {money.school, own}
    (user,) = [
        row for row in (await shown(admin, "users?role=school_office"))["items"] if row["email"] == secretary.email
    ]

    done(await admin.call("PUT", f"users/{user['id']}/roles", {"roles": ["school_office"], "school": own}))

    assert await listed(secretary, "schools") == [own]
    assert (await shown(admin, f"users/{user['id']}"))["school_id"] == own


async def test_a_counter_clerk_of_a_school_sees_every_open_invoice(staff: StaffWorld) -> None:
    money, admin = await staff.charge(staff.here), await staff.browser()
    clerk = await staff.browser("counter_clerk", school=await opened(admin))

    assert await listed(clerk, "invoices?state=PARTIALLY_PAID") == [money.invoice]


async def test_the_operator_adds_somebody_who_works_for_one_school(staff: StaffWorld) -> None:
    office = await staff.browser()
    school = await opened(office)
    parts = staff.world.parts

    nora = NewPerson(name="Nora", login="nora", roles=("school_office",), school_id=school)
    added = await add_user(nora, town_id=staff.here.id, appliers=parts.appliers, system=parts.system)

    assert (await shown(office, f"users/{added}"))["school_id"] == school
