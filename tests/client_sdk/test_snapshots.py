"""The rows of a bucket as a file: cut and gone on with, wrong in every way, and taken with its checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
from backports import zstd

from client_sdk import Offline, ServerProblem
from client_sdk.application import snapshots
from client_sdk.application.exchange import sync_to_quiet
from sync.engine.feed import BucketSum
from tests.support.exchange_world import PRODUCTS, World, exchange_world
from tests.support.fake_server import Answer
from tests.support.transports import TransportAround

if TYPE_CHECKING:
    from client_sdk.application.ports import Transport


class Line(TransportAround):
    """A wire that gives files as the test has scripted them, one script for each time that one is asked for."""

    def __init__(self, inner: Transport, held: bytes) -> None:
        super().__init__(inner)
        self.held = held
        self.starts: list[int] = []
        self.faults: list[Callable[[bytes], Iterator[bytes]]] = []

    def snapshot(self, sha256: str, start: int) -> Iterator[bytes]:
        assert len(sha256) == 64
        self.starts.append(start)
        rest = self.held[start:]
        return self.faults.pop(0)(rest) if self.faults else iter([rest])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with exchange_world(tmp_path) as made:
        yield made


def file_of(world: World, *versions: int) -> bytes:
    """The file of the town's bucket with the products of these versions."""
    return zstd.compress(b"\n".join([*(world.rows(version) for version in versions), b""]))


def offer(held: bytes) -> bytes:
    said = {"t": "snapshot", "b": "town", "version": 2, "url": "/", "rows": 2, "bytes": len(held)}
    return orjson.dumps({**said, "sha256": hashlib.sha256(held).hexdigest()})


def offering(world: World, line: bytes) -> Answer:
    """An answer that names a file for version 2, and nothing else."""
    return Answer(lines=[world.town.welcome(), world.town.bucket("town", "added"), line, world.more(2)])


def rest(world: World) -> Answer:
    """What follows the file: product 3 came, product 1 went."""
    total = BucketSum().with_row("product", PRODUCTS[2], 2).with_row("product", PRODUCTS[3], 3)
    mark = {"version": 4, "rows": total.rows, "sum": f"{total.total:016x}"}
    gone = world.town.rows("town", "product", gone=[[PRODUCTS[1], 4]])
    lines = [world.town.welcome(), world.town.bucket("town"), world.rows(3), gone]
    return Answer(lines=[*lines, world.town.checkpoint(4, {"town": mark})])


def plain(world: World) -> Answer:
    """Everything over the feed."""
    lines = [world.town.welcome(), world.town.bucket("town", "added"), world.rows(1), world.rows(2), world.final(2)]
    return Answer(lines=lines)


def cut(held: bytes) -> Iterator[bytes]:
    yield held[:20]
    raise Offline


def asked(world: World) -> Sequence[tuple[dict[str, int], bool]]:
    """Cursors of each exchange, and whether it took files."""
    return [(one.hello["cursors"], one.hello.get("snapshots", False)) for one in world.server.exchanges]


def sync(world: World, line: Line) -> None:
    sync_to_quiet(world.store, line, world.system, app="test")


def test_a_file_is_taken_with_what_came_and_went_since(world: World) -> None:
    held = file_of(world, 1, 2)
    world.server.will_answer(offering(world, offer(held)), rest(world))
    sync(world, Line(world.transport, held))

    assert world.names() == ["product of 2", "product of 3"]
    assert asked(world) == [({}, True), ({"town": 2}, True)]


def test_nothing_of_a_file_is_seen_before_its_checkpoint(world: World) -> None:
    held = file_of(world, 1, 2)
    world.server.will_answer(offering(world, offer(held)), Answer(lines=[world.town.welcome()], is_cut=True))
    with pytest.raises(Offline):
        sync(world, Line(world.transport, held))
    assert world.names() == []
    world.server.will_answer(rest(world))
    sync(world, Line(world.transport, held))

    assert world.names() == ["product of 2", "product of 3"]


def test_a_download_that_is_cut_goes_on_where_it_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "PART_BYTES", 16)
    held = file_of(world, 1, 2)
    line = Line(world.transport, held)
    line.faults = [cut]
    world.server.will_answer(offering(world, offer(held)))
    with pytest.raises(Offline):
        sync(world, line)
    world.store.close()
    world.store = world.open()
    world.server.will_answer(offering(world, offer(held)), rest(world))
    sync(world, line)

    assert line.starts == [0, 20]
    assert world.names() == ["product of 2", "product of 3"]


def refuse(_held: bytes) -> Iterator[bytes]:
    raise ServerProblem("not_found", status=404)


@pytest.mark.parametrize(
    "fault",
    [
        refuse,
        lambda held: iter([held[:-1] + b"?"]),
        lambda held: iter([held[:-1]]),
        lambda held: iter([held, b"more"]),
        lambda _held: iter([]),
    ],
    ids=["missing", "altered", "short", "long", "empty"],
)
def test_a_file_that_is_not_what_was_offered_is_left_and_the_feed_is_asked(
    world: World, fault: Callable[[bytes], Iterator[bytes]]
) -> None:
    held = file_of(world, 1, 2)
    line = Line(world.transport, held)
    line.faults = [fault]
    world.server.will_answer(offering(world, offer(held)), plain(world))
    sync(world, line)

    assert world.names() == ["product of 1", "product of 2"]
    assert asked(world) == [({}, True), ({}, False)]
    assert not world.store.downloads.is_declining()


def test_another_file_of_the_same_length_is_not_taken(world: World) -> None:
    other = file_of(world, 1, 3)
    line = orjson.dumps({**orjson.loads(offer(other)), "sha256": hashlib.sha256(b"another").hexdigest()})
    world.server.will_answer(offering(world, line), plain(world))
    sync(world, Line(world.transport, other))

    assert world.names() == ["product of 1", "product of 2"]
    assert asked(world) == [({}, True), ({}, False)]


@pytest.mark.parametrize(
    "held",
    [
        b"no zstd at all, whatever it says",
        zstd.compress(b'{"t":"rows","b":"driver:1","e":"product","put":[],"gone":[]}\n'),
        zstd.compress(b'{"t":"rows","b":"town","e":"product"'),
        zstd.compress(b"")[:-1],
        zstd.compress(b""),
        zstd.compress(b"x\n") * 2,
    ],
    ids=["no zstd", "another bucket", "half a line", "half a frame", "nothing", "two frames"],
)
def test_a_file_with_the_right_hash_that_makes_no_sense_is_left_too(world: World, held: bytes) -> None:
    world.server.will_answer(offering(world, offer(held)), plain(world))
    sync(world, Line(world.transport, held))

    assert world.names() == ["product of 1", "product of 2"]


def test_a_wire_without_files_does_not_ask_for_them(world: World) -> None:
    world.server.will_answer(plain(world))
    sync_to_quiet(world.store, TransportAround(world.transport), world.system)

    assert asked(world) == [({}, False)]


def test_what_was_downloaded_is_forgotten_once_it_is_taken(world: World) -> None:
    held = file_of(world, 1, 2)
    world.server.will_answer(offering(world, offer(held)), rest(world))
    sync(world, Line(world.transport, held))

    assert world.store.downloads.size(hashlib.sha256(held).hexdigest()) == 0
