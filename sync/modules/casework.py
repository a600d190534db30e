"""Casework (truth): what people must look at, and what they have made of it.

Conflicts and tasks are written by the engine whenever a case arises. A person in the office resolves a conflict by an
ordinary change set: `conflict.resolve`, and beside it whatever makes it good. History is never edited.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import StringConstraints

from sync.kernel.changeset import Fields, Intent, Operation
from sync.kernel.draft import Draft
from sync.kernel.ids import Id
from sync.kernel.module import Case, Entity, FieldKind, Module, ModuleKind, Ref

HOWS = ("accept", "compensate", "reassign", "write_off")
How = Literal["accept", "compensate", "reassign", "write_off"]
TextOfPeople = Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)]

NEEDS_MORE = frozenset({"compensate", "reassign"})
"""Ways of resolving that are nothing without an operation that does it."""

ALREADY_RESOLVED = Case(
    id="casework.already_resolved",
    sentence="This conflict was resolved before, at {at} by {how}.",
    is_refusal=True,
)
RESOLUTION_UNFIT = Case(
    id="casework.resolution_unfit",
    sentence="To resolve a conflict by {how} takes {allowed} beside it, and nothing else.",
    is_refusal=True,
)
ALREADY_DONE = Case(id="casework.already_done", sentence="This task was closed before, at {at}.", is_refusal=True)
NOT_YOUR_TASK = Case(id="casework.not_your_task", sentence="This task is for others to do.", is_refusal=True)


def _without(fields: Fields, *names: str) -> Fields:
    return {name: value for name, value in fields.items() if name not in names}


def _conflict_projection(_bucket: str, row: Fields) -> Fields:
    """The device hears what became of it; which task it was is the office's affair."""
    return _without(row, "task_id") if row["resolution"] else _without(row, "task_id", "resolution")


CONFLICT = Entity(
    name="conflict",
    plural="conflicts",
    fields={
        "kind": FieldKind.TEXT,
        "rule": FieldKind.TEXT,
        "sentence": FieldKind.TEXT,
        "subject_entity": FieldKind.TEXT,
        "subject_id": FieldKind.ID,
        "device_id": FieldKind.ID,
        "seq": FieldKind.INTEGER,
        "operation": FieldKind.TEXT,
        "actor_id": FieldKind.ID,
        "said": FieldKind.JSON,
        "had": FieldKind.JSON,
        "outcome": FieldKind.TEXT,
        "state": FieldKind.TEXT,
        "raised_at": FieldKind.TIME,
        "task_id": FieldKind.ID,
        "resolution": FieldKind.JSON,
    },
    bucket_kinds=frozenset({"device"}),
    buckets=lambda row: (f"device:{row['device_id']}",),
    project=_conflict_projection,
)


def _task_buckets(row: Fields) -> tuple[str, ...]:
    return (row["audience"],) if row["audience"] and row["state"] == "open" else ()


TASK = Entity(
    name="task",
    plural="tasks",
    fields={
        "conflict_id": FieldKind.ID,
        "kind": FieldKind.TEXT,
        "text": FieldKind.TEXT,
        "subject_entity": FieldKind.TEXT,
        "subject_id": FieldKind.ID,
        "audience": FieldKind.TEXT,
        "state": FieldKind.TEXT,
        "raised_at": FieldKind.TIME,
        "closed": FieldKind.JSON,
    },
    bucket_kinds=frozenset({"driver", "warehouse"}),
    buckets=_task_buckets,
    project=lambda _bucket, row: _without(row, "closed"),
)

STUB = Entity(
    name="stub",
    plural="stubs",
    fields={
        "awaited_entity": FieldKind.TEXT,
        "awaited_id": FieldKind.ID,
        "state": FieldKind.TEXT,
        "since": FieldKind.TIME,
        "facts": FieldKind.JSON,
        "given_id": FieldKind.ID,
    },
)

VOIDED = Entity(
    name="voided",
    plural="voided",
    fields={"device_id": FieldKind.ID, "seq": FieldKind.INTEGER},
)


class ResolveConflict(Operation):
    """Somebody has decided what becomes of a conflict; what makes it good is done in the same change set."""

    op: ClassVar = "conflict.resolve"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = frozenset({"admin", "dispatcher"})
    conflict: Annotated[Id, Ref(entity="conflict")]
    how: How
    note: TextOfPeople


class CompleteTask(Operation):
    """What was to be done is done, or is not needed any more."""

    op: ClassVar = "task.complete"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = frozenset({"admin", "dispatcher", "warehouse_staff", "driver"})
    task: Annotated[Id, Ref(entity="task")]
    note: TextOfPeople


def resolve(operation: ResolveConflict, draft: Draft) -> None:
    """The conflict says who has resolved it, when and how, and its task is done. Once is for ever."""
    conflict = draft.need("conflict", operation.conflict)
    if conflict["resolution"]:
        before = conflict["resolution"]
        raise draft.refuse(ALREADY_RESOLVED, at=before["at"], how=before["how"], note=before["note"])
    others = [other for other in draft.change_set.ops if not isinstance(other, ResolveConflict)]
    is_fit = all(operation.how in other.resolves for other in others)
    if not is_fit or (operation.how in NEEDS_MORE and not others):
        raise draft.refuse(RESOLUTION_UNFIT, how=operation.how, allowed=_ALLOWED[operation.how])
    resolution = {
        "how": operation.how,
        **_by_whom(operation.note, draft),
        "operations": [{"op": other.op, "id": other.id} for other in others],
    }
    draft.update("conflict", operation.conflict, state="resolved", resolution=resolution)
    task = draft.get("task", conflict["task_id"]) if conflict["task_id"] else None
    if task and task["state"] == "open":
        _close(conflict["task_id"], operation.note, draft)


def complete(operation: CompleteTask, draft: Draft) -> None:
    """The task leaves the lists of those who have it to do; on a device only who sees it can close it.

    A device holds no task of others, and of its own row no more than its role and its user.
    """
    task = draft.need("task", operation.task)
    if task["state"] != "open":
        raise draft.refuse(ALREADY_DONE, at=task["closed"]["at"], note=task["closed"]["note"])
    if draft.context.is_truth and not draft.context.is_server and not _is_for(task, draft):
        raise draft.refuse(NOT_YOUR_TASK)
    _close(operation.task, operation.note, draft)


_ALLOWED = {
    "accept": "nothing",
    "compensate": "what makes it good",
    "reassign": "the assignment to another",
    "write_off": "at most the stock that is written off",
}


def _is_for(task: Fields, draft: Draft) -> bool:
    device = draft.get("device", draft.change_set.device)
    return device is not None and task["audience"] in {
        f"warehouse:{device['warehouse_id']}",
        f"driver:{device['user_id']}",
    }


def _close(task_id: str, note: str, draft: Draft) -> None:
    draft.update("task", task_id, state="done", closed=_by_whom(note, draft))


def _by_whom(note: str, draft: Draft) -> Fields:
    said = draft.change_set
    return {
        "note": note,
        "by": said.actor,
        "at": draft.context.decided_at,
        "device_id": said.device,
        "seq": said.seq,
    }


MODULE = Module(
    name="casework",
    kind=ModuleKind.TRUTH,
    entities=(CONFLICT, TASK, STUB, VOIDED),
    operations=(ResolveConflict, CompleteTask),
    rules={ResolveConflict: resolve, CompleteTask: complete},
    cases=(ALREADY_RESOLVED, RESOLUTION_UNFIT, ALREADY_DONE, NOT_YOUR_TASK),
)
