"""`/v1/towns/{town_id}/settings`: what a town decides for itself."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.documents import gives, read_document, tagged, takes, understood
from server.api.office.doing import KEYED, changes, do
from server.api.parts import staff_door_of
from server.api.staff import InTown
from server.application.queries.listed import INDOORS
from server.domain.people import NotPermitted
from sync.modules.identity import ChangeSettings
from sync.modules.town_settings import TownSettings

router = APIRouter(prefix="/v1/towns/{town_id}/settings", tags=["settings"])

SETTINGS = {"payment_units_max": 5000, "sells_online": True}
TOWN = {
    "id": "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11",
    "version": 1207,
    "name": "Douglas",
    "currency": "GBP",
    "time_zone": "Europe/Isle_of_Man",
    "settings": SETTINGS,
}
_KINDS = {"version": {"type": "integer"}, "settings": {"type": "object"}}
_SCHEMA = {
    "type": "object",
    "required": list(TOWN),
    "properties": {name: _KINDS.get(name, {"type": "string"}) for name in TOWN},
}


@router.get("", responses=gives("The town, with an ETag.", TOWN, schema=_SCHEMA, problems=[403]))
async def get_settings(request: Request, staff: InTown) -> Response:
    """The town itself, and its settings as far as it has any."""
    if not staff.roles & INDOORS:
        raise NotPermitted
    async with staff_door_of(request).listings.reading(staff.seen, staff.town_id) as reader:
        town = await reader.row("town", staff.town_id)
    assert town is not None
    return tagged(request, {"id": town.id, "version": town.version, **town.fields})


@router.put("", dependencies=KEYED, responses=changes("Changed."), openapi_extra=takes(TownSettings, SETTINGS))
async def put_settings(request: Request, staff: InTown) -> Response:
    """Other settings, as a whole: what is not named is as usual again."""
    said = await read_document(request)
    return await do(request, staff, ChangeSettings(settings=understood(TownSettings, said)), said)
