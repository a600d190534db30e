"""`/v1/towns/{town_id}/conflicts` and `/tasks`: the inbox, and how people settle what is in it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from server.api.documents import gives, read_document, tagged, takes, understood
from server.api.office.doing import KEYED, changes, do, path_id
from server.api.office.lists import row_example, row_schema, show_row
from server.api.parts import staff_door_of
from server.api.staff import InTown
from sync.kernel.changeset import Operation
from sync.kernel.errors import Malformed
from sync.modules import registry
from sync.modules.casework import CompleteTask, How, ResolveConflict, TextOfPeople

OPERATIONS_MAX = 20
"""What one resolution can do beside it."""

router = APIRouter(prefix="/v1/towns/{town_id}", tags=["conflicts"])

RESOLUTION = {
    "how": "compensate",
    "note": "counted twice: four were behind the rice",
    "operations": [
        {
            "op": "stock.adjust",
            "warehouse": "01970a6e-3c00-7a54-9d2e-5a1f6a3f6d14",
            "product": "3f1c7a52-9d2e-8a1f-8a3f-6d1301970a6e",
            "delta": 4,
        }
    ],
}
NOTE = {"note": "counted: seven are on the shelf"}
_TASK = {"oneOf": [row_schema("tasks"), {"type": "null"}]}
_CONFLICT = row_schema("conflicts")
_WHOLE = {
    **_CONFLICT,
    "required": [*_CONFLICT["required"], "task"],
    "properties": {**_CONFLICT["properties"], "task": _TASK},
}


class Resolution(BaseModel):
    """How a conflict is settled; `operations` make it good, each as a change set says it, without an id."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    how: How
    note: TextOfPeople
    operations: Annotated[list[dict[str, Any]], Field(max_length=OPERATIONS_MAX)] = []


@router.get(
    "/conflicts/{conflict_id}",
    responses=gives(
        "The conflict and its task, with an ETag.",
        {**row_example("conflicts"), "task": row_example("tasks")},
        schema=_WHOLE,
        problems=[403],
    ),
)
async def get_conflict(request: Request, staff: InTown, conflict_id: str) -> Response:
    """One conflict: what the device said, what the server had, the rule, the outcome, its task and its resolution."""
    async with staff_door_of(request).listings.reading(staff.seen, staff.town_id) as reader:
        conflict = await show_row(reader, staff, "conflicts", conflict_id)
        task_id = conflict["task_id"]
        conflict["task"] = await show_row(reader, staff, "tasks", task_id) if task_id else None
    return tagged(request, conflict)


@router.post(
    "/conflicts/{conflict_id}/resolution",
    dependencies=KEYED,
    responses=changes("Resolved, with everything that makes it good, and its task is done."),
    openapi_extra=takes(Resolution, RESOLUTION),
)
async def post_resolution(request: Request, staff: InTown, conflict_id: str) -> Response:
    """Settle a conflict, once: `accept` it, `compensate`, `reassign`, or `write_off`."""
    said, conflict = await read_document(request), path_id(conflict_id)
    resolution = understood(Resolution, said)
    resolve = ResolveConflict(conflict=conflict, how=resolution.how, note=resolution.note)
    others = [_operation(operation) for operation in resolution.operations]
    return await do(request, staff, resolve, said, about=("conflict", conflict), also=others)


@router.post(
    "/tasks/{task_id}/complete",
    dependencies=KEYED,
    responses=changes("Done."),
    openapi_extra=takes(CompleteTask, NOTE, given=["task"]),
)
async def post_completion(request: Request, staff: InTown, task_id: str) -> Response:
    """Close a task by hand; its conflict stays until somebody resolves it."""
    said, task = await read_document(request), path_id(task_id)
    return await do(request, staff, understood(CompleteTask, said, task=task), said, about=("task", task))


def _operation(said: dict[str, Any]) -> Operation:
    """An operation as a change set says it. Raises `Malformed`, and `UnknownOperation`."""
    fields = dict(said)
    name = fields.pop("op", None)
    if not isinstance(name, str):
        raise Malformed("an operation has no name")
    return understood(registry().operation(name), fields)
