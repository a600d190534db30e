"""`/v1/towns/{town_id}/devices` and `/enrolments`: let a device in with a code, and shut one out."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from server.api.documents import CREATED, document, gives, read_document, takes, understood
from server.api.office.doing import KEYED, changes, do, path_id
from server.api.parts import parts_of, staff_door_of
from server.api.staff import InTown
from server.application.commands.act import Staff
from server.application.commands.enrol_device import make_enrolment
from server.application.commands.release_device import take_kept
from server.domain.people import NotPermitted
from sync.kernel.ids import Id
from sync.modules import registry
from sync.modules.histories import ReleaseDevice
from sync.modules.identity import EnrolDevice, RevokeDevice, SuspendDevice

router = APIRouter(prefix="/v1/towns/{town_id}", tags=["devices"])

REASON = {"reason": "left in a taxi"}
CODE = {
    "code": "K7Q2-M4XB-09TR-5WZD",
    "expires_at": "2026-11-21T08:30:02.114Z",
    "server_url": "https://sync.example",
}


class NewEnrolment(BaseModel):
    """A driver's device is for a user, a warehouse's tablet for a warehouse, a school's for a school."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    role: Literal["driver", "warehouse_staff", "counter_clerk", "school_office"]
    user: Id | None = None
    warehouse: Id | None = None
    school: Id | None = None


@router.post(
    "/enrolments",
    status_code=CREATED,
    responses=gives("A code for one device, shown this once.", CODE, status=CREATED, problems=[400, 403, 422]),
    openapi_extra=takes(NewEnrolment, {"role": "driver", "user": "01970a6e-3c00-7a53-9d2e-5a1f6a3f6d13"}),
)
async def post_enrolment(request: Request, staff: InTown) -> Response:
    """Make a code with which one device may enrol, once and soon."""
    if not registry().permits_any(staff.roles, EnrolDevice.op):
        raise NotPermitted
    said = understood(NewEnrolment, await read_document(request))
    async with staff_door_of(request).listings.reading(staff.seen, staff.town_id):
        pass  # the town is open to this person, as PostgreSQL sees it: what follows names the town by itself
    parts = parts_of(request)
    code, enrolment = await make_enrolment(
        town_id=staff.town_id,
        role=said.role,
        user_id=said.user,
        warehouse_id=said.warehouse,
        school_id=said.school,
        enrolments=parts.enrolments,
        towns=parts.towns,
        system=parts.system,
    )
    answer = {"code": code, "expires_at": enrolment.expires_at, "server_url": parts.public_url}
    return document(answer, status=CREATED)


@router.post(
    "/devices/{device_id}/suspend",
    dependencies=KEYED,
    responses=changes("Suspended."),
    openapi_extra=takes(SuspendDevice, REASON, given=["device"]),
)
async def post_suspension(request: Request, staff: InTown, device_id: str) -> Response:
    """Let nothing of a device take effect until somebody has decided; what it sends is kept aside."""
    return await _end(request, staff, SuspendDevice, device_id)


@router.post(
    "/devices/{device_id}/revoke",
    dependencies=KEYED,
    responses=changes("Revoked."),
    openapi_extra=takes(RevokeDevice, REASON, given=["device"]),
)
async def post_revocation(request: Request, staff: InTown, device_id: str) -> Response:
    """Shut a device out for ever."""
    return await _end(request, staff, RevokeDevice, device_id)


@router.post(
    "/devices/{device_id}/release",
    dependencies=KEYED,
    responses=changes("Released."),
    openapi_extra=takes(ReleaseDevice, {"reason": "found again"}, given=["device"]),
)
async def post_release(request: Request, staff: InTown, device_id: str) -> Response:
    """Let a stopped device act again: what it sent meanwhile takes effect; of two copies, the other goes on as well."""
    released = await _end(request, staff, ReleaseDevice, device_id)
    parts = parts_of(request)
    await take_kept(town_id=staff.town_id, device_id=path_id(device_id), appliers=parts.appliers, towns=parts.towns)
    return released


async def _end(
    request: Request, staff: Staff, kind: type[SuspendDevice | RevokeDevice | ReleaseDevice], device_id: str
) -> Response:
    said, device = await read_document(request), path_id(device_id)
    return await do(request, staff, understood(kind, said, device=device), said, about=("device", device))
