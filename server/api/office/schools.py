"""`/v1/towns/{town_id}/schools`, `/students` and `/fee-schedules`: who is charged by which school, and for what."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from server.api.documents import CREATED, read_document, takes, understood
from server.api.office.doing import KEYED, changes, do, path_id
from server.api.parts import staff_door_of
from server.api.staff import InTown
from server.application.queries.schools import CHARGED_MAX, charged
from sync.kernel.errors import Malformed
from sync.kernel.ids import Id
from sync.kernel.module import Ref
from sync.kernel.money import CurrencyCode
from sync.modules.billing.operations import Day, InvoiceLine, Title
from sync.modules.schools import (
    FEE_LINES_MAX,
    STUDENTS_MAX,
    ClassName,
    DeleteStudent,
    OpenSchool,
    ScheduleFee,
    UpsertStudent,
    WithdrawStudent,
)

SCHOOL = "01970a6e-3c00-7a5a-9d2e-5a1f6a3f6d1a"
STUDENT = {"school": SCHOOL, "number": "2026-117", "name": "Amina Quayle", "class_name": "3B"}

router = APIRouter(prefix="/v1/towns/{town_id}", tags=["schools"])


class Fee(BaseModel):
    """What is charged to everybody who is at the school, to one of its classes, or to the students who are named."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    school: Annotated[Id, Ref(entity="school")]
    title: Title
    lines: Annotated[list[InvoiceLine], Field(min_length=1, max_length=FEE_LINES_MAX)]
    currency: CurrencyCode
    due_on: Day
    class_name: ClassName | None = None
    students: Annotated[list[Id], Field(min_length=1, max_length=CHARGED_MAX)] | None = None


@router.post(
    "/schools",
    status_code=CREATED,
    dependencies=KEYED,
    responses=changes("Opened.", status=CREATED),
    openapi_extra=takes(OpenSchool, {"name": "North Quay Primary"}),
)
async def post_school(request: Request, staff: InTown) -> Response:
    """A school of the town that charges fees here."""
    said = await read_document(request)
    return await do(request, staff, understood(OpenSchool, said), said, made="schools")


@router.post(
    "/students",
    status_code=CREATED,
    dependencies=KEYED,
    responses=changes("Enrolled.", status=CREATED),
    openapi_extra=takes(UpsertStudent, STUDENT, given=["student"]),
)
async def post_student(request: Request, staff: InTown) -> Response:
    """A student is enrolled, with an account of their own."""
    said = await read_document(request)
    return await do(request, staff, understood(UpsertStudent, said, student=None), said, made="students")


@router.put(
    "/students/{student_id}",
    dependencies=KEYED,
    responses=changes("Changed; who had left is back."),
    openapi_extra=takes(UpsertStudent, {**STUDENT, "class_name": "4B"}, given=["student"]),
)
async def put_student(request: Request, staff: InTown, student_id: str) -> Response:
    """Everything about a student, as it is from now on."""
    said, student = await read_document(request), path_id(student_id)
    upsert = understood(UpsertStudent, said, student=student)
    return await do(request, staff, upsert, said, about=("student", student), made_id=student)


@router.post("/students/{student_id}/withdraw", dependencies=KEYED, responses=changes("Withdrawn."))
async def post_withdrawal(request: Request, staff: InTown, student_id: str) -> Response:
    """The student leaves the school; what is owed is owed. There is no body."""
    student = path_id(student_id)
    return await do(request, staff, WithdrawStudent(student=student), {}, about=("student", student), made_id=student)


@router.delete("/students/{student_id}", dependencies=KEYED, responses=changes("Deleted: the name is gone."))
async def delete_student(request: Request, staff: InTown, student_id: str) -> Response:
    """A student who was entered by mistake; who was ever charged is withdrawn instead. There is no body."""
    student = path_id(student_id)
    return await do(request, staff, DeleteStudent(student=student), {}, about=("student", student), made_id=student)


@router.post(
    "/fee-schedules",
    status_code=CREATED,
    dependencies=KEYED,
    responses=changes("Charged: an invoice for each student who is at the school.", status=CREATED),
    openapi_extra=takes(
        Fee,
        {
            "school": SCHOOL,
            "title": "Autumn fees",
            "lines": [{"text": "Tuition", "amount": "45.00"}],
            "currency": "GBP",
            "due_on": "2026-12-15",
            "class_name": "3B",
        },
    ),
)
async def post_fee(request: Request, staff: InTown) -> Response:
    """Charge a fee to a school, a class or some students in one action; of a large school that makes two or three."""
    said = await read_document(request)
    fee = understood(Fee, said)
    if fee.students and fee.class_name:
        raise Malformed("a fee is charged to a class or to students, not to both")
    students = fee.students
    if students is None:
        async with staff_door_of(request).listings.reading(staff.seen, staff.town_id) as reader:
            students = await charged(reader, fee.school, fee.class_name)
    first, *others = [
        ScheduleFee(
            school=fee.school,
            title=fee.title,
            lines=fee.lines,
            currency=fee.currency,
            due_on=fee.due_on,
            students=students[start : start + STUDENTS_MAX],
        )
        for start in range(0, len(students), STUDENTS_MAX)
    ]
    return await do(request, staff, first, said, made="fee-schedules", also=others)
