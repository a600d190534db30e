"""Schools (workflow): schools, their students, and fees that are charged to a class or to a school in one action.

A student is a party with an account of their own; what is charged is an invoice like any other, to be paid at a
counter, at the school or online. Nobody is deleted who has invoices: who leaves is withdrawn, and still owes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from sync.kernel.changeset import Fields, Intent, Operation, RowKey
from sync.kernel.draft import Draft
from sync.kernel.ids import Id, derived_id
from sync.kernel.module import Case, Entity, FieldKind, Module, ModuleKind, Ref
from sync.kernel.money import CurrencyCode, to_minor
from sync.modules.billing import invoices
from sync.modules.billing.entities import party_id
from sync.modules.billing.operations import Day, InvoiceLine, Text, Title

STUDENTS_MAX = 500
"""Students that one `fee.schedule` charges; a larger school takes several in one change set."""

FEE_LINES_MAX = 20
"""Lines of one fee: each of its students gets an invoice with all of them."""

OFFICES = frozenset({"school_office", "admin"})
SchoolRef = Annotated[Id, Ref(entity="school")]
StudentRef = Annotated[Id, Ref(entity="student")]
ClassName = Annotated[str, StringConstraints(min_length=1, max_length=40)]

STUDENT_HAS_INVOICES = Case(
    id="schools.student_has_invoices",
    sentence="{name} has {count} invoices and cannot be deleted; withdraw them instead.",
    is_refusal=True,
)
STUDENT_GONE = Case(id="schools.student_gone", sentence="{name} is {state} already.", is_refusal=True)
OTHER_SCHOOL = Case(
    id="schools.other_school", sentence="This device is of another school than {name}.", is_refusal=True
)
OTHER_OFFICE = Case(id="schools.other_office", sentence="You work for another school than {name}.", is_refusal=True)
NOT_CHARGED = Case(
    id="schools.not_charged",
    sentence="{title} was not charged to {count} of {all} students, who are not at this school any more.",
)


def _student_buckets(row: Fields) -> tuple[str, ...]:
    school = f"school:{row['school_id']}"
    return (school, "counter") if row["state"] == "ACTIVE" else (school,) if row["state"] == "WITHDRAWN" else ()


SCHOOL = Entity(
    name="school",
    plural="schools",
    fields={"school_id": FieldKind.ID, "name": FieldKind.TEXT},
    bucket_kinds=frozenset({"school", "counter"}),
    buckets=lambda row: (f"school:{row['school_id']}", "counter"),
)
STUDENT = Entity(
    name="student",
    plural="students",
    fields={
        "school_id": FieldKind.ID,
        "party_id": FieldKind.ID,
        "number": FieldKind.TEXT,
        "name": FieldKind.TEXT,
        "class_name": FieldKind.TEXT,
        "phone": FieldKind.TEXT,
        "state": FieldKind.TEXT,
        "invoices": FieldKind.INTEGER,
    },
    bucket_kinds=frozenset({"school", "counter"}),
    buckets=_student_buckets,
)
FEE_SCHEDULE = Entity(
    name="fee_schedule",
    plural="fee_schedules",
    fields={
        "school_id": FieldKind.ID,
        "title": FieldKind.TEXT,
        "lines": FieldKind.JSON,
        "total_minor": FieldKind.INTEGER,
        "currency": FieldKind.TEXT,
        "due_on": FieldKind.TEXT,
        "students": FieldKind.INTEGER,
        "issued_at": FieldKind.TIME,
    },
    bucket_kinds=frozenset({"school"}),
    buckets=lambda row: (f"school:{row['school_id']}",),
)


class OpenSchool(Operation):
    """A school of the town charges fees here."""

    op: ClassVar = "school.open"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = frozenset({"admin"})
    creates: ClassVar = "school"
    name: Title


class UpsertStudent(Operation):
    """A student is enrolled, or something about them is other than it was; `student` is who, when they are known."""

    op: ClassVar = "student.upsert"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = OFFICES
    creates: ClassVar = "student"
    student: Annotated[Id | None, Ref(entity="student")] = None
    school: SchoolRef
    number: Annotated[str, StringConstraints(min_length=1, max_length=40)]
    name: Title
    class_name: ClassName
    phone: Text = ""

    def made(self) -> RowKey | None:
        """Nobody is made of whom is known."""
        return None if self.student else super().made()


class WithdrawStudent(Operation):
    """The student leaves the school; what is owed is owed."""

    op: ClassVar = "student.withdraw"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = OFFICES
    student: StudentRef


class DeleteStudent(Operation):
    """The student was entered by mistake."""

    op: ClassVar = "student.delete"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = OFFICES
    student: StudentRef


class ScheduleFee(Operation):
    """Each of these students owes the fee: a class, or a whole school."""

    op: ClassVar = "fee.schedule"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = OFFICES
    creates: ClassVar = "fee_schedule"
    school: SchoolRef
    title: Title
    lines: Annotated[list[InvoiceLine], Field(min_length=1, max_length=FEE_LINES_MAX)]
    currency: CurrencyCode
    due_on: Day
    students: Annotated[list[Id], Field(min_length=1, max_length=STUDENTS_MAX)]

    def reads(self) -> Iterable[RowKey]:
        """Everybody who is charged."""
        return [("student", student) for student in self.students]

    def brings(self) -> Iterable[RowKey]:
        """The invoice of everybody who is charged."""
        return [("invoice", fee_invoice_id(self.id, student)) for student in dict.fromkeys(self.students)]


def fee_invoice_id(schedule: str, student: str) -> str:
    """The invoice that a schedule issues to a student; there is one."""
    return derived_id("invoice", schedule, student)


def open_school(operation: OpenSchool, draft: Draft) -> None:
    """The school's row."""
    draft.create("school", operation.id, {"school_id": operation.id, "name": operation.name})


