"""The draft a rule works on: reads fall through to the view, writes stay here until the whole change set holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sync.kernel.cases import ID_TAKEN
from sync.kernel.casework import Matter, casework_rows
from sync.kernel.changeset import ChangeSet, Effect, Fields, Note, Operation, RowKey
from sync.kernel.evidence import Bounds, Moment
from sync.kernel.ids import derived_id
from sync.kernel.module import Case
from sync.kernel.view import UNSEEN, NeedRows, View

Mark = tuple[dict[RowKey, Fields], str | None, tuple[int, int, int]]
"""The rows, the rule, and how many notes, conflicts and effects there were."""


RULES = 4
"""Which rules decide now. A journal entry says by which it was decided, and is decided again by the same.

1: the first. 2: acts have bounds in time, movements of goods have numbers, a wrong clock is told; facts wait for what
has not come, whose tour it is is asked, the office may mix facts and wishes. 3: money has books: invoices, credit,
drawers, and entries in double entry. 4: a price that the list did not have is told, an invoice is asked for once at a
time.
"""


class Refused(Exception):
    """A rule refuses the change set; the case says why."""

    def __init__(self, case: Case, data: Mapping[str, Any]) -> None:
        super().__init__(case.id)
        self.case = case
        self.data = data


class UnknownRow(Exception):
    """The operation points to a row that does not exist."""

    def __init__(self, entity: str, row_id: str) -> None:
        super().__init__(f"{entity} {row_id}")
        self.entity = entity
        self.row_id = row_id


class UnseenRow(Exception):
    """The operation points to a row that this replica does not hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """Where and when a change set is decided.

    `decided_at` is server time on the server and device time on a device; `is_truth` tells which of the two it is;
    `is_server` says that the change set was authored by the town's own server device. `version` is the town version
    that the decision makes (0 on a device), `bounds` between which times the change set was written; without them a
    device's own word counts, to itself.
    """

    decided_at: str
    is_truth: bool
    is_server: bool
    is_booked: bool = False
    """The line that the change set stands for had taken effect itself."""
    version: int = 0
    bounds: Bounds | None = None
    rules: int = RULES


