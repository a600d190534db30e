"""`/v1/towns/{town_id}/users`: who works in the town. Accounts are the operator's: `tallystick user`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from server.api.documents import CREATED, read_document, tagged, takes, understood
from server.api.office.doing import KEYED, changes, do, path_id
from server.api.office.lists import list_docs, row_docs, show_page, show_row
from server.api.parts import parts_of, staff_door_of
from server.api.staff import InTown
from server.application.commands.act import Staff
from server.application.commands.administer import hashed_pin
from sync.kernel.ids import Id
from sync.modules.identity import ROLES, AddUser, ChangeRoles, DeactivateUser, Name, Role

router = APIRouter(prefix="/v1/towns/{town_id}/users", tags=["users"])


class NewUser(BaseModel):
    """Somebody who shall work here; a PIN has 4 to 12 digits and opens shared devices.

    Who is of a school's office and is given a `school` sees and changes nothing of another.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Name
    login: Name
    roles: Annotated[list[Role], Field(min_length=1, max_length=len(ROLES))]
    pin: str | None = None
    school: Id | None = None


class NewRoles(BaseModel):
    """All that somebody shall be here from now on."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    roles: Annotated[list[Role], Field(min_length=1, max_length=len(ROLES))]
    school: Id | None = None


@router.get("", **list_docs("users"))
async def get_users(request: Request, staff: InTown) -> Response:
    """The people of the town; an admin also sees with which e-mail address they sign in."""

    async def add_emails(items: list[dict[str, Any]]) -> None:
        await _add_emails(request, staff, items)

    return await show_page(request, staff, "users", add_emails)


@router.get("/{user_id}", **row_docs("users"))
async def get_user(request: Request, staff: InTown, user_id: str) -> Response:
    """One of the people of the town."""
    async with staff_door_of(request).listings.reading(staff.seen, staff.town_id) as reader:
        row = await show_row(reader, staff, "users", user_id)
    await _add_emails(request, staff, [row])
    return tagged(request, row)


@router.post(
    "",
    status_code=CREATED,
    dependencies=KEYED,
    responses=changes("Added.", status=CREATED),
    openapi_extra=takes(NewUser, {"name": "Ada Kelly", "login": "ada", "roles": ["driver"], "pin": "4711"}),
)
async def post_user(request: Request, staff: InTown) -> Response:
    """Add somebody to the town."""
    said = await read_document(request)
    new = understood(NewUser, said)
    system = parts_of(request).system
    pin_hash = None if new.pin is None else await asyncio.to_thread(hashed_pin, new.pin, system)
    user = AddUser(name=new.name, login=new.login, user_roles=list(new.roles), pin_hash=pin_hash, school=new.school)
    return await do(request, staff, user, said, made="users")


@router.put(
    "/{user_id}/roles",
    dependencies=KEYED,
    responses=changes("Changed."),
    openapi_extra=takes(NewRoles, {"roles": ["dispatcher", "warehouse_staff"]}),
)
async def put_roles(request: Request, staff: InTown, user_id: str) -> Response:
    """Give somebody other roles; what is recorded in one that was taken away is kept and looked at."""
    said, user = await read_document(request), path_id(user_id)
    new = understood(NewRoles, said)
    change = ChangeRoles(user=user, user_roles=list(new.roles), school=new.school)
    return await do(request, staff, change, said, about=("user", user))


@router.post("/{user_id}/deactivate", dependencies=KEYED, responses=changes("Deactivated."))
async def post_deactivation(request: Request, staff: InTown, user_id: str) -> Response:
    """Let somebody work here no more; what was recorded before stays. An account loses this town at once."""
    user = path_id(user_id)
    return await do(request, staff, DeactivateUser(user=user), {}, about=("user", user))


async def _add_emails(request: Request, staff: Staff, items: list[dict[str, Any]]) -> None:
    if "admin" in staff.roles:
        emails = await staff_door_of(request).people.accounts.emails(staff.town_id)
        for item in items:
            item["email"] = emails.get(item["id"])
