"""Histories (truth): what an admin decides when the halves do not fit: epochs, devices that forked, lines kept aside.

The town alone writes this, through its own server device. An epoch begins with the line that says so; the record that
devices verify stands beside the journal (`server.application.histories`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from sync.kernel.casework import Matter, casework_rows
from sync.kernel.changeset import Fields, Intent, Note, Operation, Replaced, RowKey
from sync.kernel.draft import Draft
from sync.kernel.ids import Id, derived_id
from sync.kernel.module import Case, Entity, FieldKind, Module, ModuleKind, Ref
from sync.kernel.replacing import REJECTED, replacement_key, replacement_row
from sync.modules.identity import ADMIN, Name

REJECTED_LINES_MAX = 100
Digest = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
Seq = Annotated[int, Field(ge=1)]

RELEASE_REVOKED = Case(
    id="devices.release_revoked", sentence="A revoked device stays revoked: enrol it anew.", is_refusal=True
)
LINES_REJECTED = Case(
    id="devices.lines_rejected",
    sentence="The office has rejected {count} change sets of this device: {reason}. They are kept, without effect.",
    conflict="lines_rejected",
    task="Find out what the rejected change sets of this device were about, and book in the office what did happen",
)
VERDICT_CHANGED = Case(
    id="devices.verdict_changed",
    sentence="The server lost what it had decided: change set {seq} was {before}, and is {now} since.",
    conflict="verdict_changed",
    task="Tell the user of this device that change set {seq} was {before} and is {now} now",
)

DEVICE_RELEASE = Entity(
    name="device_release",
    plural="device_releases",
    fields={"released_at": FieldKind.TIME, "reason": FieldKind.TEXT},
)

REPLACEMENT = Entity(
    name="replacement",
    plural="replacements",
    fields={
        "device_id": FieldKind.ID,
        "seq": FieldKind.INTEGER,
        "hash": FieldKind.TEXT,
        "outcome": FieldKind.TEXT,
        "by_device_id": FieldKind.ID,
        "by_seq": FieldKind.INTEGER,
    },
)


class LineMark(BaseModel):
    """A line by its place in the device's chain and its hash."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    seq: Seq
    hash: Digest


class VerdictMark(BaseModel):
    """A verdict in short."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    status: Literal["accepted", "adjusted", "refused", "quarantined"]
    version: Annotated[int, Field(ge=0)]
    rule: Annotated[str, StringConstraints(max_length=100)] | None = None


class BeginEpoch(Operation):
    """The first line of a new epoch: what came after `version` of the epoch `before` is lost, or given up."""

    op: ClassVar = "town.begin_epoch"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = ADMIN
    before: Id
    version: Annotated[int, Field(ge=0)]
    journal: Digest
    reason: Name


class ReleaseDevice(Operation):
    """The device may act again; where its chain forked, it goes on from the server's head."""

    op: ClassVar = "device.release"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = ADMIN
    device: Annotated[Id, Ref(entity="device")]
    reason: Name

    def reads(self) -> Iterable[RowKey]:
        """The release before."""
        return [("device_release", self.device)]


class RejectLines(Operation):
    """What a device sent while it might not act shall have no effect, whenever and however it comes again."""

    op: ClassVar = "device.reject_lines"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = ADMIN
    device: Annotated[Id, Ref(entity="device")]
    lines: Annotated[list[LineMark], Field(min_length=1, max_length=REJECTED_LINES_MAX)]
    reason: Name

    def reads(self) -> Iterable[RowKey]:
        """What became of each line."""
        return [replacement_key(line.hash) for line in self.lines]


class NoteChangedVerdict(Operation):
    """A line that the server had to decide anew has another verdict than the device was told in a lost history.

    The town says so of a device; what a device says of another one is refused, so it is a wish.
    """

    op: ClassVar = "verdict.note_changed"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = frozenset[str]()
    device: Annotated[Id, Ref(entity="device")]
    seq: Seq
    before: VerdictMark
    now: VerdictMark

    def reads(self) -> Iterable[RowKey]:
        """Whether it was noted before."""
        return [("conflict", changed_id(self))]


