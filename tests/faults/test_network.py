"""What boxes on the way do to exchanges with a real server: nothing is lost, nothing doubles, and the next one goes on.

`tests.support.site` has the law that decides each case.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from client_sdk import Offline, Replica, ServerProblem
from server.stack import Stack
from sync.kernel.errors import TallystickError
from tests.support import middle as boxes
from tests.support.middle import Middle, Trick, middle_of
from tests.support.office import PASSPHRASE
from tests.support.site import Site, site_on


@pytest.fixture(scope="module")
def site(shared_stack: Stack) -> Iterator[Site]:
    with site_on(shared_stack) as running:
        yield running


@pytest.fixture(scope="module")
def middle(site: Site) -> Iterator[Middle]:
    """In front of the server, for devices that know it by no other address."""
    with middle_of(site.stack.url) as middle:
        site.stack.restart_api(environment={"TALLYSTICK_PUBLIC_URL": middle.url})
        site.office._url = middle.url
        yield middle
    site.stack.restart_api()


@pytest.mark.parametrize("trick", [boxes.asks_twice, boxes.asks_twice_at_once])
def test_a_proxy_that_repeats_a_request_doubles_nothing(site: Site, middle: Middle, trick: Trick) -> None:
    path = site.tablet()
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        recorded = site.receive(replica, 5)
        middle.will(trick)

        assert replica.sync().pushed == 5

    site.check(path, recorded)


@pytest.mark.parametrize(
    ("trick", "fault"),
    [
        (boxes.is_a_portal, Offline),
        (boxes.sends_to_a_portal, Offline),
        (boxes.tells_nothing, Offline),
        (boxes.cuts_the_frame, Offline),
        (boxes.calls_it_something_else, Offline),
        (boxes.cuts_the_upload, ServerProblem),
    ],
)
def test_what_comes_of_a_bad_network_is_told_and_the_work_waits_for_a_good_one(
    site: Site, middle: Middle, trick: Trick, fault: type[TallystickError]
) -> None:
    path, tricks = site.tablet(), middle.tricks
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        recorded = site.receive(replica, 60)
        middle.will(trick)

        with pytest.raises(fault):
            replica.sync()

        assert (middle.tricks, len(replica.pending()), list(replica.verify())) == (tricks + 1, 60, [])
    site.check(path, recorded)
