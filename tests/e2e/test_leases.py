"""A van that stays away: what it may do without the server, on a real stack, and that nothing it did is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from client_sdk import Refused, Replica
from client_sdk.adapters.system import RealSystem
from client_sdk.application.leases import LeaseStatus
from server.stack import Stack
from sync.kernel.clock import parse_time
from sync.modules.billing import TakePayment
from tests.support.office import PASSPHRASE
from tests.support.site import TOWN, Site, site_on, tallystick

DAY_MS = 24 * 3600 * 1000


class Later(RealSystem):
    """This machine, some days later."""

    days = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.days * DAY_MS

    def monotonic_ms(self) -> int:
        return super().monotonic_ms() + self.days * DAY_MS


@pytest.fixture(scope="module")
def site(shared_stack: Stack) -> Iterator[Site]:
    with site_on(shared_stack) as running:
        yield running


def payment(site: Site, amount: str) -> TakePayment:
    """Cash for an order that the server has not heard of yet."""
    return TakePayment(order=site.office.books.new_id(), amount=amount, currency="GBP")


def lease(van: Replica) -> LeaseStatus:
    status = van.status.lease
    assert status is not None
    return status


def refusal(van: Replica, operation: TakePayment) -> str:
    with pytest.raises(Refused) as refused:
        van.record(operation)
    return refused.value.code


def test_a_van_takes_money_as_long_and_as_much_as_its_town_allows(site: Site, tmp_path: Path) -> None:
    books, system, path = site.office.books, Later(), tmp_path / "van.db"
    driver = books.add_user(TOWN, "Finn", "driver")
    site.office.enrol(TOWN, path, "driver", user=driver).close()
    changed = tallystick(site, "town", "set", TOWN, "--offline-days", "2", "--cash-ceiling", "50")
    assert changed.exit_code == 0, changed.output

    with Replica.open(path, passphrase=PASSPHRASE, system=system) as van:
        van.sync()
        days_left = (parse_time(lease(van).valid_until) - system.now_ms()) / DAY_MS
        assert (round(days_left, 1), lease(van).cash_left, lease(van).is_over) == (2.0, {"GBP": "50.00"}, False)

        van.record(payment(site, "30.00"))
        assert refusal(van, payment(site, "20.01")) == "engine.cash_ceiling"
        assert lease(van).cash_left == {"GBP": "20.00"}

        system.days = 3
        assert (lease(van).is_over, refusal(van, payment(site, "1.00"))) == (True, "engine.lease_over")
        assert len(van.pending()) == 1
        system.days = 0  # the clock is set back
        assert refusal(van, payment(site, "1.00")) == "engine.lease_over"

        report = van.sync()
        assert (report.pushed, lease(van).cash_left, lease(van).is_over) == (1, {"GBP": "50.00"}, False)
        assert van.record(payment(site, "50.00")).seq == 2
        by_card = payment(site, "60.00").model_copy(update={"method": "card", "reference": "T1"})
        assert van.record(by_card).seq == 3  # the ceiling is for cash
        van.sync()
        assert list(van.verify()) == []
    assert books.verify(TOWN).findings == ()
