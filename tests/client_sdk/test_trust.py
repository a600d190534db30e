"""A server that signs with a new key: followed over however many rotations, and only over real endorsements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client_sdk.errors import ServerProblem, UnknownServerKey
from server.adapters.keys import KeySigner
from sync.engine.keyring import KeyForged
from sync.engine.leases import lease_of
from sync.kernel.clock import format_time
from sync.protocol.bundle import SealedClaim
from sync.protocol.messages import KeysAnswer, SealedReceipt, ServerKey
from tests.support.exchange_world import DEVICE, World, exchange_world
from tests.support.fake_server import Answer
from tests.support.leases import mark, signed
from tests.support.transports import TransportAround

KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(1, 5)]
RING = KeySigner(KEYS[-1], KEYS[-2::-1])
"""Rotated three times since the device was enrolled under its first key."""


class Keyed(TransportAround):
    """The wire of the stage, which also has the server's keys."""

    def __init__(self, world: World, published: Sequence[ServerKey]) -> None:
        super().__init__(world.transport)
        self._wire = world.transport
        self._published = published
        self.asked = 0

    def keys(self) -> KeysAnswer:
        self.asked += 1
        if not self._published:
            raise ServerProblem("not_found", status=404)
        return KeysAnswer(keys=list(self._published))

    def deliver(self, claim: SealedClaim, box: bytes) -> SealedReceipt:
        raise NotImplementedError

    def close(self) -> None:
        self._wire.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with exchange_world(tmp_path) as made:
        oldest = RING.published[0]
        made.store.trust({oldest.kid: oldest.public_key}, None)
        made.town.key = KEYS[-1]
        yield made


def through(world: World, published: Sequence[ServerKey]) -> Keyed:
    wire = Keyed(world, published)
    world.transport = wire  # type: ignore[assignment]  # the stage asks for nothing more than any wire has
    return wire


def test_a_device_follows_three_rotations_at_once_and_loses_nothing(world: World) -> None:
    world.record(2)
    wire = through(world, RING.published)
    world.server.will_answer(world.good(1, range(1, 3)), world.good(1, range(1, 3)))

    report = world.sync()

    identity = world.store.identity()
    assert (report.pushed, wire.asked, world.pending()) == (2, 1, [])
    assert identity.server_keys == {key.kid: key.public_key for key in RING.published}
    assert identity.sealing_key == RING.published[-1].sealing_key


def test_a_lease_by_a_new_key_is_followed_too(world: World) -> None:
    lease = signed(mark(), KEYS[-1], town=world.town.id, device=DEVICE, clock=format_time(world.system.now_ms()))
    welcome, *rest = world.good(1).lines
    answer = Answer(lines=[orjson.dumps(orjson.loads(welcome) | {"lease": lease}), *rest])
    through(world, RING.published)
    world.server.will_answer(answer, answer)

    world.sync()

    leased = world.store.standing().leased
    assert leased is not None
    assert leased.lease == lease_of(mark())


def test_a_forged_endorsement_is_refused_and_nothing_is_taken(world: World) -> None:
    forged = [
        *RING.published[:-1],
        RING.published[-1].model_copy(update={"endorsement": RING.published[1].endorsement}),
    ]
    world.record(1)
    through(world, forged)
    world.server.will_answer(world.good(1, range(1, 2)))

    with pytest.raises(KeyForged):
        world.sync()

    assert (world.pending(), len(world.store.identity().server_keys)) == ([1], 1)


def test_a_server_that_signs_with_a_key_it_does_not_publish_is_not_believed(world: World) -> None:
    wire = through(world, RING.published[:1])
    world.server.will_answer(*[world.good(1)] * 3)

    for asked in (2, 3):  # the first time it learned the sealing key, and tried again with that
        with pytest.raises(UnknownServerKey):
            world.sync()
        assert wire.asked == asked


def test_a_server_of_before_that_publishes_no_keys_is_not_believed_either(world: World) -> None:
    through(world, [])
    world.server.will_answer(world.good(1))

    with pytest.raises(ServerProblem):
        world.sync()
    assert world.store.standing().version == 0
