"""Facts about something that has not been heard of yet: a stub holds them until it comes, and then they count.

A device may report what it did with an order that another device has taken and not reported. Of such a change set each
rule that needs the missing row waits on that row's stub; every other rule takes effect at once, so cash is on the books
as soon as it is known. When the row comes, what waits is decided in the order in which it came, over the rows of then
and as of the time and the evidence of its own line, in the change set that brings the row.

Law: whether a row comes before or after the facts about it, the same rows are left. A stub holds a bounded number of
facts; what is beyond that is quarantined, as are facts about rows that are not awaited.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

import orjson

from sync.kernel.cases import ARRIVED, ARRIVED_UNFIT, AWAITED
from sync.kernel.casework import OPEN_STUBS
from sync.kernel.changeset import ChangeSet, Fields, Operation, RowKey
from sync.kernel.draft import Context, Draft, Refused, UnknownRow
from sync.kernel.errors import InvalidMoney
from sync.kernel.evidence import Bounds
from sync.kernel.ids import derived_id
from sync.kernel.module import Registry, Rule
from sync.kernel.view import NeedRows

STUB_FACTS_MAX = 50
"""Change sets that wait for one row."""

STUB_BYTES_MAX = 64 * 1024
"""What they may take as JSON; the stub is written anew with each."""

STUB_OPERATIONS_MAX = 100
"""Operations that wait for one row: all of them are decided in the change set that brings it, and it may bring many."""

WAITING_SINCE = 2
"""The rules since which facts wait (`sync.kernel.draft.RULES`); before, they were quarantined."""

Waiting = dict[RowKey, list[tuple[int, str]]]
"""By the row that is missing: the places of the operations that need it, and the names of their rules."""


class _Unfit(Exception):
    """What waited does not fit the row that has come; says why."""


class _Over:
    """A draft as the view of another."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft

    def get(self, entity: str, row_id: str) -> Fields | None:
        return self._draft.get(entity, row_id)


def stub_id(entity: str, row_id: str) -> str:
    """The id of the stub of a row; there is one."""
    return derived_id("stub", entity, row_id)


def stub_keys(operations: Iterable[Operation], registry: Registry) -> Iterable[RowKey]:
    """The stubs of the rows that these operations bring, whether there are any or not."""
    for operation in operations:
        for row in _brought(operation, registry):
            yield "stub", stub_id(*row)


def _brought(operation: Operation, registry: Registry) -> Iterable[RowKey]:
    """The rows of an operation that facts may wait for, the one of its own first."""
    own = operation.made()
    return [row for row in (*([own] if own else []), *operation.brings()) if registry.entities[row[0]].is_awaited]


def may_wait(unknown: UnknownRow, draft: Draft, registry: Registry) -> bool:
    """Whether facts about this row wait for it: it may yet come from a device, and has not been refused."""
    context = draft.context
    if not context.is_truth or context.is_server or context.rules < WAITING_SINCE:
        return False
    if not registry.entities[unknown.entity].is_awaited:
        return False
    return draft.get("voided", unknown.row_id) is None


def apply_waiting(draft: Draft, registry: Registry) -> None:
    """Every rule that has what it needs; the others wait.

    Raises `UnknownRow` for a row that is not awaited, and when the stub is full.
    """
    operations = draft.change_set.ops
    rules = [(place, rule) for place, operation in enumerate(operations) for rule in registry.rules[operation.op]]
    _wait(draft, _try(draft, rules, registry))


def merge_arrived(draft: Draft, registry: Registry) -> None:
    """What waited for the rows that this change set brings counts from now on, or what it says was about others."""
    if not draft.context.is_truth:
        return
    missing: set[RowKey] = set()
    for operation, key, row_id in list(_arrived(draft, registry)):
        try:
            _merge(draft, registry, operation, key, row_id)
        except NeedRows as need:  # the others only show what they need, so that a hundred orders ask once
            missing |= need.keys
    if missing:
        raise NeedRows(frozenset(missing))


