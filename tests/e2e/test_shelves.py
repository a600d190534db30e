"""Counting and selling by oneself on real tablets: what they show, what they refuse, and what they give back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from client_sdk import Replica
from client_sdk.errors import Refused
from server.stack import Stack
from sync.kernel.clock import format_time
from sync.modules.commerce import CountStock, GrantQuota, PlaceOrder, WithdrawQuota
from sync.modules.commerce.counts import CountLine
from sync.modules.commerce.entities import stock_quota_id
from sync.modules.commerce.operations import OrderLine
from tests.support.office import PASSPHRASE
from tests.support.replicas import check_replica
from tests.support.site import TOWN, Site, site_on

YEAR_MS = 365 * 24 * 3600 * 1000


@pytest.fixture(scope="module")
def site(shared_stack: Stack) -> Iterator[Site]:
    with site_on(shared_stack) as found:
        yield found


def grant(site: Site, replica: Replica, quantity: int, *, in_ms: int = YEAR_MS) -> str:
    """Set so many pieces aside for this tablet; returns the quota."""
    contact = replica._store.standing().contact
    assert contact is not None
    operation = GrantQuota(
        device=replica.device_id,
        warehouse=site.warehouse,
        product=site.product,
        quantity=quantity,
        expires_at=format_time(contact.device_ms + in_ms),
    )
    site.office.books.must(TOWN, operation)
    replica.sync()
    return stock_quota_id(replica.device_id, site.warehouse, site.product)


def sell(site: Site, replica: Replica, quantity: int, supervisor: str | None = None) -> None:
    """Take an order at the shelf."""
    with replica.acting_as(site.clerk):
        replica.record(
            PlaceOrder(
                number="1",
                warehouse=site.warehouse,
                customer_name="c",
                lines=[OrderLine(product=site.product, quantity=quantity, price="1.00")],
                supervisor=supervisor,
            )
        )


def shelf(site: Site, replica: Replica) -> tuple[int, int]:
    """On hand and reserved, as the tablet shows them."""
    [row] = replica.query("SELECT on_hand, reserved FROM stock_levels WHERE warehouse_id = ?", [site.warehouse])
    return row["on_hand"], row["reserved"]


def quota(replica: Replica) -> tuple[int, int, int, str]:
    """Granted, used, returned and state of the tablet's one quota, as it shows them."""
    [row] = replica.query("SELECT granted, used, returned, state FROM stock_quotas")
    return row["granted"], row["used"], row["returned"], row["state"]


def check(site: Site, replica: Replica) -> None:
    """Everything fits, on the server and on the tablet."""
    assert site.office.books.verify(TOWN).findings == ()
    check_replica(replica, site.office.books.feed_bodies(TOWN))


def test_a_count_is_shown_at_once_and_stands_when_the_server_has_it(site: Site) -> None:
    with Replica.open(site.tablet(), passphrase=PASSPHRASE) as replica:
        site.receive(replica, 3)
        replica.sync()
        with replica.acting_as(site.clerk):
            lines = [CountLine(product=site.product, counted=5)]
            replica.record(CountStock(warehouse=site.warehouse, lines=lines))
        site.receive(replica, 1)
        shown = shelf(site, replica)

        replica.sync()

        assert (shown, shelf(site, replica)) == ((6, 0), (6, 0))
        assert [entry.verdict and entry.verdict.status for entry in replica.verdicts()] == ["accepted"] * 5
        check(site, replica)


def test_a_tablet_sells_inside_its_quota_and_refuses_beyond_it(site: Site) -> None:
    with Replica.open(site.tablet(), passphrase=PASSPHRASE) as replica:
        site.receive(replica, 5)
        replica.sync()
        supervisor = site.office.books.add_user(TOWN, "Sue", "dispatcher")
        grant(site, replica, 4)
        sell(site, replica, 3)

        with pytest.raises(Refused) as refused:
            sell(site, replica, 2)
        sell(site, replica, 2, supervisor)
        shown = quota(replica), shelf(site, replica)
        replica.sync()

        assert refused.value.code == "stock.quota_exceeded"
        assert shown == (quota(replica), shelf(site, replica)) == ((4, 4, 0, "active"), (5, 5))
        assert [item.sentence.split(";")[1] for item in replica.attention()] == [" Sue had allowed it."]
        check(site, replica)


@pytest.mark.parametrize("is_withdrawn", [True, False], ids=["withdrawn", "lapsed"])
def test_a_tablet_gives_back_on_contact_what_it_may_not_sell_any_more(site: Site, *, is_withdrawn: bool) -> None:
    with Replica.open(site.tablet(), passphrase=PASSPHRASE) as replica:
        site.receive(replica, 5)
        replica.sync()
        row_id = grant(site, replica, 4, in_ms=YEAR_MS if is_withdrawn else 0)
        sold = 0
        if is_withdrawn:
            sell(site, replica, 1)
            sold = 1
            site.office.books.must(TOWN, WithdrawQuota(quota=row_id))
            replica.sync()
            assert quota(replica) == (4, 1, 0, "withdrawn")
        with pytest.raises(Refused):
            sell(site, replica, 1)

        replica.sync()

        assert (quota(replica), shelf(site, replica)) == ((4, sold, 4 - sold, "closed"), (5, sold))
        pushed = replica.sync().pushed
        assert (pushed, len(replica.attention())) == (0, 0)
        check(site, replica)
