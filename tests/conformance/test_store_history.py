"""What every store remembers of what the server has signed and said, until a checkpoint takes its place."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import pytest

from client_sdk.application.ports import Entry, LineStatus, Settled, Store
from client_sdk.application.verify import verify
from client_sdk.errors import StaleExchange
from sync.kernel.changeset import Status
from tests.support.desk import town_with_jobs
from tests.support.stores import everything, jobs, note
from tests.support.toy import EPOCH, OTHER_EPOCH, REGISTRY, FinishJob, ToyTown, exchange, job_id, job_row


def restored_town() -> ToyTown:
    """The town with jobs as it was before anybody reported anything, in another epoch; somebody else has done job 0."""
    town = town_with_jobs()
    town.epoch = OTHER_EPOCH
    town.put({("job", job_id(0)): {**job_row("Job 0"), "is_done": True}})
    return town


def answered(store: Store, count: int = 3) -> ToyTown:
    """Record that jobs are done, and have the town accept it."""
    town = town_with_jobs()
    exchange(store, town)
    for number in range(count):
        note(store, FinishJob(job=job_id(number)))
    exchange(store, town)
    return town


def upload(store: Store, town: ToyTown, first: int, count: int) -> None:
    """One request of several: verdicts and a receipt come down, and are spooled."""
    state = store.exchange_state()
    verdicts = town.receive(store.outbox_from(first, lines_max=count, bytes_max=99_999))
    store.spool(state, verdicts, town.checkpoint((), more=True))


def take_rest(store: Store, town: ToyTown, first: int) -> Settled:
    """The last request, and the final checkpoint."""
    state = store.exchange_state()
    welcome, lines, checkpoint = town.answer(state, store.outbox_from(first, lines_max=99, bytes_max=99_999))
    return store.settle(state, welcome.model_copy(update={"acked": first - 1}), lines, checkpoint)


def statuses(entries: Sequence[Entry]) -> list[tuple[str | None, list[str]]]:
    """The status of each verdict, and those of the verdicts before it."""
    return [
        (entry.verdict.status.value if entry.verdict else None, [verdict.status.value for verdict in entry.earlier])
        for entry in entries
    ]


def test_a_spooled_page_counts_as_signed(store: Store) -> None:
    town = town_with_jobs()
    exchange(store, town)
    town.put({("job", job_id(0)): job_row("Renamed")})
    checkpoint = town.checkpoint(more=True)
    state = store.spool(store.exchange_state(), [], checkpoint)
    assert (state.version, state.witness) == (3, (3, checkpoint.journal.hash))
    assert state == store.exchange_state()
    assert store.standing().version == 2


def test_what_was_signed_in_a_page_is_known_when_the_page_is_dropped(store: Store) -> None:
    town = town_with_jobs()
    exchange(store, town)
    town.put({("job", job_id(0)): job_row("Renamed")})
    signed = store.spool(store.exchange_state(), [], town.checkpoint(more=True)).witness
    store.drop_spool()
    state = store.exchange_state()
    assert (state.version, state.witness, state.cursors["town"]) == (3, signed, 2)


def test_what_was_signed_in_another_epoch_is_no_witness_in_this_one(store: Store) -> None:
    exchange(store, town_with_jobs())
    before = store.exchange_state()
    state = store.spool(before, [], restored_town().checkpoint(more=True))
    assert (state.epoch, state.version, state.witness != before.witness) == (OTHER_EPOCH, 3, True)
    store.drop_spool()
    state = store.exchange_state()
    assert (state.epoch, state.version, state.witness) == (EPOCH, 2, before.witness)


def test_a_checkpoint_takes_the_place_of_what_was_spooled(store: Store) -> None:
    town = town_with_jobs()
    state = store.spool(store.exchange_state(), [], town.checkpoint((), more=True))
    town.put({("job", job_id(0)): job_row("Renamed")})
    welcome, lines, checkpoint = town.answer(state)
    store.settle(state, welcome, lines, checkpoint)
    assert store.exchange_state().witness == (3, checkpoint.journal.hash) == store.standing().witness


def test_cursors_of_one_epoch_are_never_named_in_another(store: Store) -> None:
    town = answered(store)
    assert set(store.exchange_state().cursors) == set(town.buckets)
    upload(store, restored_town(), 1, 3)
    state = store.exchange_state()
    assert (state.epoch, state.cursors) == (OTHER_EPOCH, {})


def test_a_bucket_that_the_new_epoch_does_not_have_takes_its_rows_along(store: Store) -> None:
    answered(store)
    restored = restored_town()
    restored.buckets = ("town", "zone:b")
    store.rewind(0)
    upload(store, restored, 1, 2)
    take_rest(store, restored, 3)
    assert (jobs(store), sorted(store.contents().sums)) == ([], ["town", "zone:b"])


def test_every_verdict_of_a_new_epoch_counts_however_many_requests_they_take(store: Store) -> None:
    answered(store)
    restored = restored_town()
    store.rewind(0)
    upload(store, restored, 1, 2)
    settled = take_rest(store, restored, 3)
    assert [(seq, verdict.status.value) for seq, verdict in settled.verdicts] == [
        (1, "adjusted"),
        (2, "accepted"),
        (3, "accepted"),
    ]
    assert statuses(store.entries()) == [
        ("adjusted", ["accepted"]),
        ("accepted", ["accepted"]),
        ("accepted", ["accepted"]),
    ]
    assert verify(store, REGISTRY) == ()


def test_what_the_new_epoch_has_said_nothing_of_waits_again(store: Store) -> None:
    answered(store)
    restored = restored_town()
    store.rewind(0)
    restored.receive(store.outbox_from(1, lines_max=2, bytes_max=99_999))
    take_rest(store, restored, 3)
    assert statuses(store.entries()) == [(None, ["accepted"]), (None, ["accepted"]), ("accepted", ["accepted"])]
    assert store.exchange_state().acked == 0
    assert verify(store, REGISTRY) == ()


def test_how_far_back_the_server_is_stays_known_until_a_checkpoint(store: Store) -> None:
    town = answered(store)
    store.rewind(1)
    store.rewind(2)
    assert store.exchange_state().acked == 1
    exchange(store, town)
    assert store.exchange_state().acked == 3


def test_work_that_waits_is_sent_from_where_the_server_is_and_not_from_behind_it(store: Store) -> None:
    answered(store, 1)
    note(store, FinishJob(job=job_id(1)))
    store.rewind(2)
    assert store.exchange_state().acked == 1


def test_a_rewind_forgets_spooled_pages_and_makes_exchanges_that_counted_on_them_stale(store: Store) -> None:
    town = answered(store)
    spooled = store.spool(store.exchange_state(), [], town.checkpoint((), more=True))
    store.rewind(0)
    with pytest.raises(StaleExchange):
        store.spool(spooled, [], town.checkpoint((), more=True))
    upload(store, restored_town(), 1, 1)
    assert store.exchange_state().epoch == OTHER_EPOCH


def test_dropping_nothing_disturbs_nobody(store: Store) -> None:
    exchange(store, town_with_jobs())
    before = everything(store), store.exchange_state()
    store.drop_spool()
    assert (everything(store), store.exchange_state()) == before


def test_another_verdict_for_an_answered_line_counts_and_the_first_is_kept(store: Store) -> None:
    town = answered(store, 1)
    state = store.exchange_state()
    welcome, lines, checkpoint = town.answer(state, store.outbox_from(1, lines_max=1, bytes_max=1))
    other = {**orjson.loads(lines[0]), "status": "refused", "rule": "toy.no_name"}
    settled = store.settle(state, welcome, [orjson.dumps(other), *lines[1:]], checkpoint)
    assert [(seq, verdict.status) for seq, verdict in settled.verdicts] == [(1, Status.REFUSED)]
    assert statuses(store.entries(LineStatus.ANSWERED)) == [("refused", ["accepted"])]


def test_the_same_verdict_at_another_version_is_news(store: Store) -> None:
    town = answered(store, 1)
    state = store.exchange_state()
    welcome, lines, checkpoint = town.answer(state, store.outbox_from(1, lines_max=1, bytes_max=1))
    store.settle(state, welcome, [orjson.dumps({**orjson.loads(lines[0]), "version": 2}), *lines[1:]], checkpoint)
    assert statuses(store.entries()) == [("accepted", ["accepted"])]
    assert store.entries()[0].version == 2
