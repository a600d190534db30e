"""Everything is killed once, for real: the server around its commit, the device at every step; every answer is lost.

`tests.support.site` has the law that decides each case: chain, journal and shelf agree, nothing recorded is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest

from client_sdk import Offline, Replica
from client_sdk.adapters.http import HttpTransport
from client_sdk.adapters.system import RealSystem
from server.stack import Stack
from sync.protocol import limits
from tests.support.failpoints import KILLED, failpoints
from tests.support.office import PASSPHRASE
from tests.support.site import TOWN, Site, site_on
from tests.support.transports import TransportAround

if TYPE_CHECKING:
    from client_sdk.application.ports import Transport
    from sync.protocol.messages import EnrolAnswer, EnrolRequest, Hello

LINES_A_REQUEST = 4
MORE_THAN_ONE_REQUEST = 6
"""Pending change sets that take two exchanges, so that the first answer is kept as an intermediate page."""


@pytest.fixture(scope="module")
def site(shared_stack: Stack) -> Iterator[Site]:
    with site_on(shared_stack) as running:
        yield running


@pytest.mark.parametrize("failpoint", failpoints("server", "apply"))
def test_a_server_killed_around_its_commit_loses_and_doubles_nothing(site: Site, failpoint: str) -> None:
    path = site.tablet()
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        recorded = site.receive(replica, 3)
        site.stack.restart_api(environment={"TALLYSTICK_FAILPOINT": failpoint})

        with pytest.raises(Offline):
            replica.sync()

        assert (site.api_status(), len(replica.pending())) == (KILLED, 3)
    site.stack.restart_api()
    site.check(path, recorded)


@pytest.mark.parametrize("failpoint", failpoints("server", "enrol"))
def test_a_server_killed_in_an_enrolment_makes_one_device_of_it(site: Site, tmp_path: Path, failpoint: str) -> None:
    site.tablet()
    code = site.office.books.code(TOWN, "warehouse_staff", warehouse=site.warehouse)
    path = tmp_path / "tablet.db"
    site.stack.restart_api(environment={"TALLYSTICK_FAILPOINT": failpoint})
    with pytest.raises(Offline):
        Replica.enrol(site.stack.url, code=code, path=path, passphrase=PASSPHRASE)
    assert site.api_status() == KILLED
    devices = site.devices()
    site.stack.restart_api()

    with Replica.enrol(site.stack.url, code=code, path=path, passphrase=PASSPHRASE) as replica:
        assert site.devices() == devices | {replica.device_id}
        assert (replica.device_id in devices) == (failpoint == "enrol.after_author")
        replica.sync()
        recorded = site.receive(replica)

    site.check(path, recorded)


@pytest.mark.parametrize("failpoint", failpoints("client_sdk", "record"))
def test_a_device_killed_at_a_step_of_record_keeps_what_it_had_said_was_recorded(site: Site, failpoint: str) -> None:
    path = site.tablet()

    status, recorded = site.run(path, "record:5", failpoint=f"{failpoint}:3")

    assert (status, recorded) == (KILLED, [1, 2])
    kept = 3 if failpoint == "record.after_commit" else 2
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        assert [entry.seq for entry in replica.pending()] == list(range(1, kept + 1))
        assert list(replica.verify()) == []
    site.check(path, recorded)


@pytest.mark.parametrize("failpoint", failpoints("client_sdk", "exchange", "settle", but=("exchange.after_page",)))
def test_a_device_killed_at_a_step_of_the_exchange_goes_on_from_where_it_was(site: Site, failpoint: str) -> None:
    path = site.tablet()

    status, recorded = site.run(path, "record:3", "sync", "record:1", failpoint=failpoint)

    assert (status, recorded) == (KILLED, [1, 2, 3])
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        assert list(replica.verify()) == []
    site.check(path, recorded)


@pytest.mark.parametrize("failpoint", failpoints("client_sdk", "exchange.after_page"))
def test_a_device_killed_between_two_pages_of_an_upload_goes_on_from_where_it_was(site: Site, failpoint: str) -> None:
    path = site.tablet()

    steps = f"lines:{LINES_A_REQUEST}", f"record:{MORE_THAN_ONE_REQUEST}", "sync"
    status, recorded = site.run(path, *steps, failpoint=failpoint)

    assert (status, len(recorded)) == (KILLED, MORE_THAN_ONE_REQUEST)
    site.check(path, recorded)


class LossyTransport(TransportAround):
    """The real wire, of which one answer is lost: cut before the line for which `is_lost` says so."""

    def __init__(self, inner: Transport, is_lost: Callable[[dict[str, object]], bool]) -> None:
        super().__init__(inner)
        self._is_lost: Callable[[dict[str, object]], bool] | None = is_lost
        self.lost = 0

    def enrol(self, request: EnrolRequest) -> EnrolAnswer:
        answer = super().enrol(request)
        self._cut({"t": "enrol"})
        return answer

    def exchange(self, hello: Hello, lines: Sequence[bytes]) -> Iterator[bytes]:
        for line in super().exchange(hello, lines):
            self._cut(orjson.loads(line))
            yield line
        self._cut({"t": "end"})

    def _cut(self, said: dict[str, object]) -> None:
        if self._is_lost and self._is_lost(said):
            self._is_lost = None
            self.lost += 1
            raise Offline("the answer was lost")


@pytest.mark.parametrize("kind", ["welcome", "verdict", "bucket", "rows", "checkpoint"])
def test_each_kind_of_answer_lost_once_is_asked_for_again_and_nothing_doubles(site: Site, kind: str) -> None:
    path = site.tablet()
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        identity = replica._store.identity()
        wire = HttpTransport(site.stack.url, RealSystem(), identity)
    lossy = LossyTransport(wire, lambda said: said["t"] == kind)
    with Replica.open(path, passphrase=PASSPHRASE, transport=lossy) as replica:
        recorded = site.receive(replica, 3)
        with pytest.raises(Offline):
            replica.sync()
        assert (lossy.lost, len(replica.pending())) == (1, 3)
    wire.close()
    site.check(path, recorded)


def test_a_lost_receipt_between_two_requests_of_an_upload_is_asked_for_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CHANGE_SETS_MAX", LINES_A_REQUEST)
    path = site.tablet()
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        recorded = site.receive(replica, MORE_THAN_ONE_REQUEST)
        wire = HttpTransport(site.stack.url, RealSystem(), replica._store.identity())
    lossy = LossyTransport(wire, lambda said: said["t"] == "checkpoint" and said["more"] is True)
    with Replica.open(path, passphrase=PASSPHRASE, transport=lossy) as replica, pytest.raises(Offline):
        replica.sync()
    assert lossy.lost == 1
    wire.close()
    site.check(path, recorded)


def test_a_lost_enrolment_answer_gives_the_same_device_when_asked_again(site: Site, tmp_path: Path) -> None:
    site.tablet()
    path = tmp_path / "lost.db"
    code = site.office.books.code(TOWN, "warehouse_staff", warehouse=site.warehouse)
    wire = HttpTransport(site.stack.url, RealSystem())
    with pytest.raises(Offline):
        Replica.enrol(
            site.stack.url,
            code=code,
            path=path,
            passphrase=PASSPHRASE,
            transport=LossyTransport(wire, lambda said: said["t"] == "enrol"),
        )
    wire.close()

    with Replica.enrol(site.stack.url, code=code, path=path, passphrase=PASSPHRASE) as replica:
        replica.sync()
        recorded = site.receive(replica)

    site.check(path, recorded)