def _arrived(draft: Draft, registry: Registry) -> Iterable[tuple[Operation, str, str]]:
    """The stubs whose rows are there now: the operation that says so, the stub, and the id of the row."""
    operations = draft.change_set.ops
    draft.gather(("stub", key) for _, key in stub_keys(operations, registry))
    for operation in operations:
        for brought in _brought(operation, registry):
            key = stub_id(*brought)
            stub = draft.get("stub", key)
            if stub and stub["state"] in OPEN_STUBS and (brought[1] == operation.id or brought in draft.rows):
                yield operation, key, brought[1]
    for (entity, key), row in draft.rows.items():
        if entity == "stub" and row["state"] == "assigned":
            yield operations[0], key, row["given_id"]


def _merge(draft: Draft, registry: Registry, operation: Operation, key: str, row_id: str) -> None:
    """Decide everything that waits on this stub over the row `row_id`, which is there now."""
    stub = draft.need("stub", key)
    row = (stub["awaited_entity"], row_id)
    missing: set[RowKey] = set()
    for fact in stub["facts"]:
        try:
            _merge_one(draft, registry, stub, row, fact)
        except NeedRows as need:
            missing |= need.keys
    if missing:
        raise NeedRows(frozenset(missing))
    draft.put("stub", key, {**stub, "state": "merged"})
    draft.adjust(ARRIVED, operation, subject=row, entity=row[0], count=len(stub["facts"]))


def _try(draft: Draft, rules: Iterable[tuple[int, Rule]], registry: Registry) -> Waiting:
    """Run each rule; those that need rows that may yet come are undone and listed."""
    waiting: Waiting = {}
    missing: set[RowKey] = set()
    for place, rule in rules:
        mark = draft.mark()
        try:
            rule(draft.change_set.ops[place], draft)
        except NeedRows as need:
            missing |= need.keys
        except UnknownRow as unknown:
            draft.back_to(mark)
            missing |= _unread(draft, unknown, registry)
            if missing:  # it was tried on a draft with holes: not a finding yet
                continue
            if not may_wait(unknown, draft, registry):
                raise
            waiting.setdefault((unknown.entity, unknown.row_id), []).append((place, rule.__name__))
        except Exception:
            if not missing:
                raise
    if missing:
        raise NeedRows(frozenset(missing))
    return waiting


def _unread(draft: Draft, unknown: UnknownRow, registry: Registry) -> frozenset[RowKey]:
    """What has to be loaded to know whether facts about this row wait for it, and behind what."""
    if not registry.entities[unknown.entity].is_awaited:
        return frozenset()
    try:
        draft.gather([("voided", unknown.row_id), ("stub", stub_id(unknown.entity, unknown.row_id))])
    except NeedRows as need:
        return need.keys
    return frozenset()


def _wait(draft: Draft, waiting: Waiting) -> None:
    """Put this change set on the stub of each row that it waits for. Raises `UnknownRow` when one is full."""
    for row, rules in waiting.items():
        key = stub_id(*row)
        stub = draft.get("stub", key)
        if stub is None or stub["state"] not in OPEN_STUBS:
            stub = {
                "awaited_entity": row[0],
                "awaited_id": row[1],
                "state": "waiting",
                "since": draft.context.decided_at,
                "facts": [],
                "given_id": None,
            }
        if stub["state"] == "overdue":  # somebody was told of what waited then, and not of this
            stub = {**stub, "state": "waiting", "since": draft.context.decided_at}
        facts = [*stub["facts"], _written(draft, rules)]
        operations = sum(len(fact["ops"]) for fact in facts)
        is_full = len(facts) > STUB_FACTS_MAX or operations > STUB_OPERATIONS_MAX
        if is_full or len(orjson.dumps(facts)) > STUB_BYTES_MAX:
            raise UnknownRow(*row)
        draft.put("stub", key, {**stub, "facts": facts})
        draft.adjust(AWAITED, draft.change_set.ops[rules[0][0]], subject=row, entity=row[0])


