"""What a recorded line says, and that recording is all or nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from client_sdk.adapters.memory import MemoryStore
from client_sdk.application.record import Recorded, record
from client_sdk.application.verify import verify
from client_sdk.errors import NeverSynced, NothingToName, Refused
from sync.engine.chain import encode_bytes, genesis_hash, head_message, is_signed
from sync.kernel.changeset import Operation, Status
from sync.kernel.errors import LimitExceeded, Malformed, UnknownOperation
from tests.support.fake_system import FakeSystem
from tests.support.toy import (
    CLERK_ID,
    DEVICE_ID,
    EPOCH,
    REGISTRY,
    TOWN_ID,
    Explode,
    FinishJob,
    PlaceJob,
    TakeCash,
    ToyTown,
    exchange,
    job_id,
    job_row,
    toy_identity,
)


class Desk:
    """A store in memory that has been in sync with a town of two jobs."""

    def __init__(self) -> None:
        self.system = FakeSystem()
        self.store = MemoryStore(REGISTRY, self.system)
        self.store.enrolled(toy_identity(self.store.device_key()))
        self.town = ToyTown().with_clerk()
        self.town.put({("job", job_id(number)): job_row(f"Job {number}") for number in range(2)})
        exchange(self.store, self.town)

    def record(self, *operations: Operation) -> Recorded:
        return record(self.store, self.system, REGISTRY, CLERK_ID, operations)

    def line(self, seq: int) -> dict[str, Any]:
        said: dict[str, Any] = orjson.loads(self.store.entries()[seq - 1].line)
        return said


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_line_says_who_what_when_and_on_what(desk: Desk) -> None:
    desk.system.now += 5_000
    desk.system.monotonic += 4_000
    done = desk.record(TakeCash(job=job_id(0), amount="12.50", currency="GBP"))
    checkpoint = desk.town.checkpoint()
    assert desk.line(1) == {
        "v": 1,
        "town": TOWN_ID,
        "device": DEVICE_ID,
        "seq": 1,
        "prev": encode_bytes(genesis_hash("toy-certificate")),
        "actor": CLERK_ID,
        "base": 2,
        "epoch": EPOCH,
        "at": "2026-11-21T08:00:05.000Z-0000",
        "anchor": {"server": "2026-11-21T08:00:00.000Z", "mono_ms": 4_000, "boot": "boot-1"},
        "totals": {"GBP": {"in": "12.50", "out": "0.00"}},
        "seen": {"version": 2, "journal": checkpoint.journal.hash},
        "receipt": 1,
        "receipts": 1,
        "ops": [{"op": "payment.take", "id": done.id, "job": job_id(0), "amount": "12.50", "currency": "GBP"}],
    }
    assert (done.seq, done.guess.status, done.at) == (1, Status.ACCEPTED, "2026-11-21T08:00:05.000Z-0000")


def test_lines_are_chained_and_every_head_is_signed(desk: Desk) -> None:
    first = desk.record(FinishJob(job=job_id(0)))
    desk.record(FinishJob(job=job_id(1)))
    assert desk.line(2)["prev"] == first.hash
    key = desk.store.device_key().public_key()
    for entry in desk.store.entries():
        assert is_signed(key, entry.signature, head_message(DEVICE_ID, entry.seq, entry.digest))
    assert verify(desk.store, REGISTRY) == ()


def test_the_clock_never_goes_back(desk: Desk) -> None:
    desk.record(FinishJob(job=job_id(0)))
    desk.system.now -= 86_400_000
    assert desk.record(FinishJob(job=job_id(1))).at == "2026-11-21T08:00:00.000Z-0001"


def test_after_a_restart_of_the_machine_there_is_no_anchor(desk: Desk) -> None:
    desk.system.boot = "boot-2"
    desk.record(FinishJob(job=job_id(0)))
    assert "anchor" not in desk.line(1)


def test_totals_of_money_add_up_and_are_said_on_every_line(desk: Desk) -> None:
    desk.record(TakeCash(job=job_id(0), amount="12.50", currency="GBP"))
    cash = TakeCash(job=job_id(0), amount="500", currency="JPY")
    desk.record(cash, TakeCash(job=job_id(1), amount="0.5", currency="GBP"))
    desk.record(FinishJob(job=job_id(0)))
    totals = {"GBP": {"in": "13.00", "out": "0.00"}, "JPY": {"in": "500", "out": "0"}}
    assert (desk.line(2)["totals"], desk.line(3)["totals"]) == (totals, totals)


def test_a_local_refusal_records_nothing(desk: Desk) -> None:
    with pytest.raises(Refused) as refusal:
        desk.record(PlaceJob(name=""))
    assert (refusal.value.code, str(refusal.value)) == ("toy.no_name", "A job needs a name.")
    assert desk.store.entries() == []
    assert desk.record(FinishJob(job=job_id(0))).seq == 1


def test_a_guess_may_adjust(desk: Desk) -> None:
    desk.record(FinishJob(job=job_id(0)))
    again = desk.record(FinishJob(job=job_id(0)))
    assert (again.guess.status, again.guess.rule) == (Status.ADJUSTED, "toy.already_done")


def test_what_points_to_a_row_that_is_not_held_is_taken_on_trust(desk: Desk) -> None:
    done = desk.record(FinishJob(job=job_id(77)))
    assert done.guess.status is Status.ACCEPTED
    assert desk.store.contents().overlay == {}


def test_a_rule_that_raises_does_not_lose_the_fact(desk: Desk) -> None:
    done = desk.record(Explode())
    assert (done.seq, done.guess.status) == (1, Status.QUARANTINED)
    desk.record(FinishJob(job=job_id(0)))
    settled = exchange(desk.store, desk.town)
    assert [verdict.status for _, verdict in settled.verdicts] == [Status.QUARANTINED, Status.ACCEPTED]


def test_several_operations_are_one_change_set(desk: Desk) -> None:
    done = desk.record(FinishJob(job=job_id(0)), FinishJob(job=job_id(1)))
    assert (done.seq, len(set(done.ids)), done.id) == (1, 2, done.ids[0])
    assert [op["id"] for op in desk.line(1)["ops"]] == list(done.ids)


def test_an_id_that_the_app_gave_is_kept(desk: Desk) -> None:
    done = desk.record(PlaceJob(id=job_id(50), name="Mine"))
    assert done.id == job_id(50)
    assert desk.store.row("job", job_id(50)) is not None


def test_an_id_is_for_what_an_operation_makes(desk: Desk) -> None:
    desk.record(PlaceJob(id=job_id(50), name="Mine"))
    with pytest.raises(Refused, match="already used"):
        desk.record(PlaceJob(id=job_id(50), name="Mine"))
    with pytest.raises(NothingToName):
        desk.record(FinishJob(id=job_id(51), job=job_id(0)))
    assert len(desk.store.entries()) == 1


@pytest.mark.parametrize("count", [0, 101])
def test_a_change_set_has_1_to_100_operations(desk: Desk, count: int) -> None:
    with pytest.raises(LimitExceeded):
        desk.record(*[FinishJob(job=job_id(0))] * count)


def test_what_the_wire_would_refuse_does_not_enter_the_chain(desk: Desk) -> None:
    for name in ("x" * 5_000, "a\0b"):
        with pytest.raises(Malformed):
            desk.record(PlaceJob(name=name))
    with pytest.raises(LimitExceeded):
        desk.record(*[PlaceJob(name="x" * 4_000)] * 20)
    assert desk.store.entries() == []


def test_an_unknown_operation_is_not_recorded(desk: Desk) -> None:
    class Novelty(FinishJob):
        op = "job.novelty"

    with pytest.raises(UnknownOperation):
        desk.record(Novelty(job=job_id(0)))


def test_before_the_first_sync_nothing_can_be_recorded() -> None:
    system = FakeSystem()
    store = MemoryStore(REGISTRY, system)
    store.enrolled(toy_identity(store.device_key()))
    with pytest.raises(NeverSynced):
        record(store, system, REGISTRY, CLERK_ID, [FinishJob(job=job_id(0))])


def test_every_step_is_reached_in_order(desk: Desk) -> None:
    desk.system.steps.clear()
    desk.record(FinishJob(job=job_id(0)))
    assert desk.system.steps == [
        "record.begin",
        "record.before_insert",
        "record.before_commit",
        "record.after_commit",
    ]


def test_verify_sees_a_changed_line(desk: Desk) -> None:
    desk.record(FinishJob(job=job_id(0)))
    desk.record(FinishJob(job=job_id(1)))
    entries = desk.store._state.entries
    entries[1] = replace(entries[1], line=entries[1].line.replace(b"job.finish", b"job.finesh"))
    assert "the bytes of change set 1 have been changed" in verify(desk.store, REGISTRY)
    del entries[1]
    assert "change set 1 is missing from the chain" in verify(desk.store, REGISTRY)


def test_verify_sees_a_forged_signature_and_a_cut_end(desk: Desk) -> None:
    desk.record(FinishJob(job=job_id(0)))
    desk.record(FinishJob(job=job_id(1)))
    entries = desk.store._state.entries
    entries[1] = replace(entries[1], signature=entries[2].signature)
    del entries[2]
    assert verify(desk.store, REGISTRY) == (
        "the signature of change set 1 does not fit",
        "the chain ends at change set 1, but 2 were recorded",
        f"the job {job_id(1)} is shown otherwise than pending work makes it",
    )


def test_verify_sees_a_changed_row_and_a_changed_overlay(desk: Desk) -> None:
    desk.record(FinishJob(job=job_id(0)))
    state = desk.store._state
    state.base["job", job_id(1)] = replace(state.base["job", job_id(1)], version=1)
    state.overlay["job", job_id(0)] = job_row("Nothing happened")
    assert verify(desk.store, REGISTRY) == (f"the job {job_id(0)} is shown otherwise than pending work makes it",)
