"""Who may act on a device, and what its role covers: the SDK says so before anything is recorded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from client_sdk.adapters.memory import MemoryStore
from client_sdk.application.record import record
from client_sdk.application.verify import verify
from client_sdk.errors import ActorInactive, PinMissing, Refused, UnknownActor, WrongDevice, WrongPin
from client_sdk.replica import Replica
from sync.kernel.changeset import Status
from sync.kernel.ids import derived_id
from sync.kernel.pins import hash_pin
from tests.support.fake_system import FakeSystem
from tests.support.toy import (
    CLERK_ID,
    DEVICE_ID,
    REGISTRY,
    FinishJob,
    PlaceJob,
    ToyTown,
    clerk_row,
    exchange,
    job_id,
    job_row,
    toy_identity,
)

BOSS_ID, OTHER_ID = derived_id("toy", "boss"), derived_id("toy", "other")
PIN = "2580"


class Counter:
    """A device of some role, its store in memory, and the people of the town."""

    def __init__(self, role: str = "clerk") -> None:
        self.system = FakeSystem()
        self.store = MemoryStore(REGISTRY, self.system)
        self.store.enrolled(replace(toy_identity(self.store.device_key()), role=role))
        self.town = ToyTown().with_clerk()
        self.town.put({("device", DEVICE_ID): {"role": role, "user_id": CLERK_ID}})
        self.town.put({("user", CLERK_ID): clerk_row(roles=["clerk", "driver"])})
        self.town.put({("user", BOSS_ID): clerk_row(name="Bob", roles=["boss"])})
        self.town.put({("user", OTHER_ID): clerk_row(name="Cy", roles=["clerk", "driver", "boss"])})
        self.town.put({("job", job_id(0)): job_row("Job 0")})
        exchange(self.store, self.town)
        self.replica = Replica(self.store, REGISTRY, self.system)

    def put(self, user_id: str, **changes: object) -> None:
        """Change a person in the office, and sync."""
        self.town.put({("user", user_id): clerk_row(**changes)})
        exchange(self.store, self.town)


@pytest.mark.parametrize(
    ("role", "user_id"),
    [("clerk", BOSS_ID), ("driver", OTHER_ID), ("driver", BOSS_ID)],
    ids=["without the device's role", "another driver", "no driver"],
)
def test_nobody_acts_on_a_device_that_is_not_theirs(role: str, user_id: str) -> None:
    counter = Counter(role)

    with pytest.raises(WrongDevice), counter.replica.acting_as(user_id):
        pytest.fail("the block must not be entered")


@pytest.mark.parametrize(("role", "user_id"), [("clerk", CLERK_ID), ("clerk", OTHER_ID), ("driver", CLERK_ID)])
def test_a_shared_device_is_for_all_of_its_role_and_a_drivers_for_its_driver(role: str, user_id: str) -> None:
    counter = Counter(role)

    with counter.replica.acting_as(user_id):
        assert counter.replica._actor() == user_id


def test_somebody_who_left_cannot_act_any_more_not_even_by_default() -> None:
    counter = Counter()
    counter.put(CLERK_ID, is_active=False)

    with pytest.raises(ActorInactive), counter.replica.acting_as(CLERK_ID):
        pytest.fail("the block must not be entered")
    with pytest.raises(ActorInactive):
        counter.replica.record(FinishJob(job=job_id(0)))


def test_a_pin_that_this_device_does_not_hold_opens_nothing() -> None:
    counter = Counter()
    counter.put(OTHER_ID, name="Cy", has_pin=True)

    with pytest.raises(PinMissing), counter.replica.acting_as(OTHER_ID, pin=PIN):
        pytest.fail("the block must not be entered")

    counter.town.put({("pin", OTHER_ID): {"user_id": OTHER_ID, "hash": hash_pin(PIN, bytes(16))}})
    exchange(counter.store, counter.town)
    with pytest.raises(WrongPin), counter.replica.acting_as(OTHER_ID):
        pytest.fail("the block must not be entered")
    with counter.replica.acting_as(OTHER_ID, pin=PIN):
        assert counter.replica._actor() == OTHER_ID


def test_an_unknown_user_is_told_apart_from_one_of_another_role() -> None:
    with pytest.raises(UnknownActor), Counter().replica.acting_as(job_id(0)):
        pytest.fail("the block must not be entered")


def test_what_the_device_has_no_role_for_is_refused_before_it_is_recorded() -> None:
    counter = Counter("boss")

    with counter.replica.acting_as(OTHER_ID), pytest.raises(Refused) as refusal:
        counter.replica.record(PlaceJob(name="Mine"))

    assert refusal.value.code == "people.actor_refused"
    assert counter.replica.status.pending == 0


def test_a_fact_that_the_device_has_no_role_for_is_guessed_as_the_server_will_say_it() -> None:
    counter = Counter("boss")

    with counter.replica.acting_as(OTHER_ID):
        done = counter.replica.record(FinishJob(job=job_id(0)))

    assert (done.guess.status, done.guess.rule) == (Status.ADJUSTED, "people.not_permitted")
    assert verify(counter.store, REGISTRY) == ()
    [(_, verdict)] = exchange(counter.store, counter.town).verdicts
    assert (verdict.status, verdict.rule) == (Status.ADJUSTED, "people.not_permitted")


def test_a_fact_in_anothers_name_is_guessed_as_the_server_will_say_it() -> None:
    counter = Counter("driver")

    done = record(counter.store, counter.system, REGISTRY, OTHER_ID, [FinishJob(job=job_id(0))])

    assert (done.guess.status, done.guess.rule) == (Status.ADJUSTED, "people.wrong_device")
    [(_, verdict)] = exchange(counter.store, counter.town).verdicts
    assert (verdict.status, verdict.rule) == (Status.ADJUSTED, "people.wrong_device")
