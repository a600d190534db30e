"""Fold one change set over a view: verdict, changed rows, conflicts, effects. All of it or nothing.

The same function runs on a device (a guess, over what the replica holds) and on the server (the truth). It is pure,
so it may be run again after more rows were loaded, and replaying a journal gives the same verdicts byte for byte.
"""

from __future__ import annotations

from dataclasses import replace

from sync.engine.evidence import mark_clock
from sync.engine.replacing import decided_before, replacing_rows
from sync.engine.stubs import apply_waiting, may_wait, merge_arrived
from sync.kernel.authority import is_device_of
from sync.kernel.cases import (
    ACTOR_INACTIVE,
    ACTOR_REFUSED,
    DEPENDS_ON,
    DEVICE_REVOKED,
    INVALID_AMOUNT,
    MIXED_INTENTS,
    NOT_PERMITTED,
    QUARANTINED,
    SIGNED_AMOUNT,
    UNKNOWN_REFERENCE,
    WRONG_DEVICE,
)
from sync.kernel.casework import Matter, casework_rows
from sync.kernel.changeset import ChangeSet, Decision, Fields, Intent, Note, Operation, RowKey, Status, Verdict
from sync.kernel.draft import Context, Draft, Refused, UnknownRow, UnseenRow
from sync.kernel.errors import InvalidMoney
from sync.kernel.ids import derived_id
from sync.kernel.module import Case, Registry
from sync.kernel.view import UNSEEN, NeedRows, View

MIXED_SINCE = 2
"""The rules since which facts and wishes may be one change set in the office (`sync.kernel.draft.RULES`)."""

SIGNED_AMOUNTS_SINCE = 3
"""The rules since which somebody is told of an amount that cannot be and was signed all the same."""

Source = tuple[str, int]
"""The place of a line: device and seq."""


def decide(change_set: ChangeSet, view: View, context: Context, registry: Registry) -> Decision:
    """The decision about `change_set`; raises only `NeedRows` (load and call again) or what a faulty rule raises."""
    draft = Draft(view, change_set, context)
    intents = {op.intent_from(is_server=context.is_server) for op in change_set.ops}
    is_wish = Intent.WISH in intents
    if before := decided_before(change_set, view, context) or _of_revoked(change_set, view, context, is_wish=is_wish):
        return before
    try:
        if is_wish and len(intents) > 1 and not _may_mix(context):
            return _refused(MIXED_INTENTS, {}, change_set, Status.REFUSED, context)
        _check_actor(draft, registry, is_wish=is_wish)
        try:
            _apply_all(draft, registry, context)
        except UnknownRow as unknown:
            if is_wish or not may_wait(unknown, draft, registry):
                raise
            draft = Draft(view, change_set, context)
            _check_actor(draft, registry, is_wish=False)
            apply_waiting(draft, registry)
        merge_arrived(draft, registry)
        for law in registry.laws:
            law(draft)
    except Refused as refusal:
        return _refused(refusal.case, refusal.data, change_set, Status.REFUSED, context)
    except UnknownRow as unknown:
        is_rerun = context.is_server and change_set.replaces is not None  # what it stands for stays in quarantine
        return _unknown(unknown, change_set, view, context, is_wish=is_wish or is_rerun)
    except InvalidMoney as problem:
        refused = _refused(INVALID_AMOUNT, {"problem": problem.message}, change_set, Status.REFUSED, context)
        return refused if is_wish else _signed_amount(refused, change_set, context)
    status = Status.ADJUSTED if draft.notes else Status.ACCEPTED
    mark_clock(draft)
    verdict = Verdict(status=status, rule=draft.rule, notes=tuple(draft.notes), conflicts=tuple(draft.conflicts))
    rows = {**draft.rows, **replacing_rows(change_set, context)}
    return Decision(verdict=verdict, rows=rows, effects=tuple(draft.effects))


def _may_mix(context: Context) -> bool:
    """In the office nothing has happened yet that would have to be kept when what is asked for beside it is refused."""
    return context.is_server and context.rules >= MIXED_SINCE


