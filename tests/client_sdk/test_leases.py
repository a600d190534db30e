"""The lease that an answer carries: believed only when the server has signed it for this device and this contact."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client_sdk.errors import UnknownServerKey
from sync.engine.leases import lease_of
from sync.kernel.clock import format_time
from sync.kernel.ids import derived_id
from tests.support.exchange_world import DEVICE, World, exchange_world
from tests.support.fake_server import Answer
from tests.support.leases import mark, signed

LEASE = mark(days=3, cash_units=50)
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
OTHER = derived_id("other", 1)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with exchange_world(tmp_path) as made:
        yield made


def clock(world: World) -> str:
    """What the next hello says."""
    return format_time(world.system.now_ms())


def leasing(world: World, lease: dict[str, object] | None) -> Answer:
    """A good answer to two lines, with this lease."""
    welcome, *rest = world.good(1, range(1, 3)).lines
    return Answer(lines=[orjson.dumps(orjson.loads(welcome) | ({"lease": lease} if lease else {})), *rest])


def good_lease(world: World) -> dict[str, object]:
    return signed(LEASE, world.town.key, town=world.town.id, device=DEVICE, clock=clock(world))


def bad_leases(world: World) -> dict[str, dict[str, object]]:
    """Leases that are each wrong in one way."""
    key, asked = world.town.key, {"town": world.town.id, "device": DEVICE, "clock": clock(world)}
    return {
        "signed by another key": signed(LEASE, OTHER_KEY, **asked),
        "for another town": signed(LEASE, key, **asked | {"town": OTHER}),
        "for another device": signed(LEASE, key, **asked | {"device": OTHER}),
        "for an earlier contact": signed(LEASE, key, **asked | {"clock": format_time(world.system.now_ms() - 1)}),
        "with a later end": good_lease(world) | {"until": "2999-01-01T00:00:00.000Z"},
        "with an earlier beginning": good_lease(world) | {"issued": "2026-01-01T00:00:00.000Z"},
        "with more cash": good_lease(world) | {"cash_units": 51},
        "without a ceiling": good_lease(world) | {"cash_units": None},
        "with more operations": good_lease(world) | {"operations": ["payment.take", "refund.pay"]},
    }


BAD = (
    *("signed by another key", "for another town", "for another device", "for an earlier contact"),
    *("with a later end", "with an earlier beginning", "with more cash", "without a ceiling", "with more operations"),
)


def test_the_lease_of_an_answer_is_kept_with_it(world: World) -> None:
    world.record(2)
    world.server.will_answer(leasing(world, good_lease(world)))

    world.sync()

    leased = world.store.standing().leased
    assert leased is not None
    assert leased.lease == lease_of(LEASE)
    assert format_time(leased.latest.server_ms) == LEASE.issued


def test_every_wrong_lease_is_listed(world: World) -> None:
    assert sorted(BAD) == sorted(bad_leases(world))


@pytest.mark.parametrize("wrong", BAD)
def test_of_an_answer_with_a_wrong_lease_nothing_is_taken(world: World, wrong: str) -> None:
    world.record(2)
    world.server.will_answer(leasing(world, bad_leases(world)[wrong]))

    with pytest.raises(UnknownServerKey, match="the lease"):
        world.sync()

    assert (world.pending(), world.names(), world.store.standing().leased) == ([1, 2], [], None)


def test_an_answer_of_a_server_that_knows_no_leases_is_taken(world: World) -> None:
    world.record(2)
    world.server.will_answer(leasing(world, None))

    world.sync()

    assert (world.pending(), world.store.standing().leased) == ([], None)
