"""How a route has a town do something: one change set, at most once for each Idempotency-Key, and its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header
from starlette.requests import Request
from starlette.responses import Response

from server.api.documents import CREATED, OK, document, gives
from server.api.parts import parts_of, staff_door_of
from server.application.commands.act import Staff, act, check_permitted
from server.domain.access import NotFound
from server.domain.requests import InvalidIdempotencyKey, KeyedRequest, keyed_request
from sync.kernel.changeset import Operation, RowKey
from sync.kernel.errors import Malformed
from sync.kernel.ids import parse_id
from sync.modules import registry

Op = TypeVar("Op", bound=Operation)

DONE = {
    "id": "01970a6e-3c00-8a51-8c1f-0b1f6a3f6d11",
    "status": "accepted",
    "version": 1207,
    "notes": [
        {
            "code": "orders.recall_requested",
            "text": "The order is on the van: the driver is asked to bring it back.",
            "data": {},
        }
    ],
    "conflicts": ["01970a6e-3c00-8a52-9d2e-5a1f6a3f6d12"],
}
PROBLEMS = (400, 403, 409, 422, 504)


def _documented(
    _key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="Chosen by the client for this one request: sent again, it is answered and not done again.",
        ),
    ] = None,
) -> None:
    """Only says in OpenAPI that there is the header, which `do` reads."""


KEYED = [Depends(_documented)]
"""`dependencies` of every route that calls `do`."""


def changes(what: str, *, status: int = OK) -> dict[int | str, Any]:
    """`responses` of a route that calls `do`."""
    schema = {
        "type": "object",
        "required": list(DONE),
        "properties": {
            "id": {"type": "string", "description": "Of the operation, and of what it has made, if it has."},
            "status": {"enum": ["accepted", "adjusted"]},
            "version": {"type": "integer", "description": "The town's, with this change in it."},
            "notes": {"type": "array", "items": {"type": "object"}},
            "conflicts": {"type": "array", "items": {"type": "string"}},
        },
    }
    return gives(what, DONE, status=status, schema=schema, problems=PROBLEMS)


def path_id(text: str) -> str:
    """An id in a path; raises `NotFound` for what cannot be one."""
    try:
        return parse_id(text)
    except Malformed:
        raise NotFound from None


async def do(
    request: Request,
    staff: Staff,
    operation: Operation,
    said: Mapping[str, Any],
    *,
    about: RowKey | None = None,
    made: str | None = None,
    made_id: str | None = None,
    status: int = OK,
    also: Sequence[Operation] = (),
) -> Response:
    """Have the town do this; `made` is the last part of the address under which what it made is found.

    What it made has the operation's id unless `made_id` says otherwise. `said` is the document of the request, `about`
    the row in its path; what it does `also` is in the same change set. Raises what `act` raises, and `NotPermitted`.
    """
    operations = [operation, *also]
    check_permitted(staff, operations, registry())
    done = await act(
        staff,
        operations,
        about=about,
        request=keyed(request, staff, said),
        appliers=parts_of(request).appliers,
        listings=staff_door_of(request).listings,
    )
    answer = {
        "id": made_id or done.ids[0],
        "status": done.status,
        "version": done.version,
        "notes": list(done.notes),
        "conflicts": list(done.conflicts),
    }
    if made is None:
        return document(answer, status=status)
    return document(answer, status=CREATED, location=f"/v1/towns/{staff.town_id}/{made}/{answer['id']}")


def keyed(request: Request, staff: Staff, said: Mapping[str, Any]) -> KeyedRequest | None:
    """The request under its Idempotency-Key, if it has one. Raises `InvalidIdempotencyKey`."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(keys) > 1:
        raise InvalidIdempotencyKey
    return keyed_request(staff.account_id, keys[0], request.method, request.url.path, said)
