"""A revoked device: what was unsent is with the server before the replica destroys itself, or it does not.

The stories run on a real stack, the kills in real SDK processes; a transport in between forges, loses and interrupts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from client_sdk import Offline, Replica, ServerProblem
from client_sdk.adapters.http import HttpTransport
from client_sdk.adapters.system import RealSystem
from client_sdk.errors import BadAnswer, ReplicaWiped
from server.application.commands.settle_quarantine import AlreadySettled, refuse, retry
from server.stack import Stack
from sync.engine.chain import encode_bytes, sign
from sync.kernel.clock import format_time
from sync.modules import registry
from sync.modules.identity import RevokeDevice
from sync.protocol.bundle import wipe_message
from tests.support.device_process import FAULT
from tests.support.failpoints import KILLED, failpoints
from tests.support.office import PASSPHRASE
from tests.support.site import TOWN, Site, site_on

if TYPE_CHECKING:
    from server.application.sealed_ports import QuarantinedLine, SealedUpload
    from sync.protocol.bundle import SealedClaim
    from sync.protocol.messages import SealedReceipt

LONG_AGO, FAR_AHEAD = format_time(0), "2999-01-01T00:00:00.000Z"


@pytest.fixture(scope="module")
def site(shared_stack: Stack) -> Iterator[Site]:
    with site_on(shared_stack) as running:
        yield running


def device_of(path: Path) -> str:
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        return replica.device_id


def revoke(site: Site, device_id: str, lost_at: str | None = None) -> None:
    books = site.office.books
    books.must(TOWN, RevokeDevice(id=books.new_id(), device=device_id, reason="stolen", lost_at=lost_at))


def in_quarantine(site: Site, device_id: str) -> list[QuarantinedLine]:
    books = site.office.books
    found = books.run(books._core.quarantine.lines(books.towns[TOWN], is_open=True, after_version=0, lines_max=1_000))
    return [line for line in found if line.device_id == device_id]


def handed_in(site: Site, device_id: str) -> list[SealedUpload]:
    books = site.office.books
    return list(books.run(books._core.sealed.of_device(books.towns[TOWN], device_id)))


def pieces(site: Site) -> int:
    """How many pieces the server has on the shelf of the last tablet."""
    feed = site.office.books.feed_bodies(TOWN)[f"warehouse:{site.warehouse}"]
    bodies = [body for (entity, _), body in feed.items() if entity == "stock_level"]
    return len([body for body in bodies if '"on_hand":0' not in body])


def files_of(path: Path) -> list[str]:
    return sorted(found.name for found in path.parent.glob(f"{path.name}*"))


class Between(HttpTransport):
    """The real wire; a test may put something in the way of the order and of the receipt."""

    def __init__(self, site: Site, replica: Replica) -> None:
        super().__init__(site.stack.url, RealSystem(), replica._store.identity())
        self.order: Callable[[Mapping[str, Any]], Mapping[str, Any] | None] = lambda order: order
        self.receipt: Callable[[SealedReceipt], SealedReceipt] = lambda receipt: receipt

    def exchange(self, hello: Any, lines: Sequence[bytes]) -> Iterator[bytes]:
        try:
            yield from super().exchange(hello, lines)
        except ServerProblem as problem:
            problem.wipe = self.order(problem.wipe or {})
            raise

    def deliver(self, claim: SealedClaim, box: bytes) -> SealedReceipt:
        return self.receipt(super().deliver(claim, box))


def opened(site: Site, path: Path) -> tuple[Replica, Between]:
    """The replica over a wire that a test can tamper with."""
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        wire = Between(site, replica)
    return Replica.open(path, passphrase=PASSPHRASE, transport=wire), wire


def test_a_revoked_device_hands_in_its_work_for_review_and_destroys_itself(site: Site) -> None:
    path = site.tablet()
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        site.receive(replica, 1)
        replica.sync()
        site.receive(replica, 3)
        device_id = replica.device_id
        revoke(site, device_id)

        with pytest.raises(ReplicaWiped):
            replica.sync()

        assert (replica.status.wiped, replica.status.pending) == (True, 0)
        with pytest.raises(ReplicaWiped):
            replica.query("SELECT 1")
    assert files_of(path) == [f"{path.name}.key"]
    with pytest.raises(ReplicaWiped):
        Replica.open(path, passphrase=PASSPHRASE)
    lines = in_quarantine(site, device_id)
    assert [(line.seq, line.rule) for line in lines] == [(seq, "people.device_revoked") for seq in (2, 3, 4)]
    assert [(one.from_seq, one.to_seq, one.reviewed) for one in handed_in(site, device_id)] == [(2, 4, 3)]
    assert site.office.books.verify(TOWN).findings == ()


def test_what_was_recorded_after_the_loss_is_evidence_and_goes_to_nobody_s_desk(site: Site) -> None:
    path = site.tablet()
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        site.receive(replica, 2)
        device_id = replica.device_id
        revoke(site, device_id, LONG_AGO)
        with pytest.raises(ReplicaWiped):
            replica.sync()

    assert in_quarantine(site, device_id) == []
    assert [(one.to_seq, one.reviewed, one.problem) for one in handed_in(site, device_id)] == [(2, 0, None)]
    assert pieces(site) == 0


def test_lines_in_review_are_booked_by_a_retry_once_or_let_be(site: Site) -> None:
    path = site.tablet()
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        site.receive(replica, 2)
        device_id = replica.device_id
        revoke(site, device_id)
        with pytest.raises(ReplicaWiped):
            replica.sync()
    books = site.office.books
    core, town_id = books._core, books.towns[TOWN]
    ports: Any = {"quarantine": core.quarantine, "appliers": core.appliers}

    done = books.run(retry(town_id, device_id, 1, registry=registry(), **ports))
    books.run(refuse(town_id, device_id, 2, "a test of the scanner", **ports))

    assert done.status == "accepted"
    assert in_quarantine(site, device_id) == []
    assert pieces(site) == 1
    for again in (
        lambda: retry(town_id, device_id, 1, registry=registry(), **ports),
        lambda: retry(town_id, device_id, 2, registry=registry(), **ports),
        lambda: refuse(town_id, device_id, 1, "no", **ports),
    ):
        with pytest.raises(AlreadySettled):
            books.run(again())
    assert books.verify(TOWN).findings == ()


def forged(site: Site, replica: Replica) -> list[Mapping[str, Any]]:
    """Orders to wipe that are not the server's, or not for this device."""
    identity, at = replica._store.identity(), FAR_AHEAD
    named = {"town": identity.town_id, "device": identity.device_id, "at": at}
    own = sign(identity.key, wipe_message(identity.town_id, identity.device_id, at))
    signer = site.office.books._core.signer
    another = site.office.books.new_id()
    elsewhere = signer.sign(wipe_message(identity.town_id, another, at))
    return [
        {},
        named,
        {**named, "kid": signer.kid, "sig": own},
        {**named, "kid": "0" * 16, "sig": own},
        {**named, "kid": signer.kid, "sig": encode_bytes(bytes(64))},
        {**named, "device": another, "kid": signer.kid, "sig": elsewhere},
        {**named, "kid": signer.kid, "sig": elsewhere},
    ]


