"""`/v1/towns/{town_id}/{parties|students|schools}/{id}/statement`: what an account owes, and how it came to that.

Read from the read side: `as_of` says of which version of the town it is. `format=csv` gives a table for a spreadsheet,
`format=html` a page, `format=pdf` a paper, which a worker makes.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from server.api.documents import gives, tagged, tagged_body
from server.api.office.doing import path_id
from server.api.office.lists import asked_of
from server.api.office.papers import NOT_YET, paper_asked_for
from server.api.parts import staff_door_of
from server.api.staff import InTown
from server.application.commands.act import Staff
from server.application.commands.make_papers import STATEMENT
from server.application.queries.paging import InvalidQuery
from server.application.queries.schools import check_account
from server.application.statement_ports import Of
from server.domain.papers import LINES_MAX, statement_page, zone_of
from server.domain.people import NotPermitted
from server.domain.statements import as_csv, read_back, shown, within

READERS: Final = frozenset({"admin", "dispatcher", "counter_clerk", "school_office"})
FORMATS: Final = ("json", "csv", "html", "pdf")
CSV_TYPE: Final = "text/csv; charset=utf-8"

EXAMPLE: Final = {
    "town": {"id": "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11", "name": "Douglas", "time_zone": "Europe/Isle_of_Man"},
    "account": {"kind": "student", "id": "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d12", "name": "Grace Hopper"},
    "as_of": {"version": 1207, "at": "2026-11-21T08:15:02.114Z"},
    "overdue": [{"currency": "GBP", "amount": "25.00", "invoices": 1}],
    "currencies": [
        {
            "currency": "GBP",
            "opening": "0.00",
            "charged": "45.00",
            "received": "20.00",
            "closing": "25.00",
            "lines": [
                {
                    "version": 1180,
                    "at": "2026-11-01T09:00:00.000Z",
                    "name": "",
                    "what": "Autumn fees: Grace Hopper",
                    "charged": "45.00",
                    "received": "",
                    "balance": "45.00",
                }
            ],
        }
    ],
}
_DAY: Final = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")
_DATE_SCHEMA: Final = {"type": "string", "format": "date"}
_PARAMETERS: Final = [
    {"name": "since", "in": "query", "required": False, "schema": _DATE_SCHEMA},
    {"name": "until", "in": "query", "required": False, "schema": _DATE_SCHEMA},
    {"name": "format", "in": "query", "required": False, "schema": {"type": "string", "enum": list(FORMATS)}},
]

Route = Callable[..., Awaitable[Response]]

router = APIRouter(prefix="/v1/towns/{town_id}", tags=["statements"])


def _route(of: Of) -> Route:
    async def get_statement(request: Request, staff: InTown, owner_id: str) -> Response:
        asked = _asked(request)
        if not staff.roles & READERS:
            raise NotPermitted
        door = staff_door_of(request)
        await check_account(staff, of, path_id(owner_id), door.listings)
        body = await door.statements.document(staff.seen, staff.town_id, of, path_id(owner_id))
        if not asked.keys() - {"format"} and asked.get("format", "json") == "json":
            return tagged_body(request, body)
        return await _answer(request, staff, of, orjson.loads(body), asked)

    told = "line by line with the balance after it, for some days or from the beginning."
    get_statement.__doc__ = f"What a {of.value} was charged and what came in, {told}"
    return get_statement


async def _answer(
    request: Request, staff: Staff, of: Of, said: Mapping[str, Any], asked: Mapping[str, str]
) -> Response:
    since, until = asked.get("since"), asked.get("until")
    zone = zone_of(said)
    sections = within(read_back(said["currencies"]), since, until, zone)
    match asked.get("format", "json"):
        case "csv":
            name = f"statement-{said['account']['id']}-{said['as_of']['version']}.csv"
            headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-cache"}
            return Response(as_csv(sections, zone), media_type=CSV_TYPE, headers=headers)
        case "html":
            return HTMLResponse(statement_page(said, shown(sections), is_for_print=False))
        case "pdf":
            if sum(len(section["lines"]) for section in sections) > LINES_MAX:
                raise InvalidQuery(f"this statement has more than {LINES_MAX} lines: ask for some days of it")
            wanted = {
                "paper": STATEMENT,
                "of": of.value,
                "owner": said["account"]["id"],
                "since": since,
                "until": until,
            }
            says = [said["town"], said["account"], said["overdue"], shown(sections)]
            return await paper_asked_for(request, staff.town_id, wanted, says)
        case _:
            return tagged(request, {**said, "currencies": shown(sections)})


def _asked(request: Request) -> dict[str, Any]:
    asked = asked_of(request)
    if asked.keys() - {"since", "until", "format"}:
        raise InvalidQuery("a statement has the parameters since, until and format")
    for name in asked.keys() & {"since", "until"}:
        if not _DAY.fullmatch(asked[name]):
            raise InvalidQuery(f"{name} is a day like 2026-11-21")
    if asked.get("format", "json") not in FORMATS:
        raise InvalidQuery(f"format is one of {', '.join(FORMATS)}")
    return asked


for _of, _plural in ((Of.PARTY, "parties"), (Of.STUDENT, "students"), (Of.SCHOOL, "schools")):
    router.add_api_route(
        f"/{_plural}/{{owner_id}}/statement",
        _route(_of),
        name=f"get_{_of.value}_statement",
        responses=gives("The statement, with an ETag.", EXAMPLE, problems=[400, 403]) | NOT_YET,
        openapi_extra={"parameters": _PARAMETERS},
    )
