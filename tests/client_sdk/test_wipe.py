"""What a revoked device hands in before it destroys itself: all that the server does not have, answered or not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from client_sdk.application.wipe import faced
from client_sdk.errors import ReplicaWiped, ServerProblem
from sync.engine.chain import encode_bytes, sign
from sync.kernel.ids import derived_id
from sync.protocol.bundle import SealedClaim, receipt_message, wipe_message
from sync.protocol.messages import EnrolAnswer, EnrolRequest, Hello, KeysAnswer, SealedReceipt
from tests.support.exchange_world import DEVICE, World, exchange_world

AT = "2026-11-21T12:00:00.000Z"


class Door:
    """A server that has put the device out of use; it signs for whatever comes, and writes down what that was."""

    bytes_up = bytes_down = 0

    def __init__(self, world: World) -> None:
        self._world = world
        self.parts: list[tuple[int, int]] = []
        sealing_key = encode_bytes(X25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw())
        world.store.trust(world.store.identity().server_keys, sealing_key)

    def enrol(self, request: EnrolRequest) -> EnrolAnswer:
        raise NotImplementedError

    def exchange(self, hello: Hello, lines: Sequence[bytes]) -> Iterator[bytes]:
        raise NotImplementedError

    def keys(self) -> KeysAnswer:
        raise NotImplementedError

    def deliver(self, claim: SealedClaim, box: bytes) -> SealedReceipt:
        assert encode_bytes(hashlib.sha256(box).digest()) == claim.box
        self.parts.append((claim.from_seq, claim.to_seq))
        message = receipt_message(self._world.town.id, DEVICE, claim.to_seq, claim.head)
        return SealedReceipt(to_seq=claim.to_seq, head=claim.head, kid="one", sig=sign(self._world.town.key, message))

    def refusal(self, last: object) -> ServerProblem:
        """The problem that brings the order."""
        town = self._world.town
        sig = sign(town.key, wipe_message(town.id, DEVICE, AT))
        order = {"town": town.id, "device": DEVICE, "at": AT, "kid": "one", "sig": sig, "last": last}
        return ServerProblem("device_revoked", status=403, wipe=order)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Four lines, of which the server has answered the first three."""
    with exchange_world(tmp_path) as made:
        made.record(3)
        made.server.will_answer(made.good(1, range(1, 4)))
        made.sync()
        made.record()
        yield made


def handed_in(world: World, last: object) -> list[tuple[int, int]]:
    """Which lines go to a server that says that this line is the last one that it has."""
    door = Door(world)
    told = faced(world.store, door, world.system, door.refusal(last))
    assert isinstance(told, ReplicaWiped)
    return door.parts


def line(world: World, seq: int) -> dict[str, object]:
    return {"seq": seq, "hash": encode_bytes(world.digest(seq))}


def test_what_the_server_has_is_not_handed_in(world: World) -> None:
    assert handed_in(world, line(world, 3)) == [(4, 4)]


def test_answered_lines_that_the_server_has_lost_are_handed_in_with_the_others(world: World) -> None:
    assert handed_in(world, line(world, 1)) == [(2, 4)]


@pytest.mark.parametrize("seq", [1, 9])
def test_where_the_servers_last_line_is_none_of_ours_everything_that_is_kept_is_handed_in(
    world: World, seq: int
) -> None:
    assert handed_in(world, {"seq": seq, "hash": encode_bytes(bytes(32))}) == [(1, 4)]


@pytest.mark.parametrize("last", [None, {"seq": 1}, 7])
def test_a_server_of_before_gets_what_it_has_not_answered(world: World, last: object) -> None:
    assert handed_in(world, last) == [(4, 4)]


def test_a_line_that_the_server_has_beyond_what_was_answered_is_handed_in_all_the_same(world: World) -> None:
    assert handed_in(world, line(world, 4)) == [(4, 4)]


def test_the_order_of_another_device_destroys_nothing(world: World) -> None:
    door = Door(world)
    refusal = door.refusal(None)
    assert refusal.wipe is not None
    refusal = ServerProblem("device_revoked", status=403, wipe={**refusal.wipe, "device": derived_id("device", 2)})

    assert faced(world.store, door, world.system, refusal) is refusal
    assert (door.parts, world.pending()) == ([], [4])
