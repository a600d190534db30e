"""A town takes one step at a time: all of a change set or nothing of it, and the same inputs give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.engine.chain import encode_bytes, journal_hash, verdict_hash
from sync.engine.feed import Stored
from sync.engine.town import RuleFailed, Submitted, first_keys, step, step_loading
from sync.kernel.cases import CASES
from sync.kernel.changeset import Intent, Operation, RowKey
from sync.kernel.clock import format_time
from sync.kernel.draft import RULES, Draft
from sync.kernel.errors import UnknownOperation
from sync.kernel.ids import Id, derived_id
from sync.kernel.module import Case, Entity, Module, ModuleKind, Ref, Registry
from sync.kernel.view import NeedRows
from sync.modules import casework, identity
from tests.support.town_in_memory import MemoryTown

ANYBODY = frozenset({"driver"})
FULL = Case(id="jars.full", sentence="The jar is full.", is_refusal=True)
CRACKED = Case(id="jars.cracked", sentence="The jar is cracked.", conflict="cracked", task="Mend the jar")


class Make(Operation):
    op: ClassVar = "jar.make"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = ANYBODY
    creates: ClassVar = "jar"
    room: int = 10


class Fill(Operation):
    op: ClassVar = "jar.fill"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = ANYBODY
    jar: Annotated[Id, Ref(entity="jar")]
    amount: int


class Pour(Operation):
    """A fact; pours into the jar that the first one points to, so that it is found only while deciding."""

    op: ClassVar = "jar.pour"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = ANYBODY
    jar: Annotated[Id, Ref(entity="jar")]


class Smash(Operation):
    op: ClassVar = "jar.smash"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = ANYBODY


def make(operation: Make, draft: Draft) -> None:
    draft.create("jar", operation.id, {"room": operation.room, "next": derived_id("jar", operation.room)})


def fill(operation: Fill, draft: Draft) -> None:
    room = draft.need("jar", operation.jar)["room"] - operation.amount
    if room < 0:
        raise draft.refuse(FULL)
    draft.update("jar", operation.jar, room=room)


def pour(operation: Pour, draft: Draft) -> None:
    jar = draft.need("jar", operation.jar)
    following = draft.get("jar", jar["next"])
    if following is None:
        draft.adjust(CRACKED, operation, subject=("jar", operation.jar))
    draft.effect("wipe", jar=operation.jar)
    draft.update("jar", operation.jar, room=jar["room"] + 1)


def smash(_operation: Smash, _draft: Draft) -> None:
    raise ZeroDivisionError


JARS = Module(
    name="jars",
    kind=ModuleKind.WORKFLOW,
    entities=(
        Entity(
            name="jar",
            plural="jars",
            fields={},
            bucket_kinds=frozenset({"town", "driver"}),
            buckets=lambda row: ("town",) if row["room"] else (),
        ),
    ),
    operations=(Make, Fill, Pour, Smash),
    rules={Make: make, Fill: fill, Pour: pour, Smash: smash},
    cases=(FULL, CRACKED),
)
REGISTRY = Registry([Module(name="engine", kind=ModuleKind.TRUTH, cases=CASES), casework.MODULE, identity.MODULE, JARS])
PERSON = derived_id("person")


def new_town() -> MemoryTown:
    town = MemoryTown(registry=REGISTRY)
    person = {"name": "P", "login": "p", "roles": ["driver"], "is_active": True, "has_pin": False}
    town.rows["user", PERSON] = Stored(version=0, fields=person)
    for name in "ab":
        fields = {"role": "driver", "user_id": PERSON}
        town.rows["device", town.device(name).id] = Stored(version=0, fields=fields)
    return town


@pytest.fixture
def town() -> MemoryTown:
    return new_town()


def jars(town: MemoryTown) -> dict[str, int]:
    return {row_id: row["room"] for row_id, row in town.rows_of("jar").items()}


def jar_of(town: MemoryTown, room: int = 10) -> str:
    jar = Make(id=town.new_id(), room=room)
    town.does(town.server, PERSON, jar)
    return jar.id


def test_a_refused_change_set_leaves_nothing_of_any_of_its_operations(town: MemoryTown) -> None:
    jar = jar_of(town)

    answered = town.does(
        town.device("a"), PERSON, Fill(jar=jar, amount=4), Make(), Fill(jar=jar, amount=5), Fill(jar=jar, amount=2)
    )

    assert answered.verdict.as_dict() == {
        "status": "refused",
        "rule": "jars.full",
        "notes": [{"code": "jars.full", "text": "The jar is full.", "data": {}}],
    }
    assert jars(town) == {jar: 10}


def test_what_a_refused_change_set_would_have_made_is_remembered(town: MemoryTown) -> None:
    device, jar, other = town.device("a"), jar_of(town), town.new_id()
    town.does(device, PERSON, Make(id=other), Fill(jar=jar, amount=11))

    dependent = town.does(device, PERSON, Fill(jar=other, amount=1))

    assert (dependent.verdict.status, dependent.verdict.rule) == ("refused", "engine.depends_on")
    assert dependent.verdict.notes[0].data == {"device_id": device.id, "seq": 1}


def test_dependants_of_dependants_are_refused_in_turn(town: MemoryTown) -> None:
    device, jar = town.device("a"), jar_of(town)
    first, second = town.new_id(), town.new_id()
    town.does(device, PERSON, Make(id=first), Fill(jar=jar, amount=11))
    town.does(device, PERSON, Fill(jar=first, amount=1), Make(id=second))

    last = town.does(device, PERSON, Fill(jar=second, amount=1))

    assert last.verdict.notes[0].data == {"device_id": device.id, "seq": 2}


def test_a_fact_about_something_unknown_is_quarantined_and_not_refused(town: MemoryTown) -> None:
    answered = town.does(town.device("a"), PERSON, Pour(jar=derived_id("nowhere")))

    assert (answered.verdict.status, answered.verdict.rule) == ("quarantined", "engine.unknown_reference")
    assert town.effects == []


def test_a_line_that_cannot_be_read_is_quarantined_with_the_reason(town: MemoryTown) -> None:
    unreadable = Submitted(device=PERSON, seq=1, line=b"?", digest=bytes(32), change_set=UnknownOperation())

    verdict = town.take([unreadable]).answered[0].verdict

    assert verdict.as_dict() == {
        "status": "quarantined",
        "rule": "unknown_operation",
        "notes": [{"code": "unknown_operation", "text": UnknownOperation().message, "data": {}}],
        "conflicts": [derived_id("conflict", PERSON, 1, 1)],
    }
    [conflict] = town.rows_of("conflict").values()
    [task] = town.rows_of("task").values()
    assert conflict["sentence"] == f"{UnknownOperation().message} What was recorded is kept, without effect."
    assert (conflict["actor_id"], conflict["operation"], task["state"]) == (PERSON, "", "open")


def test_everything_that_is_missing_is_asked_for_at_once(town: MemoryTown) -> None:
    first, second = jar_of(town, 1), jar_of(town, 2)
    batch = [town.line(town.device("a"), PERSON, Pour(jar=jar)) for jar in (first, second)]
    loaded = dict(town.load(first_keys(batch, REGISTRY)))

    with pytest.raises(NeedRows) as need:
        step(town.head, batch, loaded, REGISTRY, format_time(town.now_ms))

    assert need.value.keys == {("jar", derived_id("jar", 1)), ("jar", derived_id("jar", 2))}


def test_the_first_keys_are_the_town_who_acts_where_the_references_and_what_is_made(town: MemoryTown) -> None:
    device, jar, made = town.device("a"), town.new_id(), town.new_id()
    batch = [
        town.line(device, PERSON, Fill(jar=jar, amount=1)),
        town.line(town.server, town.server.id, Make(id=made)),
    ]

    assert first_keys(batch, REGISTRY) == {
        ("town", town.town_id),
        ("user", PERSON),
        ("device", device.id),
        ("jar", jar),
        ("jar", made),
    }


def test_loading_goes_on_until_a_step_has_all_its_rows(town: MemoryTown) -> None:
    jar = jar_of(town, 3)
    asked: list[frozenset[RowKey]] = []

    def load(keys: frozenset[RowKey]) -> Mapping[RowKey, Stored | None]:
        asked.append(keys)
        return town.load(keys)

    device = town.device("a")
    batch = [town.line(device, PERSON, Pour(jar=jar))]
    made = step_loading(town.head, batch, load, REGISTRY, format_time(town.now_ms))

    first = {("town", town.town_id), ("user", PERSON), ("device", device.id), ("town_version", "1"), ("jar", jar)}
    assert asked == [first, {("jar", derived_id("jar", 3))}]
    assert made.answered[0].verdict.rule == "jars.cracked"
    assert [(effect.kind, effect.data) for effect in made.effects] == [("wipe", {"jar": jar})]


def test_a_rule_that_raises_stops_the_step_and_names_the_line(town: MemoryTown) -> None:
    good, bad = (town.line(town.device(name), PERSON, op) for name, op in (("a", Make()), ("b", Smash())))

    with pytest.raises(RuleFailed) as failed:
        town.take([good, bad])

    assert (failed.value.submitted, isinstance(failed.value.__cause__, ZeroDivisionError)) == (bad, True)
    assert (town.version, jars(town)) == (0, {})


def test_a_line_marked_as_failing_is_quarantined_without_another_try(town: MemoryTown) -> None:
    bad = town.line(town.device("b"), PERSON, Smash())
    marked = Submitted(
        device=bad.device, seq=bad.seq, line=bad.line, digest=bad.digest, change_set=bad.change_set, failure="it fell"
    )

    verdict = town.take([marked]).answered[0].verdict

    assert (verdict.status, verdict.rule, verdict.notes[0].text) == ("quarantined", "engine.rule_failed", "it fell")


def test_a_step_is_one_version_whose_entry_names_every_line_and_the_one_before(town: MemoryTown) -> None:
    jar_of(town)
    before = town.head
    batch = [town.line(town.device(name), PERSON, Make()) for name in "ab"]

    made = town.take(batch)

    assert orjson.loads(made.body) == {
        "v": 1,
        "town": town.town_id,
        "epoch": town.epoch,
        "version": before.version + 1,
        "prev": encode_bytes(before.journal),
        "at": format_time(town.now_ms),
        "rules": RULES,
        "sets": [
            [one.device, one.seq, encode_bytes(one.digest), encode_bytes(verdict_hash(answer.verdict_line))]
            for one, answer in zip(batch, made.answered, strict=True)
        ],
    }
    assert (made.head.version, made.head.journal) == (before.version + 1, journal_hash(made.body))
    assert [orjson.loads(answer.verdict_line) for answer in made.answered] == [
        {"t": "verdict", "seq": 1, "hash": encode_bytes(one.digest), "status": "accepted", "version": 2}
        for one in batch
    ]


def test_a_row_that_ends_as_it_was_is_not_changed(town: MemoryTown) -> None:
    jar = jar_of(town)

    made = town.take([town.line(town.device("a"), PERSON, Fill(jar=jar, amount=0))])

    assert (made.rows, made.feed, dict(made.sums)) == ((), (), {})


def test_a_row_that_leaves_its_bucket_leaves_a_tombstone(town: MemoryTown) -> None:
    jar = jar_of(town)

    made = town.take([town.line(town.device("a"), PERSON, Fill(jar=jar, amount=10))])

    assert [(line.bucket, line.row_id, line.version, line.body) for line in made.feed] == [("town", jar, 2, None)]
    assert (town.bucket("town"), town.sums["town"].rows, town.sums["town"].total) == ({}, 0, 0)


ACTIONS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 6)), min_size=1, max_size=14)


def act(town: MemoryTown, actions: list[tuple[int, int, int]]) -> list[Submitted]:
    """Lines that follow from numbers: makes, fills and pours of a few jars, some of them unknown or refused."""
    devices = [town.server, town.device("a"), town.device("b")]
    lines = []
    for what, which, amount in actions:
        jar = derived_id("jar", which)
        operation: Operation
        if what == 0:
            operation = Make(id=jar, room=amount)
        elif what == 1:
            operation = Pour(jar=jar)
        else:
            operation = Fill(jar=jar, amount=amount)
        again = [Make(id=derived_id("jar", which + 1), room=which)] if what == 4 else []
        lines.append(town.line(devices[amount % 3], PERSON, operation, *again))
    return lines


def state(town: MemoryTown, *, with_versions: bool) -> dict[str, Any]:
    """Everything a town holds; without versions, also what does not depend on how lines were batched."""
    verdicts = [orjson.loads(answer.verdict_line) for answer in town.answered]
    if not with_versions:
        verdicts = [{**verdict, "version": None} for verdict in verdicts]
        rows: Any = {key: stored.fields for key, stored in town.rows.items()}
        feed: Any = {key: body for key, (_, body) in town.feed.items() if body}
        return {"rows": rows, "feed": feed, "verdicts": verdicts, "effects": town.effects}
    return {"rows": town.rows, "feed": town.feed, "sums": town.sums, "journal": town.journal, "verdicts": verdicts}


@given(ACTIONS)
@settings(max_examples=60, deadline=None)
def test_the_same_lines_give_the_same_bytes(actions: list[tuple[int, int, int]]) -> None:
    towns = [new_town(), new_town()]
    for town in towns:
        for line in act(town, actions):
            town.take([line])

    assert state(towns[0], with_versions=True) == state(towns[1], with_versions=True)
    assert [answer.verdict_line for answer in towns[0].answered] == [
        answer.verdict_line for answer in towns[1].answered
    ]


@given(ACTIONS, st.data())
@settings(max_examples=80, deadline=None)
def test_a_batch_folded_whole_is_the_same_lines_folded_in_any_parts(
    actions: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    whole, parts = new_town(), new_town()
    whole.take(act(whole, actions))
    lines = act(parts, actions)
    while lines:
        size = data.draw(st.integers(1, len(lines)))
        parts.take(lines[:size])
        lines = lines[size:]

    assert state(whole, with_versions=False) == state(parts, with_versions=False)
    # A bucket through which rows only passed on the way has no sum in the one, and an empty one in the other.
    assert {bucket: one.rows for bucket, one in whole.sums.items() if one.rows} == {
        bucket: one.rows for bucket, one in parts.sums.items() if one.rows
    }
