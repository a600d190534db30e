"""Papers: a Z report as a page, a document or a PDF, and the door where what workers have made is fetched.

A PDF is asked for at the address of what it shows: 202 with the paper's own address until it is there, then the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from server.api.documents import gives, tagged
from server.api.office.doing import path_id
from server.api.office.lists import asked_of
from server.api.parts import paper_door_of
from server.api.staff import InTown
from server.api.streams import TimelyResponse
from server.application.commands.make_papers import Z_REPORT
from server.application.paper_ports import Paper
from server.application.queries.paging import InvalidQuery
from server.domain.access import NotFound
from server.domain.papers import STYLE, STYLE_PATH, z_report_page
from server.domain.people import NotPermitted

READERS: Final = frozenset({"admin", "dispatcher", "counter_clerk", "school_office"})
OFFICE: Final = frozenset({"admin", "dispatcher"})
ACCEPTED: Final = 202
RETRY_SECONDS: Final = 2
FORMATS: Final = ("json", "html", "pdf")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}")

Z_REPORT_EXAMPLE: Final = {
    "id": "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d31",
    "number": 2,
    "town": {"id": "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11", "name": "Douglas", "time_zone": "Europe/Isle_of_Man"},
    "drawer": {"id": "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d32", "name": "Counter 1", "holder": "Mona Skillicorn"},
    "is_implied": False,
    "opened_at": "2026-11-21T08:00:00.000Z",
    "counted_at": "2026-11-21T17:00:00.000Z",
    "made_at": "2026-11-21T17:01:00.000Z",
    "late_payment": "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d34",
    "reports": 2,
    "currencies": [
        {
            "currency": "GBP",
            "payments": 2,
            "opening": "50.00",
            "expected": "212.00",
            "counted": "209.50",
            "taken": "162.00",
            "given_back": "0.00",
            "difference": "-2.50",
        }
    ],
    "payments": [
        {
            "id": "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d33",
            "at": "2026-11-21T10:12:00.000Z",
            "what": "Mooring 17",
            "method": "cash",
            "status": "CONFIRMED",
            "amount": "120.00",
            "currency": "GBP",
        }
    ],
}
_FORMAT = {"name": "format", "in": "query", "required": False, "schema": {"type": "string", "enum": list(FORMATS)}}
NOT_YET: Final[dict[int | str, Any]] = {
    ACCEPTED: {"description": "A worker makes the PDF: `Location` is where it will be, `Retry-After` when to ask."}
}

router = APIRouter(tags=["papers"])
of_town = APIRouter(prefix="/v1/towns/{town_id}", tags=["papers"])


@router.get(STYLE_PATH, include_in_schema=False)
async def get_style() -> Response:
    """How papers look in a browser."""
    return Response(STYLE, media_type="text/css", headers={"Cache-Control": "public, max-age=3600"})


@of_town.get(
    "/drawer-sessions/{drawer_id}/z-reports/{number}",
    responses=gives("The report.", Z_REPORT_EXAMPLE, problems=[400, 403], nullable=["late_payment"]) | NOT_YET,
    openapi_extra={"parameters": [_FORMAT]},
)
async def get_z_report(request: Request, staff: InTown, drawer_id: str, number: str) -> Response:
    """What was in a drawer when it was closed, as a document, as a page to print, or as a PDF; for the office."""
    asked = asked_of(request)
    if asked.keys() - {"format"} or asked.get("format", "json") not in FORMATS:
        raise InvalidQuery(f"a Z report has the parameter format: one of {', '.join(FORMATS)}")
    if not staff.roles & OFFICE:
        raise NotPermitted
    if not _NUMBER.fullmatch(number):
        raise NotFound
    reports, drawer = paper_door_of(request).z_reports, path_id(drawer_id)
    report = await reports.report(staff.seen, staff.town_id, drawer, int(number))
    match asked.get("format", "json"):
        case "html":
            return HTMLResponse(z_report_page(report, is_for_print=False))
        case "pdf":
            wanted = {"paper": Z_REPORT, "drawer": drawer, "number": int(number)}
            return await paper_asked_for(request, staff.town_id, wanted, report)
        case _:
            return tagged(request, report)


@of_town.get(
    "/papers/{paper_id}",
    response_class=Response,
    responses=gives("The file.", None, problems=[403]) | NOT_YET,
)
async def get_paper(request: Request, staff: InTown, paper_id: str) -> Response:
    """A paper that was asked for, once a worker has made it."""
    if not staff.roles & READERS:
        raise NotPermitted
    door, key = paper_door_of(request), path_id(paper_id)
    paper = await door.papers.find(staff.town_id, key)
    if paper is not None:
        return await _file(request, staff.town_id, paper)
    if not await door.papers.is_asked_for(staff.town_id, key):
        raise NotFound
    return _accepted(staff.town_id, key)


async def paper_asked_for(request: Request, town_id: str, wanted: Mapping[str, Any], says: Any) -> Response:
    """The paper when it is there; else it is on a worker's agenda from now on."""
    door = paper_door_of(request)
    key = await door.ask(town_id, wanted, says)
    paper = await door.papers.find(town_id, key)
    return await _file(request, town_id, paper) if paper else _accepted(town_id, key)


def _accepted(town_id: str, paper_id: str) -> Response:
    where = f"/v1/towns/{town_id}/papers/{paper_id}"
    return Response(status_code=ACCEPTED, headers={"Location": where, "Retry-After": str(RETRY_SECONDS)})


async def _file(request: Request, town_id: str, paper: Paper) -> Response:
    """It never changes: its hash is its tag."""
    blobs = paper_door_of(request).blobs
    size = await blobs.size(town_id, paper.sha256)
    if size is None:
        raise NotFound
    headers = {
        "ETag": f'"{paper.sha256}"',
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="{paper.name}"',
    }
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    headers["Content-Length"] = str(size)
    return TimelyResponse(blobs.read(town_id, paper.sha256, 0, size), media_type=paper.media_type, headers=headers)