def test_no_order_but_the_server_s_own_about_this_device_destroys_anything(site: Site) -> None:
    path = site.tablet()
    replica, wire = opened(site, path)
    with replica:
        recorded = site.receive(replica, 2)
        revoke(site, replica.device_id)
        for order in forged(site, replica):
            wire.order = lambda _real, order=order: order  # type: ignore[misc]

            with pytest.raises(ServerProblem) as told:
                replica.sync()

            assert told.value.code == "device_revoked", order
            assert [entry.seq for entry in replica.pending()] == recorded
            assert handed_in(site, replica.device_id) == []
        assert list(replica.verify()) == []


def test_nothing_is_destroyed_before_the_server_has_signed_for_the_work(site: Site) -> None:
    path = site.tablet()
    replica, wire = opened(site, path)
    with replica:
        recorded = site.receive(replica, 2)
        revoke(site, replica.device_id)

        def lost(_receipt: SealedReceipt) -> SealedReceipt:
            raise Offline

        def for_less(receipt: SealedReceipt) -> SealedReceipt:
            return receipt.model_copy(update={"sig": encode_bytes(bytes(64))})

        for way, fault in ((lost, Offline), (for_less, BadAnswer)):
            wire.receipt = way
            with pytest.raises(fault):
                replica.sync()
            assert [entry.seq for entry in replica.pending()] == recorded

        wire.receipt = lambda receipt: receipt
        device_id = replica.device_id
        with pytest.raises(ReplicaWiped):
            replica.sync()
    assert [(one.from_seq, one.to_seq) for one in handed_in(site, device_id)] == [(1, 2)]
    assert [line.seq for line in in_quarantine(site, device_id)] == [1, 2]


