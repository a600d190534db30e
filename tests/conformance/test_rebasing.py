"""A chain that goes on behind a line of another copy of its device: every recorded act is there again."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from client_sdk.application.ports import LineStatus, Store
from client_sdk.application.reauthor import find, reauthor
from client_sdk.application.verify import verify
from client_sdk.errors import BadAnswer, ServerProblem, StaleExchange
from sync.engine.chain import encode_bytes, genesis_hash, head_message, line_hash, sign
from tests.support.desk import town_with_jobs
from tests.support.stores import everything, jobs, note
from tests.support.toy import OTHER_EPOCH, REGISTRY, FinishJob, TakeCash, ToyTown, exchange, job_id

HEAD_SEQ = 5


def released(store: Store, server: ToyTown, *, from_seq: int = 1, epoch: str = "", **head: Any) -> ServerProblem:
    """What a server says to a released copy: the other copy has come to position 5 and has taken 7.00."""
    identity = store.identity()
    said = {
        "device": identity.device_id,
        "town": identity.town_id,
        "seq": HEAD_SEQ,
        "at": "2026-11-21T07:00:00.000Z-0000",
        "totals": {"GBP": {"in": "7.00", "out": "0.00"}},
        **head,
    }
    line = orjson.dumps(said)
    signature = sign(identity.key, head_message(identity.device_id, HEAD_SEQ, line_hash(line)))
    told = {"line": line.decode(), "sig": signature, "epoch": epoch or server.epoch}
    return ServerProblem("chain_released", status=409, released={"from_seq": from_seq, "head": told})


def said_by(store: Store) -> list[dict[str, Any]]:
    return [orjson.loads(entry.line) for entry in store.entries()]


@pytest.fixture
def town(store: Store) -> ToyTown:
    """The store has synced with it once and recorded two acts since."""
    town = town_with_jobs()
    exchange(store, town)
    note(store, FinishJob(job=job_id(1)))
    note(store, TakeCash(job=job_id(1), amount="5.00", currency="GBP"))
    return town


def test_files_on_their_way_are_forgotten_with_the_pages_that_are_dropped(store: Store, town: ToyTown) -> None:
    sha256, problem = "a" * 64, released(store, town)
    store.downloads.add(sha256, b"half of it")
    reauthor(store, store.exchange_state(), problem)
    after_rebasing = store.downloads.size(sha256)
    store.downloads.add(sha256, b"half of it")
    store.rewind(0)

    assert (after_rebasing, store.downloads.size(sha256)) == (0, 0)


def test_every_act_is_written_anew_behind_the_head_and_nothing_that_is_shown_changes(
    store: Store, town: ToyTown
) -> None:
    before, acts, shown = store.entries(), said_by(store), jobs(store)
    problem = released(store, town)
    head = problem.released["head"]["line"].encode() if problem.released else b""

    assert reauthor(store, store.exchange_state(), problem) == 2

    entries, now = store.entries(LineStatus.PENDING), said_by(store)
    assert [entry.seq for entry in entries] == [6, 7]
    assert [act["prev"] for act in now] == [encode_bytes(line_hash(head)), encode_bytes(entries[0].digest)]
    assert [act["replaces"] for act in now] == [
        {"seq": entry.seq, "hash": encode_bytes(entry.digest)} for entry in before
    ]
    kept = ("ops", "actor", "at", "base", "epoch", "device", "town")
    assert [[act[name] for name in kept] for act in now] == [[act[name] for name in kept] for act in acts]
    assert [act.get("totals") for act in now][1] == {"GBP": {"in": "12.00", "out": "0.00"}}
    assert (jobs(store), verify(store, REGISTRY)) == (shown, ())


def test_a_receipt_leads_to_the_line_that_stands_for_its_own_however_often_it_moved(
    store: Store, town: ToyTown
) -> None:
    first = encode_bytes(store.entries()[0].digest)
    for _ in range(2):
        reauthor(store, store.exchange_state(), released(store, town))

    found = find(store, first)

    assert found is not None
    assert orjson.loads(found.line)["replaces"] == {"seq": 1, "hash": first}
    assert find(store, encode_bytes(bytes(32))) is None


def test_recording_goes_on_behind_what_was_written_anew(store: Store, town: ToyTown) -> None:
    reauthor(store, store.exchange_state(), released(store, town))

    assert note(store, FinishJob(job=job_id(2))).seq == HEAD_SEQ + 3
    assert verify(store, REGISTRY) == ()


def test_what_the_server_has_stays_to_be_sent_again_and_a_copy_that_was_only_behind_goes_on_from_the_head(
    store: Store, town: ToyTown
) -> None:
    exchange(store, town)
    before, problem = store.entries(), released(store, town, from_seq=3)
    head = problem.released["head"]["line"].encode() if problem.released else b""

    assert reauthor(store, store.exchange_state(), problem) == 0

    assert (store.entries(), store.exchange_state().acked) == (before, HEAD_SEQ)
    assert store.known_before(HEAD_SEQ + 1) == (HEAD_SEQ, line_hash(head))
    assert store.known_before(HEAD_SEQ) == (2, before[1].digest)
    assert [line.seq for line in store.outbox_from(1, lines_max=9, bytes_max=9_999)] == [1, 2]
    assert verify(store, REGISTRY) == ()


def test_of_a_chain_with_a_hole_the_lines_on_either_side_are_sent_apart(store: Store, town: ToyTown) -> None:
    exchange(store, town)
    note(store, FinishJob(job=job_id(2)))
    reauthor(store, store.exchange_state(), released(store, town, from_seq=3))

    assert [entry.seq for entry in store.entries()] == [1, 2, HEAD_SEQ + 1]
    assert [line.seq for line in store.outbox_from(1, lines_max=9, bytes_max=9_999)] == [1, 2]
    assert [line.seq for line in store.outbox_from(3, lines_max=9, bytes_max=9_999)] == [HEAD_SEQ + 1]
    assert verify(store, REGISTRY) == ()


def test_what_the_server_has_and_has_not_said_yet_stays_pending_and_shown(store: Store, town: ToyTown) -> None:
    shown = jobs(store)

    assert reauthor(store, store.exchange_state(), released(store, town, from_seq=2)) == 1

    assert [entry.seq for entry in store.entries(LineStatus.PENDING)] == [1, HEAD_SEQ + 1]
    assert (jobs(store), store.exchange_state().acked, verify(store, REGISTRY)) == (shown, 0, ())


def test_what_stays_is_asked_again_when_the_server_was_behind_it(store: Store, town: ToyTown) -> None:
    exchange(store, town)
    store.rewind(1)
    reauthor(store, store.exchange_state(), released(store, town, from_seq=3))
    assert store.exchange_state().acked == 1

    store.rewind(1)
    reauthor(store, store.exchange_state(), released(store, town, from_seq=2))
    assert store.exchange_state().acked == HEAD_SEQ


def test_a_chain_is_written_anew_more_than_once(store: Store, town: ToyTown) -> None:
    exchange(store, town)
    note(store, FinishJob(job=job_id(2)))
    reauthor(store, store.exchange_state(), released(store, town, from_seq=3))
    note(store, FinishJob(job=job_id(3)))

    assert reauthor(store, store.exchange_state(), released(store, town, from_seq=3)) == 2

    assert [entry.seq for entry in store.entries()] == [1, 2, HEAD_SEQ + 1, HEAD_SEQ + 2]
    assert verify(store, REGISTRY) == ()


def test_a_device_of_which_the_server_has_no_line_begins_anew_at_its_certificate(store: Store, town: ToyTown) -> None:
    receipts = store.contents().head.receipts
    none = {"line": None, "sig": None, "epoch": town.epoch}
    problem = ServerProblem("chain_released", status=409, released={"from_seq": 1, "head": none})

    assert reauthor(store, store.exchange_state(), problem) == 2

    first, second = store.entries()
    certificate = genesis_hash(store.identity().certificate)
    assert (first.seq, orjson.loads(first.line)["prev"], second.seq) == (1, encode_bytes(certificate), 2)
    assert (store.contents().head.receipts, verify(store, REGISTRY)) == (receipts, ())


def test_lines_of_a_later_version_than_one_are_found(store: Store, town: ToyTown) -> None:
    assert store.first_beyond(0) is None
    exchange(store, town)
    first, second = (entry.version or 0 for entry in store.entries())

    assert (store.first_beyond(0), store.first_beyond(first), store.first_beyond(second)) == (1, 2, None)


def test_in_another_epoch_what_was_answered_is_written_anew_as_well(store: Store, town: ToyTown) -> None:
    exchange(store, town)

    assert reauthor(store, store.exchange_state(), released(store, town, from_seq=3, epoch=OTHER_EPOCH)) == 2

    assert [entry.status for entry in store.entries()] == [LineStatus.PENDING] * 2


def test_an_exchange_that_another_one_overtook_writes_nothing_anew(store: Store, town: ToyTown) -> None:
    state = store.exchange_state()
    exchange(store, town)
    before = everything(store)

    with pytest.raises(StaleExchange):
        reauthor(store, state, released(store, town))

    assert everything(store) == before


@pytest.mark.parametrize("head", [{"device": "another"}, {"town": "another"}, {"seq": 6}, {"seq": None}, {"at": 1}])
def test_a_head_that_this_device_has_not_signed_is_not_gone_on_from(
    store: Store, town: ToyTown, head: dict[str, Any]
) -> None:
    before = everything(store)

    with pytest.raises(BadAnswer):
        reauthor(store, store.exchange_state(), released(store, town, **head))

    assert everything(store) == before


def test_verdicts_that_were_told_are_told_again_from_a_place_on(store: Store, town: ToyTown) -> None:
    assert store.told_from(1, 10) == []
    exchange(store, town)
    note(store, FinishJob(job=job_id(2)))

    assert [(told.seq, told.status) for told in store.told_from(1, 10)] == [(1, "accepted"), (2, "accepted")]
    assert [told.seq for told in store.told_from(2, 10)] == [2]
    assert [told.seq for told in store.told_from(1, 1)] == [1]
