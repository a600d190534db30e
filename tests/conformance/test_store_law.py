"""Whatever happens in whatever order: both stores show the same, and the kept overlay is the rebuilt one."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client_sdk.application.answer import verdict_of
from client_sdk.application.ports import Row, Store
from client_sdk.application.verify import verify
from sync.kernel.ids import derived_id
from sync.protocol.messages import VerdictLine
from tests.support.desk import town_with_jobs
from tests.support.stores import everything, jobs, new_store, note
from tests.support.toy import (
    OTHER_EPOCH,
    REGISTRY,
    START_MS,
    FinishJob,
    MoveJob,
    PlaceJob,
    TakeCash,
    ToyTown,
    exchange,
    job_id,
    job_row,
    toy_identity,
)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("finish"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("cash"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("move"), st.integers(0, 5), st.integers(0, 5)),
        st.tuples(st.just("rename"), st.integers(0, 5), st.integers(0, 2)),
        st.tuples(st.just("pull"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("hold"), st.integers(0, 2), st.just(0)),
    ),
    max_size=25,
)
HELD = (("town", "zone:a", "zone:b"), ("town", "zone:a"), ("zone:b",))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_both_stores_show_the_same_and_the_kept_overlay_is_the_rebuilt_one(
    steps: Sequence[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    stores = [new_store(kind, tmp_path_factory.mktemp("law")) for kind in ("memory", "sqlite")]
    shown = []
    for store in stores:
        store.enrolled(toy_identity(store.device_key()))
        town = replace(town_with_jobs(6), now=START_MS)
        exchange(store, town)
        for step in steps:
            _take_step(store, town, *step)
            assert verify(store, REGISTRY) == ()
        shown.append(everything(store))
        store.close()
    assert shown[0] == shown[1]


def _take_step(store: Store, town: ToyTown, what: str, one: int, two: int) -> None:
    job, other = job_id(one), job_id(two)
    if what == "finish":
        note(store, FinishJob(job=job))
    elif what == "cash":
        note(store, TakeCash(job=job, amount="1.00", currency="GBP"))
    elif what == "move":
        note(store, MoveJob(job=job, after=other, zone="b"))
    elif what == "rename":
        town.put({("job", job): job_row(f"Renamed {one}", "ab?"[two])})
    elif what == "hold":
        exchange(store, town, buckets=HELD[one])
    else:
        state = store.exchange_state()
        lines = store.outbox_from(state.acked + 1, lines_max=one, bytes_max=99_999)
        store.settle(state, *town.answer(state, lines))


CONNECTED = st.lists(
    st.one_of(
        st.tuples(st.just("move"), st.integers(0, 2), st.integers(0, 2)),
        st.tuples(st.just("go"), st.integers(0, 2), st.integers(0, 1)),
        st.tuples(st.just("rename"), st.integers(0, 2), st.integers(0, 2)),
        st.tuples(st.just("look"), st.just(0), st.just(0)),
        st.tuples(st.just("pull"), st.integers(0, 1), st.just(0)),
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=CONNECTED)
def test_decisions_that_build_on_each_other_are_decided_again_together(
    steps: Sequence[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store, town = new_store("sqlite", tmp_path_factory.mktemp("law")), town_with_jobs(3)
    store.enrolled(toy_identity(store.device_key()))
    exchange(store, town)
    for what, one, two in steps:
        if what == "go":
            note(store, MoveJob(job=job_id(one), zone="ab"[two]))
        else:
            _take_step(store, town, "pull" if what == "look" else what, one, two)
        assert verify(store, REGISTRY) == ()
    store.close()


STORY = st.lists(
    st.one_of(
        st.tuples(st.just("finish"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("cash"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("rename"), st.integers(0, 2), st.integers(0, 1)),
        st.tuples(st.sampled_from(["whole", "torn", "lost", "short"]), st.integers(0, 3), st.just(0)),
        st.tuples(st.sampled_from(["backup", "failover"]), st.just(0), st.just(0)),
    ),
    max_size=20,
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STORY)
def test_whatever_was_torn_or_lost_in_however_many_epochs_both_stores_end_with_what_the_server_says(
    steps: Sequence[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    stores = [new_store(kind, tmp_path_factory.mktemp("law")) for kind in ("memory", "sqlite")]
    shown = []
    for store in stores:
        store.enrolled(toy_identity(store.device_key()))
        town = replace(town_with_jobs(3), now=START_MS)
        exchange(store, town)
        backup = deepcopy(town)
        for number, (what, one, two) in enumerate(steps):
            if what == "backup":
                backup = deepcopy(town)
            elif what == "failover":
                town = deepcopy(backup)
                town.epoch = derived_id("toy", "epoch", number + 100)
            elif what in ("whole", "torn", "lost", "short"):
                _contact(store, town, one, what)
            else:
                _take_step(store, town, what, one, two)
            assert verify(store, REGISTRY) == ()
        for _ in range(QUIET_ROUNDS):
            _contact(store, town, 99, "whole")
        _check_against_server(store, town)
        shown.append((everything(store), store.exchange_state()))
        store.close()
    assert shown[0] == shown[1]


QUIET_ROUNDS = 3
"""One to hear where the server is, one to send and settle, one to fetch what did not add up."""


def _contact(store: Store, town: ToyTown, lines_max: int, what: str) -> None:
    """One contact as the exchange has it: taken whole, only its first page, nothing of it, or without its rows."""
    state = store.exchange_state()
    if state.acked > len(town.lines):
        store.rewind(len(town.lines))
        return
    if state.epoch != town.epoch:
        store.drop_spool()
        state = store.exchange_state()
    lines = store.outbox_from(state.acked + 1, lines_max=lines_max, bytes_max=99_999)
    welcome, answer, checkpoint = town.answer(state, lines)
    welcome = welcome.model_copy(update={"acked": min(welcome.acked, state.acked)})
    if what == "torn":
        store.spool(state, answer, town.checkpoint(more=True))
    elif what == "short":
        store.settle(state, welcome, [line for line in answer if b'"rows"' not in line], checkpoint)
    elif what == "whole":
        store.settle(state, welcome, answer, checkpoint)


def _check_against_server(store: Store, town: ToyTown) -> None:
    """Every line has exactly the verdict that the server has, and every bucket its rows."""
    told = [VerdictLine.model_validate_json(line) for line in town.verdicts]
    assert [(entry.seq, entry.verdict, entry.version) for entry in store.entries()] == [
        (line.seq, verdict_of(line), line.version) for line in told
    ]
    rows = {
        (mark.bucket, mark.entity, mark.row_id): (mark.version, store.row(mark.entity, mark.row_id))
        for mark in store.contents().marks
    }
    assert rows == {
        key: (version, Row(version=version, fields=orjson.loads(body)))
        for key, (version, body) in town.feed.items()
        if body is not None and key[0] in town.buckets
    }


def test_a_line_is_decided_again_with_what_it_had_read_and_not_with_what_came_later(tmp_path: Path) -> None:
    store, town = new_store("sqlite", tmp_path), town_with_jobs(3)
    store.enrolled(toy_identity(store.device_key()))
    exchange(store, town)
    note(store, MoveJob(job=job_id(0), after=job_id(1), zone=""))
    note(store, MoveJob(job=job_id(1), zone="b"))
    town.put({("job", job_id(0)): job_row("Renamed")})
    _take_step(store, town, "pull", 0, 0)
    assert [row["zone"] for row in jobs(store)] == ["b", "a", "a"]
    assert verify(store, REGISTRY) == ()
    store.close()


def test_a_line_that_newly_reaches_a_row_brings_in_the_lines_behind_it(tmp_path: Path) -> None:
    """What was taken on trust becomes an effect when its row arrives, and others read that effect."""
    store, town = new_store("sqlite", tmp_path), town_with_jobs(2)
    store.enrolled(toy_identity(store.device_key()))
    exchange(store, town)
    note(store, MoveJob(job=job_id(1), after=job_id(7), zone=""))  # job 7 is not held: no effect
    note(store, MoveJob(job=job_id(0), after=job_id(1), zone=""))
    town.put({("job", job_id(7)): job_row("Late", "b")})
    _take_step(store, town, "pull", 0, 0)
    assert [row["zone"] for row in jobs(store)] == ["b", "b", "b"]
    assert verify(store, REGISTRY) == ()
    store.close()


def test_reopened_work_is_shown_again_even_when_no_base_row_tells_of_it(tmp_path: Path) -> None:
    store, town = new_store("sqlite", tmp_path), town_with_jobs(1)
    store.enrolled(toy_identity(store.device_key()))
    exchange(store, town, buckets=("zone:b",))
    placed = note(store, PlaceJob(name="Far away", zone="far"))
    exchange(store, town, buckets=("zone:b",))
    assert store.row("job", placed.id) is None
    restored = town_with_jobs(1)
    restored.epoch = OTHER_EPOCH
    state = store.exchange_state()
    store.settle(state, *restored.answer(state, buckets=("zone:b",)))
    assert store.row("job", placed.id) is not None
    assert verify(store, REGISTRY) == ()
    store.close()
