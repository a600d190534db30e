"""Schools: fees charged to many at once, students who leave and still owe, and devices that are for one school."""

from __future__ import annotations

from sync.engine.town import Answered
from sync.modules.billing import InvoiceLine
from sync.modules.identity import AddUser
from sync.modules.schools import (
    DeleteStudent,
    OpenSchool,
    ScheduleFee,
    UpsertStudent,
    WithdrawStudent,
    fee_invoice_id,
)
from tests.support.counters import CounterTown
from tests.support.decisions import ACCEPTED, noted, refused, told


def enrols(town: CounterTown, name: str = "Amina", number: str = "7", school: str | None = None) -> str:
    """The school's office enrols a student; the id."""
    student = UpsertStudent(
        id=town.new_id(), school=school or town.school, number=number, name=name, class_name="3B", phone="0700"
    )
    assert told(town, town.does(town.school_pc, town.secretary, student)) == ACCEPTED
    return student.id


def charges(town: CounterTown, *students: str, amount: str = "45.00") -> tuple[str, Answered]:
    """A fee to these students; the schedule's id and what was decided."""
    fee = ScheduleFee(
        id=town.new_id(),
        school=town.school,
        title="Term 2",
        lines=[InvoiceLine(text="Tuition", amount=amount)],
        currency="KES",
        due_on="2026-12-15",
        students=list(students),
    )
    return fee.id, town.does(town.school_pc, town.secretary, fee)


def test_a_fee_is_an_invoice_for_each_student_and_a_counter_takes_money_for_it(counters: CounterTown) -> None:
    students = [enrols(counters, name, str(place)) for place, name in enumerate(("Amina", "Brian"))]

    fee, answered = charges(counters, *students)

    assert told(counters, answered) == ACCEPTED
    invoices = [fee_invoice_id(fee, student) for student in students]
    assert [counters.row("invoice", invoice)["title"] for invoice in invoices] == ["Term 2: Amina", "Term 2: Brian"]
    counters.pays(invoices[0], "45.00")
    assert [counters.invoice(invoice) for invoice in invoices] == [("PAID", 4500, 0), ("PENDING", 0, 4500)]
    assert counters.row("student", students[0])["invoices"] == 1


def test_the_school_holds_all_its_invoices_and_a_counter_those_that_are_open(counters: CounterTown) -> None:
    student = enrols(counters)
    fee, _ = charges(counters, student)
    key = ("invoice", fee_invoice_id(fee, student))
    held = [key in counters.bucket(name) for name in (f"school:{counters.school}", "counter")]

    counters.pays(key[1], "45.00")

    assert held == [True, True]
    assert [key in counters.bucket(name) for name in (f"school:{counters.school}", "counter")] == [True, False]
    assert ("student", student) in counters.bucket("counter")


def test_schools_not_charged_are_those_who_have_left(counters: CounterTown) -> None:
    here, gone = enrols(counters), enrols(counters, "Brian", "8")
    counters.does(counters.school_pc, counters.secretary, WithdrawStudent(student=gone))

    fee, answered = charges(counters, here, gone)

    assert told(counters, answered) == noted(
        "schools.not_charged",
        "Term 2 was not charged to 1 of 2 students, who are not at this school any more.",
    )
    assert counters.row("fee_schedule", fee)["students"] == 1
    assert ("student", gone) not in counters.bucket("counter")


def test_schools_student_has_invoices_and_is_withdrawn_instead(counters: CounterTown) -> None:
    student = enrols(counters)
    charges(counters, student)

    answered = counters.does(counters.school_pc, counters.secretary, DeleteStudent(student=student))

    assert told(counters, answered) == refused(
        "schools.student_has_invoices", "Amina has 1 invoices and cannot be deleted; withdraw them instead."
    )
    assert told(counters, counters.office(WithdrawStudent(student=student))) == ACCEPTED


def test_a_student_who_was_a_mistake_leaves_every_device_and_no_name(counters: CounterTown) -> None:
    student = enrols(counters)

    counters.does(counters.school_pc, counters.secretary, DeleteStudent(student=student))

    row = counters.row("student", student)
    assert (row["state"], row["name"], row["phone"]) == ("DELETED", "", "")
    assert ("student", student) not in counters.bucket(f"school:{counters.school}")


def test_schools_student_gone_cannot_leave_again_and_can_come_back(counters: CounterTown) -> None:
    student = enrols(counters)
    counters.office(WithdrawStudent(student=student))

    answered = counters.office(WithdrawStudent(student=student))
    back = UpsertStudent(student=student, school=counters.school, number="7", name="Amina", class_name="4A")
    counters.office(back)

    assert told(counters, answered) == refused("schools.student_gone", "Amina is withdrawn already.")
    assert counters.row("student", student)["state"] == "ACTIVE"


def test_schools_other_school_is_not_for_this_schools_device(counters: CounterTown) -> None:
    other = OpenSchool(id=counters.new_id(), name="Lake School")
    counters.office(other)
    student = UpsertStudent(school=other.id, number="1", name="Brian", class_name="1A")

    answered = counters.does(counters.school_pc, counters.secretary, student)

    assert told(counters, answered) == refused("schools.other_school", "This device is of another school than Brian.")
    assert told(counters, counters.office(student)) == ACCEPTED


def test_schools_other_office_is_not_for_who_works_for_one_school(counters: CounterTown) -> None:
    other = OpenSchool(id=counters.new_id(), name="Lake School")
    counters.office(other)
    lake = AddUser(id=counters.new_id(), name="Lea", login="lea", user_roles=["school_office"], school=other.id)
    counters.office(lake)
    student, own = enrols(counters), {"number": "1", "name": "Brian", "class_name": "1A"}
    charges(counters, student)

    answered = [
        counters.does(counters.server, lake.id, operation)
        for operation in (UpsertStudent(school=counters.school, **own), DeleteStudent(student=student))
    ]

    assert [told(counters, one) for one in answered] == [
        refused("schools.other_office", f"You work for another school than {name}.") for name in ("Brian", "Amina")
    ]
    assert told(counters, counters.does(counters.server, lake.id, UpsertStudent(school=other.id, **own))) == ACCEPTED