class Draft:
    """The rows of one change set in the making, with its conflicts, notes and effects."""

    def __init__(self, view: View, change_set: ChangeSet, context: Context, *, salt: tuple[str, ...] = ()) -> None:
        """`salt` tells the ids that this draft makes from those of another draft of the same change set."""
        self.change_set = change_set
        self.context = context
        self.rows: dict[RowKey, Fields] = {}
        self.notes: list[Note] = []
        self.conflicts: list[str] = []
        self.effects: list[Effect] = []
        self.rule: str | None = None
        self.worked_out: dict[RowKey, Any] = {}
        """What a rule worked out of a row, for the operations after it, which must see whether the row is still that
        one. Only saves time."""
        self._view = view
        self._salt = salt
        self._made = 0

    @property
    def claimed_at(self) -> str:
        """When the device says it happened, without the clock's counter."""
        return self.change_set.at[:24]

    @property
    def moment(self) -> Moment:
        """When it happened as far as that is proven, and its place in the order of things."""
        bounds = self.context.bounds or Bounds(earliest=self.claimed_at, latest=self.claimed_at)
        return Moment(
            device=self.change_set.device,
            seq=self.change_set.seq,
            version=self.context.version,
            after_version=bounds.after_version,
            earliest=bounds.earliest,
            latest=bounds.latest,
        )

    def sees(self, entity: str, row_id: str) -> bool:
        """Whether a read of this row would tell anything (always true on the server)."""
        return (entity, row_id) in self.rows or self._view.get(entity, row_id) is not UNSEEN

    def gather(self, keys: Iterable[RowKey]) -> None:
        """Say which rows will be read, so that they are loaded together and not one by one."""
        missing: set[RowKey] = set()
        for key in keys:
            if key in self.rows:
                continue
            try:
                self._view.get(*key)
            except NeedRows as need:
                missing |= need.keys
        if missing:
            raise NeedRows(frozenset(missing))

    def get(self, entity: str, row_id: str) -> Fields | None:
        """The row as this change set has made it so far, or None when there is none or it cannot be seen."""
        key = (entity, row_id)
        if key in self.rows:
            return self.rows[key]
        row = self._view.get(entity, row_id)
        return None if row is UNSEEN else row

    def need(self, entity: str, row_id: str) -> Fields:
        """The row; raise `UnknownRow` when there is none and `UnseenRow` when a device cannot see it."""
        row = self.get(entity, row_id)
        if row is not None:
            return row
        if self._view.get(entity, row_id) is UNSEEN:
            raise UnseenRow
        raise UnknownRow(entity, row_id)

    def put(self, entity: str, row_id: str, fields: Fields) -> None:
        """Make the row be `fields`."""
        self.rows[entity, row_id] = fields

    def create(self, entity: str, row_id: str, fields: Fields) -> None:
        """Make a row that must not be there yet; refuse an id that is taken."""
        if self.get(entity, row_id) is not None:
            raise self.refuse(ID_TAKEN, entity=entity)
        self.rows[entity, row_id] = fields

    def update(self, entity: str, row_id: str, **changes: Any) -> Fields:
        """Change some fields of an existing row and return the new row."""
        fields = {**self.need(entity, row_id), **changes}
        self.rows[entity, row_id] = fields
        return fields

    def new_id(self, what: str) -> str:
        """A fresh id that the server and every replay derive alike."""
        self._made += 1
        return derived_id(what, self.change_set.device, self.change_set.seq, *self._salt, self._made)

    def derived(self, what: str, *parts: str) -> str:
        """The id of the one row `what` that this change set makes of `parts`."""
        return derived_id(what, self.change_set.device, self.change_set.seq, *self._salt, *parts)

    def refuse(self, case: Case, **data: Any) -> Refused:
        """The exception to raise when the whole change set cannot be."""
        assert case.is_refusal, case.id
        return Refused(case, data)

    def adjust(
        self,
        case: Case,
        operation: Operation,
        *,
        subject: RowKey,
        said: Fields | None = None,
        had: Fields | None = None,
        outcome: str = "",
        audience: str = "",
        conflict_id: str | None = None,
        **data: Any,
    ) -> None:
        """Record that the change set means something else than it said.

        Writes the conflict and the task the case declares. `subject` is the row it is about, `said` what the device
        claimed, `had` what stood here, `outcome` what stands now, `audience` the bucket that shall see the task.
        With `conflict_id` the conflict has that id, which its rule has seen to be free.
        """
        assert not case.is_refusal, case.id
        text = case.explain(data)
        self.rule = self.rule or case.id
        self.notes.append(Note(code=case.id, text=text, data={**data, "subject": list(subject)}))
        if not case.conflict:
            return
        conflict_id = conflict_id or self.new_id("conflict")
        self.conflicts.append(conflict_id)
        matter = Matter(
            case=case,
            rule=case.id,
            sentence=text,
            task=case.task and case.task.format_map(data),
            subject=subject,
            source=(self.change_set.device, self.change_set.seq),
            operation=operation.op,
            actor_id=self.change_set.actor,
            said=dict(said or {}),
            had=dict(had or {}),
            outcome=outcome,
            audience=audience,
        )
        task_id = self.new_id("task") if case.task else ""
        self.rows.update(casework_rows(matter, conflict_id, task_id, self.context.decided_at))

    def mark(self) -> Mark:
        """Where it stands, to go back to."""
        return dict(self.rows), self.rule, (len(self.notes), len(self.conflicts), len(self.effects))

    def back_to(self, mark: Mark) -> None:
        """Forget what was done since; ids that were made are not made again."""
        self.rows, self.rule, (notes, conflicts, effects) = dict(mark[0]), mark[1], mark[2]
        del self.notes[notes:], self.conflicts[conflicts:], self.effects[effects:]

    def take_over(self, other: Draft) -> None:
        """Everything that a draft on top of this one has come to, but for its notes."""
        self.rows.update(other.rows)
        self.conflicts += other.conflicts
        self.effects += other.effects

    def effect(self, kind: str, **data: Any) -> None:
        """Ask for work outside the town, to be done once after commit."""
        self.effects.append(Effect(id=self.new_id("effect"), kind=kind, data=data))
