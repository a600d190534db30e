"""What every store of towns keeps of histories that disagree, in memory and in PostgreSQL alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from server.application.history_ports import Halt, KeptAside, NotHalted, ReleasedHead
from sync.engine.chain import genesis_hash, line_hash
from sync.kernel.clock import format_time
from sync.kernel.ids import derived_id, make_id
from sync.modules.commerce import ReceiveStock
from sync.modules.histories import ReleaseDevice
from tests.support.town_stores import KINDS, TEA, Store, opened


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with opened(request) as one:
        yield one


async def test_a_halted_town_says_so_until_an_epoch_begins(store: Store) -> None:
    histories = store.towns.histories
    with pytest.raises(NotHalted):
        await histories.resume(store.town, "why", format_time(store.system.now_ms()))
    halt = Halt(
        id=make_id(store.system.now_ms(), bytes(10)),
        device_id=store.tablet,
        epoch=derived_id("epoch", 9),
        version=99,
        journal=bytes(32),
        signature="",
        head_version=1,
        halted_at=format_time(store.system.now_ms()),
    )
    await histories.halt(store.town, halt)
    async with store.towns.reading(store.town) as reader:
        assert reader.is_halted
        assert await reader.halts() == [halt]
    epoch = await store.appliers.begin_epoch(store.town, "restored")
    async with store.towns.reading(store.town) as reader:
        assert (reader.is_halted, reader.head.epoch) == (False, epoch)
        assert [one.ended for one in await reader.halts()] == [epoch]
        assert [one.epoch for one in await reader.epochs()] == [epoch]
    assert await histories.epochs(store.town) == await _epochs(store)


async def _epochs(store: Store) -> Sequence[Any]:
    async with store.evidence.evidence(store.town) as evidence:
        return await evidence.epochs()


async def test_a_halt_that_is_resumed_is_over(store: Store) -> None:
    histories, at = store.towns.histories, format_time(store.system.now_ms())
    halt = Halt(
        id=derived_id("halt", 1),
        device_id=store.tablet,
        epoch=derived_id("epoch", 9),
        version=99,
        journal=bytes(32),
        signature="",
        head_version=1,
        halted_at=at,
    )
    await histories.halt(store.town, halt)
    assert await histories.resume(store.town, "why", at) == 1
    assert [one.ended for one in await histories.halts(store.town)] == ["resumed"]
    async with store.towns.reading(store.town) as reader:
        assert not reader.is_halted


async def test_lines_beside_the_chain_are_kept_once_until_something_becomes_of_them(store: Store) -> None:
    histories, line, at = store.towns.histories, store.first_line(), format_time(store.system.now_ms())
    other = store.line(2, line_hash(line), ReceiveStock(warehouse=store.warehouse, product=TEA, quantity=1))
    signature = store.signature(2, other)
    for _ in range(2):
        await histories.keep_lines(store.town, store.tablet, 1, [line, other], signature=signature, at=at)
    first = KeptAside(seq=1, line=line, received_at=at, signature=None)
    second = KeptAside(seq=2, line=other, received_at=at, signature=signature)

    assert await histories.kept_lines(store.town, store.tablet) == [first, second]
    assert await histories.kept_lines(store.town, store.admin) == []
    await store.submit(1, line)
    assert await histories.kept_lines(store.town, store.tablet) == [second]


async def test_a_released_devices_head_is_told_for_lines_that_were_kept_before(store: Store) -> None:
    histories, line, at = store.towns.histories, store.first_line(), format_time(store.system.now_ms())
    other = store.line(1, genesis_hash("certificate"), ReceiveStock(warehouse=store.warehouse, product=TEA, quantity=9))
    await store.submit(1, line)
    assert await histories.released_head(store.town, store.tablet, None) is None
    await store.author(store.admin, ReleaseDevice(device=store.tablet, reason="found"))
    async with store.towns.reading(store.town) as reader:
        epoch = reader.head.epoch
    head = ReleasedHead(line=line, signature=store.signature(1, line), epoch=epoch)

    assert await histories.released_head(store.town, store.tablet, None) == head
    assert await histories.released_head(store.town, store.tablet, other) is None
    await histories.keep_lines(store.town, store.tablet, 1, [other], signature="", at=at)
    assert await histories.released_head(store.town, store.tablet, other) == head
    late = other.replace(b"stock.receive", b"stock.Receive")
    store.system.advance(60)
    now = format_time(store.system.now_ms())
    await histories.keep_lines(store.town, store.tablet, 1, [late], signature="", at=now)
    assert await histories.released_head(store.town, store.tablet, late) is None


async def test_a_released_device_without_a_line_here_begins_at_its_certificate(store: Store) -> None:
    histories = store.towns.histories
    assert await histories.released_head(store.town, store.tablet, None) is None
    await store.author(store.admin, ReleaseDevice(device=store.tablet, reason="what it had sent is lost"))
    async with store.towns.reading(store.town) as reader:
        epoch = reader.head.epoch

    none = ReleasedHead(line=None, signature=None, epoch=epoch)
    assert await histories.released_head(store.town, store.tablet, None) == none