def quarantine(source: Source, change_set: ChangeSet | None, code: str, text: str, context: Context) -> Decision:
    """The decision about a line that is authentic but cannot be read, or that makes a rule raise: kept, no effect.

    `source` is the place of the line. Somebody in the office is told: it may be cash that was taken.
    """
    note = Note(code=code, text=text)
    if not context.is_truth:
        return Decision(verdict=Verdict(status=Status.QUARANTINED, rule=code, notes=(note,)), rows={})
    rows, conflict_id = _kept_aside(source, change_set, note, context)
    rows.update(_voided(change_set, context) if change_set else {})
    verdict = Verdict(status=Status.QUARANTINED, rule=code, notes=(note,), conflicts=(conflict_id,))
    return Decision(verdict=verdict, rows=rows)


def _kept_aside(
    source: Source, change_set: ChangeSet | None, reason: Note, context: Context, case: Case = QUARANTINED
) -> tuple[dict[RowKey, Fields], str]:
    """The conflict and the task of a line without effect, and the id of the conflict."""
    device_id, seq = source
    assert case.task
    matter = Matter(
        case=case,
        rule=reason.code,
        sentence=case.explain({"problem": reason.text}),
        task=case.task.format_map({"seq": seq}),
        subject=("device", device_id),
        source=source,
        operation=change_set.ops[0].op if change_set else "",
        actor_id=change_set.actor if change_set else device_id,
    )
    conflict_id = derived_id("conflict", device_id, seq, 1)
    return casework_rows(matter, conflict_id, derived_id("task", device_id, seq, 2), context.decided_at), conflict_id


def _apply_all(draft: Draft, registry: Registry, context: Context) -> None:
    """Every operation in turn. Once one needs rows to be loaded the others only show what they need.

    So a hundred operations ask once and not one after the other, each time folding everything again.
    """
    missing: set[RowKey] = set()
    for operation in draft.change_set.ops:
        try:
            _apply(operation, draft, registry, context)
        except NeedRows as need:
            missing |= need.keys
        except Exception:
            if not missing:  # else it was tried on a draft with holes: not a finding yet
                raise
    if missing:
        raise NeedRows(frozenset(missing))


def _apply(operation: Operation, draft: Draft, registry: Registry, context: Context) -> None:
    for rule in registry.rules[operation.op]:
        rows, counts, first = dict(draft.rows), _counts(draft), draft.rule
        try:
            rule(operation, draft)
        except UnseenRow:
            # A device cannot judge what it does not hold: it takes that on trust and shows no effect of this rule.
            assert not context.is_truth
            draft.rows, draft.rule = rows, first
            del draft.notes[counts[0] :], draft.conflicts[counts[1] :], draft.effects[counts[2] :]


def _counts(draft: Draft) -> tuple[int, int, int]:
    return len(draft.notes), len(draft.conflicts), len(draft.effects)


def _check_actor(draft: Draft, registry: Registry, *, is_wish: bool) -> None:
    """Nobody is more on a device than the device is: a wish that breaks this is refused, a fact leaves a conflict."""
    replaced, device_id = draft.change_set.replaces, draft.change_set.device
    if draft.context.is_server:
        if replaced is None or replaced.device == device_id:
            _check_office(draft, registry)
            return
        if not is_wish:  # a fact in quarantine was authentic when it came
            return
        device_id = replaced.device  # run again, its line may do no more than it might have done there
    objection = _objection(draft, registry, device_id)
    if objection is None:
        return
    case, operation = objection
    actor_id = draft.change_set.actor
    actor = draft.get("user", actor_id)
    name = actor["name"] if actor else actor_id
    if is_wish:
        raise Refused(ACTOR_REFUSED, {"actor_name": name})
    draft.adjust(case, operation, subject=("user", actor_id), actor_name=name, what=operation.op)


def _of_revoked(change_set: ChangeSet, view: View, context: Context, *, is_wish: bool) -> Decision | None:
    """A device that is out of use has handed this in for somebody to look at; None for every other device."""
    if not context.is_truth or context.is_server:
        return None
    device = view.get("device", change_set.device)
    if device is None or device is UNSEEN or device.get("status") != "revoked":
        return None
    return _refused(DEVICE_REVOKED, {}, change_set, Status.REFUSED if is_wish else Status.QUARANTINED, context)