def test_what_is_recorded_while_the_work_is_handed_in_is_handed_in_too(site: Site) -> None:
    path = site.tablet()
    replica, wire = opened(site, path)
    with replica:
        site.receive(replica, 1)
        device_id = replica.device_id
        revoke(site, device_id)
        late = iter([1])

        def meanwhile(receipt: SealedReceipt) -> SealedReceipt:
            for count in late:
                site.receive(replica, count)
            return receipt

        wire.receipt = meanwhile
        with pytest.raises(ReplicaWiped):
            replica.sync()
    assert {one.to_seq for one in handed_in(site, device_id)} == {1, 2}


@pytest.mark.parametrize("failpoint", failpoints("client_sdk", "wipe"))
def test_a_device_that_dies_in_its_wipe_finishes_it_the_next_time(site: Site, failpoint: str) -> None:
    path = site.tablet()
    device_id = device_of(path)
    status, recorded = site.run(path, "record:2")
    assert status == 0
    revoke(site, device_id)

    killed, _ = site.run(path, "sync", failpoint=failpoint)

    assert killed == KILLED
    ended, _ = site.run(path, "sync")
    assert ended == FAULT
    assert files_of(path) == [f"{path.name}.key"]
    assert [line.seq for line in in_quarantine(site, device_id)] == recorded


@pytest.mark.parametrize("failpoint", failpoints("server", "sealed"))
def test_a_server_that_dies_when_it_has_kept_the_sealed_lines_puts_them_to_review_once(
    site: Site, failpoint: str
) -> None:
    path = site.tablet()
    device_id = device_of(path)
    status, recorded = site.run(path, "record:2")
    assert status == 0
    revoke(site, device_id)
    site.stack.restart_api(environment={"TALLYSTICK_FAILPOINT": failpoint})
    with Replica.open(path, passphrase=PASSPHRASE) as replica, pytest.raises(Offline):
        replica.sync()
    assert site.api_status() == KILLED
    assert [(one.to_seq, one.reviewed) for one in handed_in(site, device_id)] == [(2, None)]
    site.stack.restart_api()

    with Replica.open(path, passphrase=PASSPHRASE) as replica, pytest.raises(ReplicaWiped):
        replica.sync()

    assert [(one.to_seq, one.reviewed) for one in handed_in(site, device_id)] == [(2, 2)]
    assert [line.seq for line in in_quarantine(site, device_id)] == recorded
    assert site.office.books.verify(TOWN).findings == ()


def test_another_process_on_the_same_file_is_told_that_it_was_wiped(site: Site) -> None:
    path = site.tablet()
    with Replica.open(path, passphrase=PASSPHRASE) as other, Replica.open(path, passphrase=PASSPHRASE) as replica:
        site.receive(replica, 1)
        revoke(site, replica.device_id)
        with pytest.raises(ReplicaWiped):
            replica.sync()

        with pytest.raises(ReplicaWiped), other.acting_as(site.clerk):
            site.receive(other, 1)