def _written(draft: Draft, rules: list[tuple[int, str]]) -> dict[str, Any]:
    """What waits of a change set as a stub keeps it, with the circumstances in which it came.

    The other operations have taken effect, or are on the stubs of other rows; here they would be a copy on each.
    """
    said = draft.change_set
    places = sorted({place for place, _ in rules})
    return {
        "device_id": said.device,
        "seq": said.seq,
        "actor_id": said.actor,
        "base": said.base,
        "epoch": said.epoch,
        "at": said.at,
        "context": asdict(draft.context),
        "ops": [_said(said.ops[place]) for place in places],
        "waiting": [[places.index(place), name] for place, name in rules],
    }


def _said(operation: Operation) -> dict[str, Any]:
    return {"op": operation.op, **operation.model_dump(exclude_defaults=True)}


def _read(draft: Draft, fact: Mapping[str, Any], registry: Registry, meant: Mapping[RowKey, str]) -> ChangeSet:
    """What a stub keeps, with the ids of rows that were meant in the place of those that were said."""
    return ChangeSet(
        town=draft.change_set.town,
        device=fact["device_id"],
        seq=fact["seq"],
        prev="",
        actor=fact["actor_id"],
        base=fact["base"],
        epoch=fact["epoch"],
        at=fact["at"],
        ops=tuple(_operation(said, registry, meant) for said in fact["ops"]),
    )


def _operation(said: Mapping[str, Any], registry: Registry, meant: Mapping[RowKey, str]) -> Operation:
    fields = dict(said)
    kind = registry.operation(fields.pop("op"))
    for name, entity in registry.references[kind.op]:
        if name in fields:
            fields[name] = meant.get((entity, fields[name]), fields[name])
    return kind.model_validate(fields)


def _circumstances(fact: Mapping[str, Any]) -> Context:
    said = fact["context"]
    return Context(**{**said, "bounds": Bounds(**said["bounds"]) if said["bounds"] else None})


def _merge_one(draft: Draft, registry: Registry, stub: Fields, row: RowKey, fact: Mapping[str, Any]) -> None:
    """One change set on top of the draft: what waited of it takes effect together, or not at all."""
    awaited = (stub["awaited_entity"], stub["awaited_id"])
    change_set = _read(draft, fact, registry, {awaited: row[1]})
    context = replace(_circumstances(fact), rules=draft.context.rules)
    salt = (stub_id(*awaited),)
    over = Draft(_Over(draft), change_set, context, salt=salt)
    try:
        _apply_rest(over, registry, fact)
    except _Unfit as unfit:
        place = fact["waiting"][0][0]
        over = Draft(_Over(draft), change_set, context, salt=salt)
        over.adjust(
            ARRIVED_UNFIT,
            change_set.ops[place],
            subject=row,
            said={"operations": [operation.op for operation in change_set.ops]},
            outcome="kept, without effect",
            entity=row[0],
            seq=change_set.seq,
            problem=str(unfit),
        )
    draft.take_over(over)


def _apply_rest(over: Draft, registry: Registry, fact: Mapping[str, Any]) -> None:
    """The rules that had to wait; those that miss another row wait for that one. Raises `_Unfit` and `NeedRows`."""
    rules = [
        (place, rule)
        for place, name in fact["waiting"]
        for rule in registry.rules[over.change_set.ops[place].op]
        if rule.__name__ == name
    ]
    try:
        _wait(over, _try(over, rules, registry))
    except Refused as refusal:
        raise _Unfit(refusal.case.explain(refusal.data)) from None
    except UnknownRow as unknown:
        raise _Unfit(f"It points to a {unknown.entity} that does not exist here.") from None
    except InvalidMoney as problem:
        raise _Unfit(problem.message) from None
    except NeedRows:
        raise
    except Exception as fault:  # noqa: BLE001  a fact that waited may not keep back the row that it waited for
        raise _Unfit(f"The rules failed over it ({type(fault).__name__}).") from None