def upsert(operation: UpsertStudent, draft: Draft) -> None:
    """The student's row, and the party that owes for them."""
    draft.need("school", operation.school)
    _check_school(draft, operation.school, operation.name)
    fields = operation.model_dump(include={"number", "name", "class_name", "phone"})
    key = operation.student or operation.id
    if operation.student:
        before = draft.need("student", operation.student)
        _check_school(draft, before["school_id"], before["name"])
        if before["state"] == "DELETED":
            raise draft.refuse(STUDENT_GONE, name=before["name"], state="deleted")
        draft.update("student", key, school_id=operation.school, state="ACTIVE", **fields)
    else:
        row = {"school_id": operation.school, "party_id": party_id(key), "state": "ACTIVE", "invoices": 0, **fields}
        draft.create("student", key, row)
    party = {"kind": "student", "name": operation.name, "phone": operation.phone}
    draft.put("party", party_id(key), {**party, "source_entity": "student", "source_id": key})


def withdraw(operation: WithdrawStudent, draft: Draft) -> None:
    """No fee is charged to them any more."""
    _end(draft, operation.student, "WITHDRAWN")


def delete(operation: DeleteStudent, draft: Draft) -> None:
    """Only who owes nothing and never did; devices forget them, and their name is gone from the rows."""
    student = draft.need("student", operation.student)
    _check_person(draft, student["school_id"], student["name"])
    if student["invoices"]:
        raise draft.refuse(STUDENT_HAS_INVOICES, name=student["name"], count=student["invoices"])
    _end(draft, operation.student, "DELETED")
    draft.update("student", operation.student, name="", phone="")
    draft.update("party", student["party_id"], name="", phone="")


def schedule(operation: ScheduleFee, draft: Draft) -> None:
    """One invoice for each student who is at the school; of the others it is told."""
    draft.need("school", operation.school)
    _check_school(draft, operation.school, operation.title)
    lines = [{"text": line.text, "amount_minor": to_minor(line.amount, operation.currency)} for line in operation.lines]
    total_minor = invoices.total_of(lines)
    wanted = list(dict.fromkeys(operation.students))
    draft.gather(("student", student) for student in wanted)
    here = [student for student in wanted if _is_here(draft, student, operation.school)]
    for student in here:
        row = draft.update("student", student, invoices=draft.need("student", student)["invoices"] + 1)
        invoices.write(
            draft,
            fee_invoice_id(operation.id, student),
            party_id=row["party_id"],
            title=f"{operation.title}: {row['name']}",
            lines=lines,
            total_minor=total_minor,
            currency=operation.currency,
            due_on=operation.due_on,
            source=("student", student),
            school_id=operation.school,
        )
    fields = operation.model_dump(include={"title", "currency", "due_on"})
    made = {"lines": lines, "total_minor": total_minor, "students": len(here), "issued_at": draft.context.decided_at}
    draft.create("fee_schedule", operation.id, {"school_id": operation.school, **fields, **made})
    if len(here) < len(wanted):
        left_out = len(wanted) - len(here)
        subject = ("fee_schedule", operation.id)
        draft.adjust(NOT_CHARGED, operation, subject=subject, title=operation.title, count=left_out, all=len(wanted))


def _is_here(draft: Draft, student: str, school: str) -> bool:
    row = draft.need("student", student)
    return (row["school_id"], row["state"]) == (school, "ACTIVE")


def _end(draft: Draft, key: str, state: str) -> None:
    student = draft.need("student", key)
    _check_school(draft, student["school_id"], student["name"])
    if student["state"] != "ACTIVE":
        raise draft.refuse(STUDENT_GONE, name=student["name"], state=student["state"].lower())
    draft.update("student", key, state=state)


def _check_school(draft: Draft, school: str, name: str) -> None:
    """A school's device is for that school alone."""
    _check_person(draft, school, name)
    if draft.context.is_server:
        return
    device = draft.get("device", draft.change_set.device)
    if device is not None and device.get("school_id") not in {None, school}:
        raise draft.refuse(OTHER_SCHOOL, name=name)


def _check_person(draft: Draft, school: str, name: str) -> None:
    """In the office, who was given a school and is no admin is for that school alone."""
    user = draft.get("user", draft.change_set.actor) if draft.context.is_server else None
    if user is not None and "admin" not in user["roles"] and user.get("school_id") not in {None, school}:
        raise draft.refuse(OTHER_OFFICE, name=name)


MODULE = Module(
    name="schools",
    kind=ModuleKind.WORKFLOW,
    needs=frozenset({"billing"}),
    entities=(SCHOOL, STUDENT, FEE_SCHEDULE),
    operations=(OpenSchool, UpsertStudent, WithdrawStudent, DeleteStudent, ScheduleFee),
    rules={
        OpenSchool: open_school,
        UpsertStudent: upsert,
        WithdrawStudent: withdraw,
        DeleteStudent: delete,
        ScheduleFee: schedule,
    },
    cases=(STUDENT_HAS_INVOICES, STUDENT_GONE, OTHER_SCHOOL, OTHER_OFFICE, NOT_CHARGED),
)