def changed_id(operation: NoteChangedVerdict) -> str:
    """The conflict about a verdict that changed; one for each verdict that stands."""
    return derived_id("verdict_changed", operation.device, operation.seq, operation.now.version)


def begin_epoch(operation: BeginEpoch, draft: Draft) -> None:
    """Nothing of the town changes: that the journal goes on in another epoch is the whole of it."""
    del operation
    draft.need("town", draft.change_set.town)


def release_device(operation: ReleaseDevice, draft: Draft) -> None:
    """It is active again, and the release is remembered: it covers the lines that were kept before it."""
    if draft.need("device", operation.device)["status"] == "revoked":
        raise draft.refuse(RELEASE_REVOKED)
    draft.update("device", operation.device, status="active", reason=None, ended_at=None)
    released = {"released_at": draft.context.decided_at, "reason": operation.reason}
    draft.put("device_release", operation.device, released)


def reject_lines(operation: RejectLines, draft: Draft) -> None:
    """Each line that has not taken effect by another one is barred by its hash; one conflict tells of all."""
    draft.need("device", operation.device)
    by = (draft.change_set.device, draft.change_set.seq)
    rejected = []
    for line in operation.lines:
        key = replacement_key(line.hash)
        if draft.get(*key) is None:
            replaced = Replaced(device=operation.device, seq=line.seq, hash=line.hash)
            draft.put(*key, replacement_row(replaced, REJECTED, by))
            rejected.append(line)
    if rejected:
        data = {"count": len(rejected), "reason": operation.reason}
        said: Fields = {"lines": [line.model_dump() for line in rejected]}
        about = _About(source=(operation.device, rejected[0].seq), operation=operation.op, said=said)
        _tell(draft, LINES_REJECTED, about, draft.new_id("conflict"), data)


def note_changed_verdict(operation: NoteChangedVerdict, draft: Draft) -> None:
    """Both verdicts are kept: the device's word for the lost one, the journal's for the other."""
    draft.need("device", operation.device)
    conflict_id = changed_id(operation)
    if draft.get("conflict", conflict_id) is not None:
        return
    data = {"seq": operation.seq, "before": operation.before.status, "now": operation.now.status}
    said, had = operation.before.model_dump(), operation.now.model_dump()
    about = _About(source=(operation.device, operation.seq), operation=operation.op, said=said, had=had)
    _tell(draft, VERDICT_CHANGED, about, conflict_id, data)


@dataclass(frozen=True, kw_only=True, slots=True)
class _About:
    """What a conflict is about: a line of a device, what the device said, and what stands here."""

    source: tuple[str, int]
    operation: str
    said: Fields
    had: Fields = field(default_factory=dict)


def _tell(draft: Draft, case: Case, about: _About, conflict_id: str, data: Fields) -> None:
    """Leave a conflict in the bucket of the device that it is about, which is not the one that this line is of."""
    sentence = case.explain(data)
    matter = Matter(
        case=case,
        rule=case.id,
        sentence=sentence,
        task=case.task and case.task.format_map(data),
        subject=("device", about.source[0]),
        source=about.source,
        operation=about.operation,
        actor_id=draft.change_set.actor,
        said=about.said,
        had=about.had,
    )
    draft.rule = draft.rule or case.id
    draft.notes.append(Note(code=case.id, text=sentence, data=data))
    draft.conflicts.append(conflict_id)
    draft.rows.update(casework_rows(matter, conflict_id, draft.new_id("task"), draft.context.decided_at))


MODULE = Module(
    name="histories",
    kind=ModuleKind.TRUTH,
    needs=frozenset({"casework", "identity"}),
    entities=(DEVICE_RELEASE, REPLACEMENT),
    operations=(BeginEpoch, ReleaseDevice, RejectLines, NoteChangedVerdict),
    rules={
        BeginEpoch: begin_epoch,
        ReleaseDevice: release_device,
        RejectLines: reject_lines,
        NoteChangedVerdict: note_changed_verdict,
    },
    cases=(RELEASE_REVOKED, LINES_REJECTED, VERDICT_CHANGED),
)
