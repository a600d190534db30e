"""Casework (truth): what people must look at. Conflicts and tasks are written by the engine whenever a case arises."""

from __future__ import annotations

from sync.kernel.changeset import Fields
from sync.kernel.module import Entity, FieldKind, Module, ModuleKind

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
    },
    bucket_kinds=frozenset({"device"}),
    buckets=lambda row: (f"device:{row['device_id']}",),
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
    },
    bucket_kinds=frozenset({"driver", "warehouse"}),
    buckets=_task_buckets,
)

VOIDED = Entity(
    name="voided",
    plural="voided",
    fields={"device_id": FieldKind.ID, "seq": FieldKind.INTEGER},
)

MODULE = Module(name="casework", kind=ModuleKind.TRUTH, entities=(CONFLICT, TASK, VOIDED))
