"""What a case leaves for people: a conflict, and the task that goes with it, as rows of the module `casework`."""

from __future__ import annotations

from dataclasses import dataclass, field

from sync.kernel.changeset import Fields, RowKey
from sync.kernel.module import Case

OPEN_STUBS = frozenset({"waiting", "overdue"})
"""States of a stub whose row has not come."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Matter:
    """A case as it has arisen.

    `rule` is the id of what decided it. `source` is the change set, as device and seq. `subject` is the row it is
    about, `said` what the device claimed, `had` what stood here, `outcome` what stands now, `audience` the bucket that
    shall see the task.
    """

    case: Case
    rule: str
    sentence: str
    task: str | None
    subject: RowKey
    source: tuple[str, int]
    operation: str
    actor_id: str
    said: Fields = field(default_factory=dict)
    had: Fields = field(default_factory=dict)
    outcome: str = ""
    audience: str = ""


def casework_rows(matter: Matter, conflict_id: str, task_id: str, raised_at: str) -> dict[RowKey, Fields]:
    """The conflict, and the task if there is one; both open."""
    device_id, seq = matter.source
    about = {"subject_entity": matter.subject[0], "subject_id": matter.subject[1]}
    conflict = {
        "kind": matter.case.conflict,
        "rule": matter.rule,
        "sentence": matter.sentence,
        **about,
        "device_id": device_id,
        "seq": seq,
        "operation": matter.operation,
        "actor_id": matter.actor_id,
        "said": matter.said,
        "had": matter.had,
        "outcome": matter.outcome,
        "state": "open",
        "raised_at": raised_at,
        "task_id": task_id if matter.task else None,
        "resolution": None,
    }
    rows: dict[RowKey, Fields] = {("conflict", conflict_id): conflict}
    if matter.task:
        rows["task", task_id] = {
            "conflict_id": conflict_id,
            "kind": matter.case.conflict,
            "text": matter.task,
            **about,
            "audience": matter.audience,
            "state": "open",
            "raised_at": raised_at,
            "closed": None,
        }
    return rows
