"""A backup was restored, the town went on, and wrote as many versions as were lost before anybody noticed.

Found by the simulator (seeds 13 and 40 of its first build): the devices that had seen the lost part were shut out for
ever, whatever the admin did, because their witnesses were looked for in what had been written in its place.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest

from server.adapters.memory import MemorySystem, memory_signer
from server.adapters.memory_outbox import MemoryOutbox
from server.adapters.memory_towns import MemoryTowns
from server.application.commands.apply_change_sets import Appliers
from server.application.commands.begin_epoch import begin_epoch
from server.application.commands.found_town import found_town
from server.application.histories import HistoryAltered, Sight, look_at, sound_alarm
from server.application.history_ports import TownHalted
from server.domain.devices import server_device_id
from sync.engine.chain import encode_bytes, journal_message
from sync.kernel.ids import derived_id, make_id
from sync.modules import registry
from sync.modules.identity import AddUser
from sync.protocol.messages import Hello, Witness

LOST_VERSIONS = 3


@dataclass(kw_only=True)
class Restored:
    """A town that lost versions and wrote others in their place, and what devices had seen of those that are lost."""

    towns: MemoryTowns
    system: MemorySystem
    appliers: Appliers
    town: str
    witnesses: list[Hello]

    async def look(self, hello: Hello) -> Sight:
        async with self.towns.reading(self.town) as reader:
            return await look_at(reader, hello)

    async def begin_epoch(self, reason: str) -> str:
        return await begin_epoch(self.town, reason, appliers=self.appliers, towns=self.towns)

    def signed(self, version: int, digest: bytes) -> Hello:
        """What a device says that has seen this head, which the server has signed and does not have."""
        epoch = self.towns.shared(self.town).head.epoch
        signature = memory_signer().sign(journal_message(self.town, epoch, version, digest))
        witness = Witness(version=version, journal=encode_bytes(digest), sig=signature)
        return self.witnesses[0].model_copy(update={"witness": witness})

    async def alarm(self, hello: Hello) -> None:
        sight, signer = await self.look(hello), memory_signer()
        device = derived_id("device", 1)
        await sound_alarm(sight, hello, self.town, device, towns=self.towns, signer=signer, system=self.system)


async def add_user(appliers: Appliers, system: MemorySystem, town: str) -> None:
    user = AddUser(id=make_id(system.now_ms(), system.random(10)), name="Ada", login="ada", user_roles=["driver"])
    await appliers.author(town, server_device_id(town), [user])


@pytest.fixture
async def restored() -> Restored:
    system, outbox = MemorySystem(), MemoryOutbox()
    towns = MemoryTowns(registry(), outbox)
    appliers = Appliers(towns=towns, registry=registry(), signer=memory_signer(), system=system)
    named = {"name": "Ashford", "currency": "GBP", "time_zone": "Europe/London"}
    town = await found_town(**named, appliers=appliers, signer=memory_signer(), system=system)
    backup, work = towns.shared(town), copy.deepcopy(outbox.rows)
    witnesses = []
    for _ in range(LOST_VERSIONS):
        await add_user(appliers, system, town)
        witnesses.append(hello_of(towns, town))
    towns.states[town], outbox.rows = backup, work
    for _ in range(LOST_VERSIONS + 1):
        await add_user(appliers, system, town)
    return Restored(towns=towns, system=system, appliers=appliers, town=town, witnesses=witnesses)


def hello_of(towns: MemoryTowns, town: str) -> Hello:
    """What a device says that is where the town is now."""
    state = towns.shared(town)
    entry = state.journal[-1]
    said = {
        "protocol": 1,
        "schema": 1,
        "sdk": "0.1.0",
        "app": "test",
        "clock": "2026-11-21T08:00:00.000Z",
        "epoch": state.head.epoch,
        "cursors": {"town": entry.version},
        "head": {"seq": 0, "hash": encode_bytes(bytes(32)), "sig": encode_bytes(bytes(64))},
        "from_seq": 1,
        "pending": 0,
        "witness": {"version": entry.version, "journal": encode_bytes(entry.digest), "sig": entry.signature},
    }
    return Hello.model_validate(said)


async def test_after_an_epoch_every_device_of_the_lost_part_is_let_in(restored: Restored) -> None:
    with pytest.raises(TownHalted):
        await restored.alarm(restored.witnesses[1])
    epoch = await restored.begin_epoch("an old backup was restored")

    for hello in restored.witnesses:
        sight = await restored.look(hello)
        assert (sight.is_alarming, [record.epoch for record in sight.news]) == (False, [epoch])
        assert sight.lost_versions > 0


async def test_a_device_that_contradicts_the_epoch_itself_is_let_into_the_one_after_it(restored: Restored) -> None:
    with pytest.raises(TownHalted):
        await restored.alarm(restored.witnesses[0])
    await restored.begin_epoch("an old backup was restored")
    first = (await restored.towns.histories.epochs(restored.town))[-1].epoch
    last = await restored.begin_epoch("once more")

    [record] = (await restored.look(restored.witnesses[-1])).news
    assert (record.before, record.epoch) == (first, last)


async def test_no_device_of_a_lost_branch_is_told_that_versions_of_its_epoch_are_kept(restored: Restored) -> None:
    with pytest.raises(TownHalted):
        await restored.alarm(restored.witnesses[1])
    beyond = restored.signed(restored.towns.shared(restored.town).head.version + 5, bytes(range(32)))
    await restored.begin_epoch("an old backup was restored")

    for hello in (*restored.witnesses, beyond):
        [record] = (await restored.look(hello)).news
        assert record.before != hello.epoch


async def test_a_device_that_saw_the_lost_end_does_not_rely_on_what_the_town_decided_before_its_halt(
    restored: Restored,
) -> None:
    beyond = restored.signed(restored.towns.shared(restored.town).head.version + 5, bytes(range(32)))
    with pytest.raises(TownHalted):
        await restored.alarm(beyond)
    await restored.begin_epoch("a failover lost the end")

    [record] = (await restored.look(beyond)).news
    assert record.before != beyond.epoch


async def test_where_nobody_was_stopped_one_epoch_is_begun_and_what_is_before_it_is_kept(restored: Restored) -> None:
    beyond = restored.signed(restored.towns.shared(restored.town).head.version + 5, bytes(range(32)))
    epoch = await restored.begin_epoch("a failover lost the end")

    [record] = (await restored.look(beyond)).news
    assert (record.before, record.epoch) == (beyond.epoch, epoch)


async def test_without_a_halt_that_ended_in_an_epoch_it_is_an_alarm(restored: Restored) -> None:
    await restored.appliers.begin_epoch(restored.town, "for another reason")

    with pytest.raises(TownHalted):
        await restored.alarm(restored.witnesses[1])


async def test_a_halt_that_was_resumed_lets_nobody_in(restored: Restored) -> None:
    with pytest.raises(TownHalted):
        await restored.alarm(restored.witnesses[1])
    await restored.towns.histories.resume(restored.town, "no history is wanted back", "2026-11-21T08:00:00.000Z")

    with pytest.raises(HistoryAltered):
        await restored.alarm(restored.witnesses[1])


async def test_the_loss_of_an_end_excuses_nothing_that_does_not_fit_before_it(restored: Restored) -> None:
    seen = restored.witnesses[0]
    beyond = restored.signed(restored.towns.shared(restored.town).head.version + 5, bytes(range(32)))
    with pytest.raises(TownHalted):
        await restored.alarm(beyond)
    await restored.appliers.begin_epoch(restored.town, "a failover lost the end")

    with pytest.raises(TownHalted):
        await restored.alarm(seen)

    epoch = await restored.appliers.begin_epoch(restored.town, "and an old backup had been restored before")
    sights = [await restored.look(hello) for hello in restored.witnesses]
    assert [(sight.is_alarming, sight.news[-1].epoch) for sight in sights] == [(False, epoch)] * LOST_VERSIONS
