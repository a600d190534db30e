"""What a device may do without the server, on every kind of store: time, cash, and what is kept of both."""

from __future__ import annotations

from pathlib import Path

import pytest

from client_sdk.adapters.sqlite.store import SqliteStore
from client_sdk.application.leases import LeaseStatus, lease_status
from client_sdk.application.ports import Store
from client_sdk.application.record import Recorded, record
from client_sdk.errors import Refused
from sync.kernel.changeset import Operation
from sync.kernel.clock import format_time
from sync.protocol.messages import LeaseMark
from tests.support.fake_system import FakeSystem
from tests.support.leases import DAY_MS, mark
from tests.support.stores import KEY
from tests.support.toy import (
    CLERK_ID,
    REGISTRY,
    START_MS,
    FinishJob,
    TakeCash,
    ToyTown,
    exchange,
    job_id,
    job_row,
    toy_identity,
)


class Van:
    """A store that is in sync with a town of one job, which gives it a lease."""

    def __init__(self, store: Store, lease: LeaseMark | None) -> None:
        self.store = store
        self.system: FakeSystem = vars(store)["_system"]
        self.town = ToyTown().with_clerk()
        self.town.put({("job", job_id(0)): job_row("Job 0")})
        self.town.lease = lease
        exchange(store, self.town)

    def take(self, amount: str = "1.00", currency: str = "GBP") -> Recorded:
        return self.record(TakeCash(job=job_id(0), amount=amount, currency=currency))

    def record(self, *operations: Operation) -> Recorded:
        return record(self.store, self.system, REGISTRY, CLERK_ID, operations)

    def refusal(self, *operations: Operation) -> str:
        """The case by which this is refused, with nothing recorded."""
        before = (self.store.entries(), self.store.contents().head)
        with pytest.raises(Refused) as refused:
            self.record(*operations or [TakeCash(job=job_id(0), amount="1.00", currency="GBP")])
        assert (self.store.entries(), self.store.contents().head) == before
        return refused.value.code

    def pass_time(self, days: float) -> None:
        """Time passes, on every clock."""
        self.system.now += int(days * DAY_MS)
        self.system.monotonic += int(days * DAY_MS)

    def restart(self, clock_days: float = 0.0) -> None:
        """The machine restarts, with its clock put forward or back by so many days."""
        self.system.boot += "'"
        self.system.monotonic = 0
        self.system.now += int(clock_days * DAY_MS)

    @property
    def status(self) -> LeaseStatus | None:
        return lease_status(self.store, self.system)

    @property
    def is_over(self) -> bool:
        assert self.status is not None
        return self.status.is_over


def test_a_server_of_before_limits_nothing(store: Store) -> None:
    van = Van(store, None)
    van.pass_time(3000)

    assert (van.take("999999.00").seq, van.status) == (1, None)


def test_money_is_taken_until_the_lease_is_over_and_then_refused(store: Store) -> None:
    van = Van(store, mark(days=7))
    van.pass_time(7)
    assert (van.take().seq, van.is_over) == (1, False)
    van.pass_time(0.001)

    assert van.refusal() == "engine.lease_over"
    assert van.status == LeaseStatus(valid_until=format_time(START_MS + 7 * DAY_MS), cash_left=None, is_over=True)


def test_everything_else_goes_on_when_the_lease_is_over(store: Store) -> None:
    van = Van(store, mark(days=1))
    van.pass_time(2)

    done = van.record(FinishJob(job=job_id(0)))

    assert van.refusal(FinishJob(job=job_id(0)), TakeCash(job=job_id(0), amount="1.00", currency="GBP"))
    [(seq, _)] = exchange(store, van.town).verdicts
    assert (done.seq, seq, store.pending_count()) == (1, 1, 0)


def test_the_next_contact_gives_a_new_lease(store: Store) -> None:
    van = Van(store, mark(days=1))
    van.pass_time(2)
    assert van.refusal() == "engine.lease_over"
    van.town.lease = mark(days=1, issued_ms=START_MS + 2 * DAY_MS)
    exchange(store, van.town)

    assert (van.take().seq, van.is_over) == (1, False)


def test_an_answer_without_a_lease_leaves_the_one_there_was(store: Store) -> None:
    van = Van(store, mark(days=1))
    van.town.lease = None
    exchange(store, van.town)
    assert van.take().seq == 1
    van.pass_time(2)

    assert van.refusal() == "engine.lease_over"


