"""What every store must do, whatever it is made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from client_sdk.adapters.memory import MemoryStore
from client_sdk.application.ports import LineStatus, Running, Settled, Store
from client_sdk.application.verify import verify
from client_sdk.errors import AlreadyEnrolled, BadAnswer, NotEnrolled, StaleExchange
from sync.engine.chain import encode_bytes
from sync.kernel.changeset import Status
from tests.support.desk import town_with_jobs
from tests.support.fake_system import FakeSystem
from tests.support.stores import everything, jobs, new_store, note
from tests.support.toy import (
    CLERK_ID,
    OTHER_EPOCH,
    REGISTRY,
    FinishJob,
    PlaceJob,
    TakeCash,
    ToyTown,
    clerk_row,
    exchange,
    job_id,
    job_row,
    toy_identity,
)


def test_a_new_store_is_not_enrolled(tmp_path: Path) -> None:
    for kind in ("memory", "sqlite"):
        made = new_store(kind, tmp_path)
        assert not made.is_enrolled()
        with pytest.raises(NotEnrolled):
            made.identity()
        made.close()


def test_a_store_is_enrolled_once(store: Store) -> None:
    assert store.is_enrolled()
    with pytest.raises(AlreadyEnrolled):
        store.enrolled(toy_identity(store.device_key()))


def test_a_device_key_stays_the_same(store: Store) -> None:
    assert store.device_key().private_bytes_raw() == store.identity().key.private_bytes_raw()


def test_a_checkpoint_brings_rows_and_cursors(store: Store) -> None:
    town = town_with_jobs()
    settled = exchange(store, town)
    assert (settled.rows, settled.mismatched) == (4, ())
    assert [row["name"] for row in jobs(store)] == ["Job 0", "Job 1", "Job 2"]
    state = store.exchange_state()
    assert (state.epoch, state.version) == (town.epoch, town.version)
    assert state.cursors == dict.fromkeys(town.buckets, town.version)
    assert verify(store, REGISTRY) == ()


def test_only_what_changed_is_replaced(store: Store) -> None:
    town = town_with_jobs()
    exchange(store, town)
    town.put({("job", job_id(1)): {**job_row("Job 1"), "paid_minor": 5}})
    assert exchange(store, town).rows == 1
    assert [(row["version"], row["paid_minor"]) for row in jobs(store)] == [(2, 0), (3, 5), (2, 0)]


def test_a_row_that_moves_to_another_held_bucket_leaves_the_first_sum(store: Store) -> None:
    town = town_with_jobs()
    exchange(store, town)
    town.put({("job", job_id(0)): job_row("Job 0", "b")})
    assert exchange(store, town).mismatched == ()
    sums = store.contents().sums
    assert (sums["zone:a"].rows, sums["zone:b"].rows) == (2, 1)
    assert sums["zone:b"] == town.sums["zone:b"]


@pytest.mark.parametrize("first", ["put", "gone"])
def test_gone_takes_a_row_only_out_of_the_bucket_that_says_so(store: Store, first: str) -> None:
    town = town_with_jobs()
    exchange(store, town)
    state = store.exchange_state()
    town.put({("job", job_id(0)): job_row("Job 0", "b")})
    welcome, lines, checkpoint = town.answer(state)
    moved = sorted(
        (line for line in lines if b'"rows"' in line), key=lambda line: (b'"put":[]' in line) == (first == "put")
    )
    settled = store.settle(state, welcome, moved, checkpoint)
    assert settled.mismatched == ()
    assert [row["zone"] for row in jobs(store)] == ["b", "a", "a"]


def test_a_row_that_leaves_for_a_bucket_not_held_is_gone(store: Store) -> None:
    town = town_with_jobs()
    exchange(store, town)
    town.put({("job", job_id(0)): job_row("Job 0", "far")})
    exchange(store, town)
    assert [row["name"] for row in jobs(store)] == ["Job 1", "Job 2"]


def test_a_dropped_bucket_takes_its_rows_along(store: Store) -> None:
    town = town_with_jobs()
    exchange(store, town)
    exchange(store, town, buckets=("town", "zone:b"))
    assert jobs(store) == []
    assert sorted(store.exchange_state().cursors) == ["town", "zone:b"]


def test_a_bucket_that_does_not_add_up_keeps_its_rows_until_they_are_fetched_anew(store: Store) -> None:
    town = town_with_jobs()
    exchange(store, town)
    note(store, FinishJob(job=job_id(1)))
    settled = miss_a_row(store, town)
    assert settled.mismatched == ("zone:a",)
    assert [(row["paid_minor"], row["is_done"]) for row in jobs(store)] == [(0, 0), (0, 1), (0, 0)]
    assert sorted(store.exchange_state().cursors) == sorted(set(town.buckets) - {"zone:a"})
    note(store, FinishJob(job=job_id(2)))
    assert exchange(store, town).mismatched == ()
    assert [(row["paid_minor"], row["is_done"]) for row in jobs(store)] == [(7, 0), (0, 1), (0, 1)]
    assert verify(store, REGISTRY) == ()


def test_what_a_bucket_fetched_anew_no_longer_has_is_gone(store: Store) -> None:
    town = town_with_jobs()
    exchange(store, town)
    town.put({("job", job_id(2)): job_row("Job 2", "far")})
    miss_a_row(store, town)
    assert len(jobs(store)) == 3
    assert exchange(store, town).mismatched == ()
    assert [row["name"] for row in jobs(store)] == ["Job 0", "Job 1"]


def test_a_bucket_that_did_not_add_up_and_is_no_longer_held_takes_its_rows_along(store: Store) -> None:
    town = town_with_jobs()
    exchange(store, town)
    miss_a_row(store, town)
    exchange(store, town, buckets=("town", "zone:b"))
    assert jobs(store) == []
    assert sorted(store.contents().sums) == ["town", "zone:b"]


def miss_a_row(store: Store, town: ToyTown) -> Settled:
    """Take a checkpoint without the row of job 0 that belongs to it."""
    state = store.exchange_state()
    town.put({("job", job_id(0)): {**job_row("Job 0"), "paid_minor": 7}})
    welcome, _, checkpoint = town.answer(state)
    return store.settle(state, welcome, [], checkpoint)


def test_spooled_pages_are_applied_with_the_final_checkpoint(store: Store) -> None:
    town = town_with_jobs()
    state = store.exchange_state()
    welcome, lines, _ = town.answer(state)
    state = store.spool(state, lines, town.checkpoint(more=True))
    assert jobs(store) == []
    assert state.cursors == dict.fromkeys(town.buckets, town.version)
    town.put({("job", job_id(9)): job_row("Job 9")})
    welcome, lines, checkpoint = town.answer(state)
    settled = store.settle(state, welcome, lines, checkpoint)
    assert (settled.rows, settled.mismatched) == (5, ())
    assert len(jobs(store)) == 4


def test_a_dropped_spool_leaves_no_trace(store: Store) -> None:
    town = town_with_jobs()
    before = store.exchange_state()
    _, lines, _ = town.answer(before)
    store.spool(before, lines, town.checkpoint(more=True))
    store.drop_spool()
    assert store.exchange_state().cursors == {}
    exchange(store, town)
    assert len(jobs(store)) == 3


def test_a_bucket_dropped_in_a_spooled_page_has_no_cursor(store: Store) -> None:
    town = town_with_jobs()
    exchange(store, town)
    state = store.exchange_state()
    held = ("town", "zone:b")
    _, lines, _ = town.answer(state, buckets=held)
    assert sorted(store.spool(state, lines, town.checkpoint(held, more=True)).cursors) == ["town", "zone:b"]


def test_a_stale_exchange_changes_nothing(store: Store) -> None:
    town = town_with_jobs()
    stale = store.exchange_state()
    exchange(store, town)
    before = everything(store)
    welcome, lines, checkpoint = town.answer(stale)
    with pytest.raises(StaleExchange):
        store.settle(stale, welcome, lines, checkpoint)
    with pytest.raises(StaleExchange):
        store.spool(stale, lines, checkpoint)
    assert everything(store) == before


def test_an_answer_that_breaks_off_changes_nothing(store: Store) -> None:
    town = town_with_jobs()
    exchange(store, town)
    note(store, FinishJob(job=job_id(0)))
    before = everything(store)
    state = store.exchange_state()
    town.put({("job", job_id(1)): job_row("other")})
    welcome, lines, checkpoint = town.answer(state, store.outbox_from(1, lines_max=9, bytes_max=9999))
    with pytest.raises(BadAnswer):
        store.settle(state, welcome, [*lines, b'{"t":"rows","b":"zone:a","e":"job","put":[[1]]}'], checkpoint)
    assert everything(store) == before


def test_a_verdict_for_other_bytes_is_not_taken(store: Store) -> None:
    town = town_with_jobs()
    exchange(store, town)
    note(store, FinishJob(job=job_id(0)))
    state = store.exchange_state()
    welcome, lines, checkpoint = town.answer(state, store.outbox_from(1, lines_max=9, bytes_max=9999))
    said = {**orjson.loads(lines[0]), "hash": encode_bytes(bytes(32))}
    with pytest.raises(BadAnswer):
        store.settle(state, welcome, [orjson.dumps(said), *lines[1:]], checkpoint)
    assert store.pending_count() == 1


def test_answered_work_leaves_the_overlay_and_keeps_its_verdict(store: Store) -> None:
    town = town_with_jobs()
    exchange(store, town)
    note(store, FinishJob(job=job_id(0)))
    assert store.contents().overlay.keys() == {("job", job_id(0))}
    settled = exchange(store, town)
    assert [(seq, verdict.status) for seq, verdict in settled.verdicts] == [(1, Status.ACCEPTED)]
    assert store.contents().overlay == {}
    assert [row["is_done"] for row in jobs(store)] == [1, 0, 0]
    (entry,) = store.entries(LineStatus.ANSWERED)
    assert (entry.verdict, entry.version) == (settled.verdicts[0][1], town.version)
    assert store.exchange_state().acked == 1


def test_the_same_verdict_again_is_no_news(store: Store) -> None:
    town = town_with_jobs()
    exchange(store, town)
    note(store, FinishJob(job=job_id(0)))
    exchange(store, town)
    state = store.exchange_state()
    again = town.answer(state, store.outbox_from(1, lines_max=9, bytes_max=9999))
    assert store.settle(state, *again).verdicts == ()


def test_server_rows_never_hide_pending_work(store: Store) -> None:
    town = town_with_jobs()
    exchange(store, town)
    note(store, TakeCash(job=job_id(0), amount="5.00", currency="GBP"))
    town.put({("job", job_id(0)): {**job_row("Renamed"), "paid_minor": 100}})
    state = store.exchange_state()
    store.settle(state, *town.answer(state))
    assert [(row["name"], row["paid_minor"], row["version"]) for row in jobs(store)][-1] == ("Renamed", 600, 3)


def test_a_refused_change_set_disappears_from_view_but_not_from_the_outbox(store: Store) -> None:
    town = town_with_jobs()
    exchange(store, town)
    note(store, PlaceJob(name="Mine"))
    town.put({("user", CLERK_ID): clerk_row(is_active=False)})
    settled = exchange(store, town)
    assert settled.verdicts[0][1].status is Status.REFUSED
    assert len(jobs(store)) == 3
    assert len(store.entries()) == 1


def test_a_new_epoch_makes_pending_again_what_the_server_lost(store: Store) -> None:
    town = town_with_jobs()
    exchange(store, town)
    note(store, FinishJob(job=job_id(0)))
    note(store, FinishJob(job=job_id(1)))
    exchange(store, town)
    restored = town_with_jobs()
    restored.epoch = OTHER_EPOCH
    restored.receive(store.outbox_from(1, lines_max=1, bytes_max=9999))
    state = store.exchange_state()
    settled = store.settle(state, *restored.answer(state))
    assert settled.mismatched == ()
    (pending,) = store.entries(LineStatus.PENDING)
    assert (pending.seq, pending.verdict, [verdict.status for verdict in pending.earlier]) == (
        2,
        None,
        [Status.ACCEPTED],
    )
    assert [row["is_done"] for row in jobs(store)] == [1, 1, 0]
    assert verify(store, REGISTRY) == ()
    exchange(store, restored)
    again = store.entries(LineStatus.ANSWERED)[-1]
    assert (again.seq, again.verdict is not None, len(again.earlier)) == (2, True, 1)


def test_lines_are_given_in_order_within_the_limits(store: Store) -> None:
    exchange(store, town_with_jobs())
    for number in range(3):
        note(store, FinishJob(job=job_id(number)))
    lines = store.outbox_from(1, lines_max=10, bytes_max=99_999)
    assert [line.seq for line in lines] == [1, 2, 3]
    assert [line.seq for line in store.outbox_from(2, lines_max=1, bytes_max=99_999)] == [2]
    assert [line.seq for line in store.outbox_from(1, lines_max=9, bytes_max=len(lines[0].line) + 1)] == [1]
    assert [line.seq for line in store.outbox_from(1, lines_max=9, bytes_max=1)] == [1]
    assert store.outbox_from(4, lines_max=9, bytes_max=9) == []


def test_a_failed_recording_leaves_nothing(store: Store) -> None:
    exchange(store, town_with_jobs())
    before = everything(store)
    with pytest.raises(ZeroDivisionError):
        _append_and_fail(store)
    assert everything(store) == before


def _append_and_fail(store: Store) -> None:
    with store.recording() as recording:
        recording.append(replace(ENTRY, digest=bytes(32)), Running(), {("job", job_id(0)): job_row("other")})
        raise ZeroDivisionError


def test_what_was_dismissed_stays_dismissed(store: Store) -> None:
    store.dismiss("x")
    store.dismiss("x")
    assert store.dismissed() == {"x"}


def test_rows_of_an_unknown_entity_are_kept_and_counted(store: Store) -> None:
    town = town_with_jobs()
    state = store.exchange_state()
    welcome, lines, checkpoint = town.answer(state)
    put = [[job_id(1), 2, {"colour": "red"}]]
    line = orjson.dumps({"t": "rows", "b": "zone:b", "e": "novelty", "put": put, "gone": []})
    store.settle(state, welcome, [*lines, line], checkpoint)
    found = store.row("novelty", job_id(1))
    assert found is not None
    assert dict(found.fields) == {"colour": "red"}
    assert store.contents().sums["zone:b"].rows == 1


def test_after_a_checkpoint_a_replica_holds_the_buckets_that_it_names(store: Store) -> None:
    town = town_with_jobs()
    state = store.exchange_state()
    welcome, lines, checkpoint = town.answer(state)
    line = orjson.dumps({"t": "rows", "b": "zone:c", "e": "job", "put": [[job_id(9), 2, job_row("Job 9", "c")]]})
    store.settle(state, welcome, [*lines, line], checkpoint)
    assert len(jobs(store)) == 3
    assert sorted(store.contents().sums) == sorted(town.buckets)


def _entry() -> Any:
    made = MemoryStore(REGISTRY, FakeSystem())
    made.enrolled(toy_identity(made.device_key()))
    exchange(made, town_with_jobs())
    note(made, FinishJob(job=job_id(0)))
    return made.entries()[0]


ENTRY = _entry()