def _check_office(draft: Draft, registry: Registry) -> None:
    """Through the town's own device acts the town itself, or a user who works here and has a role for each operation.

    Whoever acts there is online, and nothing has happened yet that would have to be kept: facts are refused too.
    """
    change_set = draft.change_set
    if change_set.actor == change_set.device:
        return
    actor = draft.get("user", change_set.actor)
    if actor is None:
        raise Refused(ACTOR_REFUSED, {"actor_name": change_set.actor})
    is_permitted = all(registry.permits_any(actor["roles"], op.op) for op in change_set.ops)
    if not (actor["is_active"] and is_permitted):
        raise Refused(ACTOR_REFUSED, {"actor_name": actor["name"]})


def _objection(draft: Draft, registry: Registry, device_id: str) -> tuple[Case, Operation] | None:
    """What speaks against this actor doing this on the device, and the first operation it is about.

    A device judges itself by the row that `client_sdk` gives it from its enrolment; before it holds its users, it
    cannot judge.
    """
    change_set = draft.change_set
    actor_id = change_set.actor
    if actor_id == device_id and all(op.by_device for op in change_set.ops):
        return None
    if not (draft.sees("device", device_id) and draft.sees("user", actor_id)):
        return None
    device, actor = draft.get("device", device_id), draft.get("user", actor_id)
    if actor is None or not actor["is_active"] or (device and device["role"] in actor.get("former_roles", ())):
        return ACTOR_INACTIVE, change_set.ops[0]
    if device is None or not is_device_of(actor_id, actor, device):
        return WRONG_DEVICE, change_set.ops[0]
    forbidden = (op for op in change_set.ops if not registry.permits(device["role"], op.op))
    first = next(forbidden, None)
    return None if first is None else (NOT_PERMITTED, first)


def _unknown(unknown: UnknownRow, change_set: ChangeSet, view: View, context: Context, *, is_wish: bool) -> Decision:
    """A wish that points nowhere is refused; a fact is kept in quarantine, to be run again when its row is there."""
    status = Status.REFUSED if is_wish else Status.QUARANTINED
    voided = view.get("voided", unknown.row_id)
    if voided is not None and voided is not UNSEEN:
        data = {"device_id": voided["device_id"], "seq": voided["seq"]}
        return _refused(DEPENDS_ON, data, change_set, status, context)
    return _refused(UNKNOWN_REFERENCE, {"entity": unknown.entity}, change_set, status, context)


def _refused(case: Case, data: Fields, change_set: ChangeSet, status: Status, context: Context) -> Decision:
    note = Note(code=case.id, text=case.explain(data), data=data)
    verdict = Verdict(status=status, rule=case.id, notes=(note,))
    rows = _voided(change_set, context)
    if status is Status.QUARANTINED and context.is_truth:
        aside, conflict_id = _kept_aside((change_set.device, change_set.seq), change_set, note, context)
        rows.update(aside)
        verdict = replace(verdict, conflicts=(conflict_id,))
    return Decision(verdict=verdict, rows=rows)


def _signed_amount(refused: Decision, change_set: ChangeSet, context: Context) -> Decision:
    """A device refuses such an amount itself: one that has signed it is of an app that does not, or of other limits."""
    if not context.is_truth or context.is_server or context.rules < SIGNED_AMOUNTS_SINCE:
        return refused
    source, reason = (change_set.device, change_set.seq), refused.verdict.notes[0]
    aside, conflict_id = _kept_aside(source, change_set, reason, context, SIGNED_AMOUNT)
    verdict = replace(refused.verdict, conflicts=(conflict_id,))
    return Decision(verdict=verdict, rows={**refused.rows, **aside})


def _voided(change_set: ChangeSet, context: Context) -> dict[tuple[str, str], Fields]:
    """What this change set would have created is remembered, so that what builds on it can be told why it fails."""
    if not context.is_truth:
        return {}
    source = {"device_id": change_set.device, "seq": change_set.seq}
    return {("voided", op.id): source for op in change_set.ops}