def test_while_the_machine_runs_its_clock_makes_no_difference(store: Store) -> None:
    van = Van(store, mark(days=7))
    van.system.now += 400 * DAY_MS
    assert van.take().seq == 1
    van.system.now -= 800 * DAY_MS
    van.system.monotonic += 8 * DAY_MS

    assert van.refusal() == "engine.lease_over"


def test_a_clock_that_is_set_back_after_a_restart_gives_nothing_back(store: Store) -> None:
    van = Van(store, mark(days=7))
    van.restart(clock_days=8)
    assert van.refusal() == "engine.lease_over"
    van.restart(clock_days=-8)

    assert van.refusal() == "engine.lease_over"


@pytest.mark.parametrize("looked", ["status", "another fact"])
def test_a_late_moment_counts_however_it_was_seen(store: Store, looked: str) -> None:
    van = Van(store, mark(days=7))
    van.restart(clock_days=8)
    assert van.is_over if looked == "status" else van.record(FinishJob(job=job_id(0)))
    van.restart(clock_days=-8)

    assert van.refusal() == "engine.lease_over"


def test_time_adds_up_over_restarts_whatever_the_clock_said_at_each(store: Store) -> None:
    van = Van(store, mark(days=7))
    van.restart(clock_days=4)
    assert van.take().seq == 1
    van.restart(clock_days=-100)
    assert van.take().seq == 2
    van.pass_time(4)

    assert van.refusal() == "engine.lease_over"


def test_the_time_is_written_once_a_minute_at_most(store: Store) -> None:
    van = Van(store, mark())
    leased = store.standing().leased
    van.system.monotonic += 59_999
    van.take()
    assert store.standing().leased == leased
    van.system.monotonic += 1
    van.take()

    after = store.standing().leased
    assert after is not None
    assert after.latest.server_ms == START_MS + 60_000


def test_cash_is_taken_up_to_the_ceiling(store: Store) -> None:
    van = Van(store, mark(cash_units=20))
    van.take("12.50")
    assert van.status == LeaseStatus(
        valid_until=format_time(START_MS + 7 * DAY_MS), cash_left={"GBP": "7.50"}, is_over=False
    )

    assert van.refusal(TakeCash(job=job_id(0), amount="7.51", currency="GBP")) == "engine.cash_ceiling"
    assert van.take("7.50").seq == 2
    assert van.status.cash_left == {"GBP": "0.00"}


def test_the_payments_of_one_action_count_together(store: Store) -> None:
    van = Van(store, mark(cash_units=20))
    half = TakeCash(job=job_id(0), amount="10.01", currency="GBP")

    assert van.refusal(half, half) == "engine.cash_ceiling"
    assert van.record(half).seq == 1


def test_every_currency_has_its_own_ceiling(store: Store) -> None:
    van = Van(store, mark(cash_units=20))
    van.take("20.00")

    assert van.take("15", "JPY").seq == 2
    assert van.status is not None
    assert van.status.cash_left == {"GBP": "0.00", "JPY": "5"}
    assert van.refusal(TakeCash(job=job_id(0), amount="6", currency="JPY")) == "engine.cash_ceiling"


def test_what_the_server_has_answered_counts_no_more(store: Store) -> None:
    van = Van(store, mark(cash_units=20))
    van.take("20.00")
    exchange(store, van.town)
    assert van.status is not None
    assert van.status.cash_left == {"GBP": "20.00"}
    van.record(FinishJob(job=job_id(0)))
    van.take("5.00")
    van.take("5.00")

    assert van.status.cash_left == {"GBP": "10.00"}
    assert van.refusal(TakeCash(job=job_id(0), amount="10.01", currency="GBP")) == "engine.cash_ceiling"


def test_an_operation_that_the_lease_does_not_name_is_refused(store: Store) -> None:
    van = Van(store, mark(operations=()))

    assert van.refusal() == "engine.lease_lacks"


def test_a_lease_is_there_when_the_replica_is_opened_again(tmp_path: Path) -> None:
    path, system = tmp_path / "toy.db", FakeSystem()
    with SqliteStore(path, KEY, REGISTRY, system, may_create=True) as store:
        store.enrolled(toy_identity(store.device_key()))
        van = Van(store, mark(days=2, cash_units=20))
        van.pass_time(1)
        van.take("5.00")
        before = (store.standing(), van.status)
    with SqliteStore(path, KEY, REGISTRY, system) as opened:
        assert (opened.standing(), lease_status(opened, van.system)) == before
