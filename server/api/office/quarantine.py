"""`/v1/towns/{town_id}/quarantine`: change sets that are kept without effect, until somebody decides.

Both ways of deciding settle the conflict about the change set, in the name of whoever asks; so one that is settled is
refused by the rule of conflicts, and a request that comes twice under its key is answered as at first.
"""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from server.api.documents import gives, read_document, tagged, takes, understood
from server.api.office.doing import KEYED, changes, do, keyed, path_id
from server.api.office.lists import asked_of, page_schema
from server.api.parts import parts_of, staff_door_of
from server.api.staff import InTown
from server.application.commands.act import Staff
from server.application.commands.settle_quarantine import OPEN, find_line, rerun
from server.application.queries.paging import PAGE_ROWS, PAGE_ROWS_MAX, InvalidQuery, read_limit, read_value
from server.application.sealed_ports import QuarantinedLine
from server.domain.access import NotFound
from server.domain.people import NotPermitted
from sync.engine.chain import encode_bytes
from sync.kernel.module import FieldKind
from sync.modules import registry
from sync.modules.casework import ResolveConflict, TextOfPeople
from sync.protocol import limits

router = APIRouter(prefix="/v1/towns/{town_id}/quarantine", tags=["quarantine"])

SETTLED = "It was settled before."
LINE = {
    "device_id": "01970a6e-3c00-7a52-9d2e-5a1f6a3f6d12",
    "seq": 17,
    "version": 1207,
    "hash": "5a1f6a3f6d11-0b1f6a3f6d11_0b1f6a3f6d11-8c1f",
    "rule": "engine.unknown_reference",
    "reason": "This points to a product that does not exist here.",
    "conflict_id": "01970a6e-3c00-8a52-9d2e-5a1f6a3f6d12",
    "state": "open",
    "raised_at": "2026-11-21T08:15:02.114Z",
}
REASON = {"reason": "counted twice, the driver says"}
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": list(LINE),
    "properties": {name: {"type": "integer" if isinstance(value, int) else "string"} for name, value in LINE.items()},
}
_WHOLE = {**_SCHEMA, "required": [*LINE, "line"], "properties": {**_SCHEMA["properties"], "line": {}}}
_PARAMETERS: list[dict[str, Any]] = [
    {"name": name, "in": "query", "required": False, "schema": schema}
    for name, schema in (
        ("state", {"enum": ["open", "all"], "default": "open"}),
        ("limit", {"type": "integer", "minimum": 1, "maximum": PAGE_ROWS_MAX, "default": PAGE_ROWS}),
        ("cursor", {"type": "string"}),
    )
]


class Refusal(BaseModel):
    """Why it shall have no effect; kept for ever, and shown on the device."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    reason: TextOfPeople


@router.get(
    "",
    responses=gives(
        "A page, with an ETag; it ends with the version in which it has reached the limit.",
        {"items": [LINE], "next_cursor": "1207"},
        schema=page_schema(_SCHEMA),
        problems=[400, 403],
    ),
    openapi_extra={"parameters": _PARAMETERS},
)
async def get_quarantine(request: Request, staff: InTown) -> Response:
    """What is kept without effect, oldest first; with `state=all` also what somebody has decided about."""
    asked = asked_of(request)
    if asked.keys() - {"state", "limit", "cursor"} or asked.get("state", "open") not in {"open", "all"}:
        raise InvalidQuery("this list has the parameters state (open or all), limit and cursor")
    limit = read_limit(asked.get("limit", str(PAGE_ROWS)))
    after = max(0, read_value("cursor", asked["cursor"], FieldKind.INTEGER)) if "cursor" in asked else 0
    await _enter(request, staff)
    lines = await staff_door_of(request).quarantine.lines(
        staff.town_id, is_open=asked.get("state", "open") == "open", after_version=after, lines_max=limit
    )
    cursor = str(lines[-1].version) if len(lines) >= limit else None
    return tagged(request, {"items": [_shown(line) for line in lines], "next_cursor": cursor})


@router.get(
    "/{device_id}/{seq}",
    responses=gives(
        "The change set, word for word, with an ETag.",
        {**LINE, "line": {"v": 1, "seq": 17, "ops": [{"op": "stock.receive"}]}},
        schema=_WHOLE,
        problems=[403],
    ),
)
async def get_quarantined(request: Request, staff: InTown, device_id: str, seq: str) -> Response:
    """One change set in quarantine: what its device recorded, and why it has no effect; text if it is no JSON."""
    line = await _line(request, staff, device_id, seq)
    try:
        said = orjson.loads(line.line)
    except ValueError:
        said = line.line.decode(errors="backslashreplace")
    return tagged(request, {**_shown(line), "line": said})


@router.post(
    "/{device_id}/{seq}/retry",
    dependencies=KEYED,
    responses=changes("It has taken effect, once, and its conflict is settled by this."),
)
async def post_retry(request: Request, staff: InTown, device_id: str, seq: str) -> Response:
    """Run it again after a fix, in the name of whoever recorded it. What still does not take effect stays."""
    keyed(request, staff, {})  # a key that is none is told before anything is done
    line = await _line(request, staff, device_id, seq)
    note = SETTLED
    if line.state == OPEN:
        parts = parts_of(request)
        done = await rerun(staff.town_id, line, appliers=parts.appliers, registry=registry())
        note = done.note
    return await _settle(request, staff, line, note, {})


@router.post(
    "/{device_id}/{seq}/refuse",
    dependencies=KEYED,
    responses=changes("It has no effect for good, and its conflict is settled by this."),
    openapi_extra=takes(Refusal, REASON),
)
async def post_refusal(request: Request, staff: InTown, device_id: str, seq: str) -> Response:
    """Settle it without effect: the line stays where it is, the reason goes to its conflict and to the device."""
    said = await read_document(request)
    refusal = understood(Refusal, said)
    line = await _line(request, staff, device_id, seq)
    return await _settle(request, staff, line, refusal.reason, said)


async def _settle(request: Request, staff: Staff, line: QuarantinedLine, note: str, said: dict[str, Any]) -> Response:
    resolve = ResolveConflict(conflict=line.conflict_id, how="accept", note=note)
    return await do(request, staff, resolve, said, about=("conflict", line.conflict_id))


async def _line(request: Request, staff: Staff, device_id: str, seq: str) -> QuarantinedLine:
    """The line that an address names. Raises `NotFound`, `NotPermitted`."""
    await _enter(request, staff)
    if not (seq.isascii() and seq.isdigit() and len(seq) < len(str(limits.INTEGER_MAX))):
        raise NotFound
    return await find_line(staff_door_of(request).quarantine, staff.town_id, path_id(device_id), int(seq))


async def _enter(request: Request, staff: Staff) -> None:
    """Raise unless the town is open to this person, as PostgreSQL sees it, and somebody of the office asks."""
    if not registry().permits_any(staff.roles, ResolveConflict.op):
        raise NotPermitted
    async with staff_door_of(request).listings.reading(staff.seen, staff.town_id):
        pass


def _shown(line: QuarantinedLine) -> dict[str, Any]:
    return {
        "device_id": line.device_id,
        "seq": line.seq,
        "version": line.version,
        "hash": encode_bytes(line.digest),
        "rule": line.rule,
        "reason": line.reason,
        "conflict_id": line.conflict_id,
        "state": line.state,
        "raised_at": line.raised_at,
    }
