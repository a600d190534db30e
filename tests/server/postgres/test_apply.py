"""The write path on real PostgreSQL: one transaction for many, every kind of evidence, poison that blocks nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from server.adapters.postgres.towns import PostgresTowns
from server.application import batch, slices
from server.application.batch import DeviceBarred, DeviceRevoked, TownBusy
from server.application.commands import apply_change_sets
from server.application.ports import Unavailable, WriteRejected
from sync.engine.chain import line_hash
from sync.engine.town import Step, folding
from sync.kernel.errors import ChainBroken, ChainForked, ChainGap, LimitExceeded, Malformed
from sync.modules.identity import RevokeDevice, SuspendDevice
from sync.protocol import limits
from sync.protocol.codec import parse_line
from tests.support.real_town import RealTown
from tests.support.write_path import (
    POISONED,
    POISONS,
    Poison,
    findings,
    other_appliers,
    poison,
    receive,
    received,
    stored,
    upload,
    version,
)

SECONDS_MAX = 20
"""A waiter that nobody answers fails its test after this long."""


async def test_what_the_office_says_is_read_back_before_it_is_decided(town: RealTown) -> None:
    before = await version(town)
    with pytest.raises(LimitExceeded):
        await town.appliers.author(town.id, town.admin_id, [receive(town) for _ in range(limits.OPERATIONS_MAX + 1)])
    with pytest.raises(Malformed):
        await town.appliers.author(town.id, town.admin_id, [receive(town).model_copy(update={"reason": "a\0b"})])
    assert (await version(town), await findings(town)) == (before, ())


async def test_whoever_waits_together_is_committed_together(town: RealTown) -> None:
    devices = [await town.enrol("warehouse_staff") for _ in range(8)]
    before = await version(town)
    lines = [(device, device.line(receive(town))) for device in devices for _ in range(5)]
    uploads = [upload(device, line, from_seq=1 + place % 5) for place, (device, line) in enumerate(lines)]
    answers = await asyncio.gather(*(town.appliers.submit(one) for one in uploads))
    verdicts = [orjson.loads(line) for answer in answers for line in answer]
    assert {(said["status"], said["version"]) for said in verdicts} == {("accepted", before + 1)}
    assert (await version(town), await received(town)) == (before + 1, 40)


async def test_a_long_upload_takes_a_transaction_for_each_chunk(town: RealTown) -> None:
    device = await town.enrol("warehouse_staff")
    before = await version(town)
    said = await device.send(*(device.line(receive(town)) for _ in range(2 * batch.CHUNK_LINES_MAX + 1)))
    assert [verdict["seq"] for verdict in said] == list(range(1, 2 * batch.CHUNK_LINES_MAX + 2))
    assert await version(town) == before + 3
    assert await findings(town) == ()


async def test_a_batch_ends_when_it_is_full(town: RealTown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "BATCH_CHANGE_SETS_MAX", 2)
    before = await version(town)
    await asyncio.gather(*(town.author(receive(town)) for _ in range(6)))
    assert (await version(town), await received(town)) == (before + 3, 6)


async def test_others_have_their_turn_while_an_upload_is_read_and_decided(
    town: RealTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = await town.enrol("warehouse_staff")
    lines = [device.line(receive(town)) for _ in range(20)]
    turns, read_at, decided_at = 0, list[int](), list[int]()
    loop = asyncio.get_running_loop()

    def others() -> None:
        nonlocal turns
        turns += 1
        if not sending.done():
            loop.call_soon(others)

    def parse_noting(*given: Any, **named: Any) -> Any:
        read_at.append(turns)
        return parse_line(*given, **named)

    def fold_noting(*given: Any) -> Generator[None, None, Step]:
        work = folding(*given)
        while True:
            try:
                next(work)
            except StopIteration as end:
                made: Step = end.value
                return made
            decided_at.append(turns)
            yield

    monkeypatch.setattr(slices, "SLICE_SECONDS", 0)
    monkeypatch.setattr(apply_change_sets, "parse_line", parse_noting)
    monkeypatch.setattr(apply_change_sets, "folding", fold_noting)
    sending = asyncio.ensure_future(town.appliers.submit(upload(device, *lines)))
    others()
    await sending
    assert len(set(read_at)) == len(lines)
    assert len(set(decided_at)) == len(decided_at) > len(lines)
    assert await findings(town) == ()


async def test_an_upload_with_too_many_operations_is_refused_whole(
    town: RealTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "EXCHANGE_OPERATIONS_MAX", 3)
    device = await town.enrol("warehouse_staff")
    lines = [device.line(receive(town), receive(town)) for _ in range(2)]
    with pytest.raises(LimitExceeded):
        await town.appliers.submit(upload(device, *lines))
    assert await received(town) == 0
    assert [said["seq"] for said in await device.send(lines[0], from_seq=1)] == [1]


async def test_a_repeated_line_gets_the_bytes_of_its_first_verdict(town: RealTown) -> None:
    device = await town.enrol("warehouse_staff")
    lines = [device.line(receive(town)) for _ in range(3)]
    first = await town.appliers.submit(upload(device, *lines))
    await town.author(receive(town))
    after = await version(town)
    assert await town.appliers.submit(upload(device, *lines)) == first
    assert await town.appliers.submit(upload(device, lines[1], from_seq=2)) == first[1:2]
    longer = [*lines, device.line(receive(town))]
    assert (await town.appliers.submit(upload(device, *longer)))[:3] == first
    assert (await version(town), await received(town)) == (after + 1, 5)


async def test_the_same_upload_twice_at_once_has_one_effect(town: RealTown) -> None:
    device = await town.enrol("warehouse_staff")
    one = upload(device, *[device.line(receive(town)) for _ in range(3)])
    first, second = await asyncio.gather(town.appliers.submit(one), town.appliers.submit(one))
    assert first == second
    assert await received(town) == 3


async def test_a_hole_is_answered_with_the_position_that_is_missing(town: RealTown) -> None:
    device = await town.enrol("warehouse_staff")
    first, _, third = (device.line(receive(town)) for _ in range(3))
    await town.appliers.submit(upload(device, first, from_seq=1))
    before = await version(town)
    with pytest.raises(ChainGap) as gap:
        await town.appliers.submit(upload(device, third, from_seq=3))
    assert gap.value.expected_seq == 2
    assert await version(town) == before


async def test_lines_that_do_not_follow_on_from_each_other_are_all_refused(town: RealTown) -> None:
    device = await town.enrol("warehouse_staff")
    twin = replace(device, lines=[])
    first = device.line(receive(town))
    twin.line(receive(town, 2))
    second = twin.line(receive(town))
    with pytest.raises(ChainBroken):
        await town.appliers.submit(upload(device, first, second, from_seq=1))
    with pytest.raises(ChainBroken):
        await town.appliers.submit(upload(device, second, from_seq=1))
    assert await received(town) == 0


async def test_a_fork_is_not_applied_suspends_its_device_and_both_sides_are_kept(town: RealTown) -> None:
    device = await town.enrol("warehouse_staff")
    clone = replace(device, lines=[])
    true, false, more = device.line(receive(town)), clone.line(receive(town, 100)), clone.line(receive(town, 100))
    await town.appliers.submit(upload(device, true, from_seq=1))
    with pytest.raises(ChainForked) as fork:
        await town.appliers.submit(upload(clone, false, more, from_seq=1))
    assert fork.value.seq == 1
    assert await received(town) == 1
    assert await stored(town, f"SELECT line FROM change_sets WHERE device_id = '{device.id}'") == [(true,)]
    kept = await stored(town, "SELECT device_id, seq, line FROM fork_lines ORDER BY seq")
    assert kept == [(device.id, 1, false), (device.id, 2, more)]
    assert await stored(town, f"SELECT status FROM devices WHERE id = '{device.id}'") == [("suspended",)]
    with pytest.raises(DeviceBarred):
        await device.send(device.line(receive(town)))


async def test_a_first_line_with_another_past_is_a_fork(town: RealTown) -> None:
    device = await town.enrol("warehouse_staff")
    clone = replace(device, lines=[])
    await device.send(device.line(receive(town)))
    clone.line(receive(town, 2))
    with pytest.raises(ChainForked):
        await clone.send(clone.line(receive(town)))
    assert await stored(town, "SELECT seq FROM fork_lines") == [(2,)]


@pytest.mark.parametrize(("operation", "fault"), [(SuspendDevice, DeviceBarred), (RevokeDevice, DeviceRevoked)])
async def test_a_device_that_was_put_out_of_use_is_barred(
    town: RealTown, operation: type[SuspendDevice | RevokeDevice], fault: type[DeviceBarred]
) -> None:
    device = await town.enrol("warehouse_staff")
    await device.send(device.line(receive(town)))
    await town.author(operation(device=device.id, reason="lost"))
    with pytest.raises(fault) as barred:
        await device.send(device.line(receive(town)))
    assert type(barred.value) is fault
    assert await received(town) == 1


async def test_a_device_is_barred_by_what_was_queued_just_ahead_of_it(town: RealTown) -> None:
    device = await town.enrol("warehouse_staff")
    suspended, sent = await asyncio.gather(
        town.author(SuspendDevice(device=device.id, reason="lost")),
        device.send(device.line(receive(town))),
        return_exceptions=True,
    )
    assert not isinstance(suspended, BaseException)
    assert isinstance(sent, DeviceBarred)
    assert await received(town) == 0


async def test_a_town_that_too_many_wait_for_says_so(town: RealTown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply_change_sets, "WAITING_MAX", 2)
    waiting = (town.author(receive(town)) for _ in range(3))
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [dict, dict, TownBusy]
    assert await received(town) == 2


async def test_nothing_is_decided_for_a_caller_that_has_gone(town: RealTown) -> None:
    device = await town.enrol("warehouse_staff")
    line = device.line(receive(town))
    gone = asyncio.create_task(town.appliers.submit(upload(device, line)))
    staying = asyncio.create_task(town.author(receive(town, 10)))
    asyncio.get_running_loop().call_soon(gone.cancel)
    await staying
    assert await received(town) == 10
    assert [verdict["status"] for verdict in await device.send(line)] == ["accepted"]


@pytest.mark.parametrize("how", POISONS)
async def test_poison_is_quarantined_and_harms_neither_the_lines_around_it_nor_who_waits_beside_it(
    poisoned_town: RealTown, how: Poison
) -> None:
    town = poisoned_town
    sick, well = await town.enrol("warehouse_staff"), await town.enrol("warehouse_staff")
    operations = [receive(town), poison(town, how), receive(town)]
    lines = [sick.line(operation) for operation in operations]
    async with asyncio.timeout(SECONDS_MAX):
        said, beside = await asyncio.gather(sick.send(*lines), well.send(well.line(receive(town, 10))))
    assert [verdict["status"] for verdict in said] == ["accepted", "quarantined", "accepted"]
    assert said[1]["rule"] == "engine.rule_failed"
    assert [verdict["status"] for verdict in beside] == ["accepted"]
    counted = "SELECT hash, failures, (SELECT (seq, failures)::text FROM line_failures) FROM failed_lines"
    by_place = f"(2,{batch.FAILURES_MAX})"  # what the release before looks for
    assert await stored(town, counted) == [(line_hash(lines[1]), batch.FAILURES_MAX, by_place)]
    assert await received(town) == 12
    assert await sick.send(*lines) == said
    assert await findings(town, POISONED) == ()


@pytest.mark.parametrize("how", POISONS)
async def test_what_the_town_itself_cannot_write_harms_nobody_else(poisoned_town: RealTown, how: Poison) -> None:
    town = poisoned_town
    before = await version(town)
    async with asyncio.timeout(SECONDS_MAX):
        outcomes = await asyncio.gather(
            town.author(receive(town)),
            town.author(poison(town, how)),
            town.author(receive(town)),
            return_exceptions=True,
        )
    assert [type(outcome) for outcome in outcomes] == [dict, WriteRejected, dict]
    assert (await received(town), await version(town)) == (2, before + 2)
    assert await findings(town, POISONED) == ()


class ForgetfulTowns(PostgresTowns):
    """A store that is gone just when a failure is to be counted."""

    async def count_failure(self, *_line: object) -> int:
        raise Unavailable


async def test_a_store_that_fails_while_poison_is_isolated_leaves_nobody_waiting(town: RealTown) -> None:
    town.appliers = other_appliers(town, towns=ForgetfulTowns(town.pool), rules=POISONED)
    sick, well = await town.enrol("warehouse_staff"), await town.enrol("warehouse_staff")
    async with asyncio.timeout(SECONDS_MAX):
        outcomes = await asyncio.gather(
            sick.send(sick.line(poison(town, "more than a bigint"))),
            well.send(well.line(receive(town))),
            return_exceptions=True,
        )
    assert isinstance(outcomes[0], Unavailable)
    assert not isinstance(outcomes[1], BaseException)
    assert await received(town) == 1


async def test_a_line_that_cannot_be_read_is_quarantined_and_the_next_one_goes_on(town: RealTown) -> None:
    device = await town.enrol("warehouse_staff")
    broken = b'{"v":1,"seq":'
    device.seq, device.digest = 1, line_hash(broken)
    said = await device.send(broken, device.line(receive(town)), from_seq=1)
    assert [verdict["status"] for verdict in said] == ["quarantined", "accepted"]
    assert await findings(town) == ()
