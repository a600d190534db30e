"""What a process knows of its towns: when that is enough to answer, and a look at the head that came after asking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from server.application.ports import BucketState, DeviceRecord, JournalEntry, Unavailable
from server.application.recent import PAGES_MAX, RecentTowns, Seen
from sync.engine.chain import ChainHead
from sync.engine.feed import BucketSum, FeedRow
from sync.engine.town import ChangedRow, Step, TownHead
from sync.protocol.messages import Hello

TOWN = "01970a6e-3c00-7a53-9d2e-5a1f6a3f6d13"
OTHER_TOWN = "01970a6e-3c00-7a53-9d2e-5a1f6a3f6d20"
DEVICE = "01970a6e-3c00-7a53-9d2e-5a1f6a3f6d14"
EPOCH = "01970a6e-3c00-7a53-9d2e-5a1f6a3f6d15"
HEAD = TownHead(town=TOWN, epoch=EPOCH, version=7, journal=bytes(32))
DEVICE_ROW = DeviceRecord(
    device_id=DEVICE,
    town_id=TOWN,
    status="active",
    role="driver",
    public_key="k",
    certificate="c",
    buckets=("town",),
    town_settings={},
    head=ChainHead(seq=3, digest=bytes(32)),
)


@dataclass
class _Town:
    """A town that can be looked at, and made to be slow."""

    head: TownHead = HEAD
    is_halted: bool = False
    looks: int = 0
    fault: Exception | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    looked: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def reading(self, _town_id: str) -> AsyncIterator[_Town]:
        self.looks += 1
        self.looked.set()
        await self.gate.wait()
        if self.fault:
            raise self.fault
        yield self


def hello(**other: Any) -> Hello:
    said = {
        "protocol": 1,
        "schema": 2,
        "sdk": "0.1.0",
        "app": "test",
        "clock": "2026-11-21T08:00:00.000Z",
        "epoch": EPOCH,
        "cursors": {"town": 7},
        "head": {"seq": 3, "hash": "h" * 43, "sig": "s" * 86},
        "from_seq": 4,
        "pending": 0,
        "witness": {"version": 7, "journal": "j" * 43},
    }
    return Hello.model_validate(said | other)


def seen(head: TownHead = HEAD, device: DeviceRecord = DEVICE_ROW) -> Seen:
    entry = JournalEntry(version=head.version, body=b"{}", digest=head.journal, signature="s")
    return Seen(head=head, entry=entry, device=device, states={"town": BucketState(version=5, total=BucketSum(rows=1))})


def step(version: int, *changed: str, town: str = TOWN, body: bytes = b"{}") -> tuple[Step, JournalEntry]:
    """A version that puts one row into the town's bucket and changes rows of these entities."""
    head = TownHead(town=town, epoch=EPOCH, version=version, journal=bytes(31) + bytes([version]))
    made = Step(
        head=head,
        at="2026-11-21T08:00:00.000Z",
        body=b"{}",
        answered=(),
        rows=tuple(ChangedRow(entity=entity, row_id=DEVICE, before=None, after={}) for entity in changed),
        feed=(FeedRow(bucket="town", entity="product", row_id=DEVICE, version=version, body=body),),
        sums={"town": BucketSum(rows=1, total=version)},
        effects=(),
    )
    return made, JournalEntry(version=version, body=b"{}", digest=head.journal, signature="s")


@pytest.fixture
def town() -> _Town:
    made = _Town()
    made.gate.set()
    return made


@pytest.fixture
def recent(town: _Town) -> RecentTowns:
    made = RecentTowns(cast("Any", town), town_bytes_max=2_500, all_bytes_max=6_000)
    made.saw(seen())
    return made


async def test_a_device_that_stands_where_the_town_does_is_answered_out_of_memory(recent: RecentTowns) -> None:
    known = await recent.current(TOWN, DEVICE, hello())

    assert known is not None
    assert (known.head, await known.device(DEVICE)) == (HEAD, DEVICE_ROW)


@pytest.mark.parametrize(
    "other",
    [
        {"cursors": {"town": 6}},
        {"cursors": {"town": 8}},
        {"cursors": {}},
        {"cursors": {"town": 7, "device:d": 7}},
        {"epoch": None},
        {"epoch": DEVICE},
        {"witness": None},
        {"witness": {"version": 6, "journal": "j" * 43}},
        {"witness": {"version": 8, "journal": "j" * 43}},
    ],
)
async def test_what_is_not_known_is_asked_of_the_store(recent: RecentTowns, other: dict[str, Any]) -> None:
    assert recent.known(TOWN, DEVICE, hello(**other)) is None


@pytest.mark.parametrize("change", [{"head": replace(HEAD, version=8)}, {"is_halted": True}])
async def test_a_town_that_another_process_moved_or_halted_is_asked_of_the_store(
    recent: RecentTowns, town: _Town, change: dict[str, Any]
) -> None:
    vars(town).update(change)

    assert await recent.current(TOWN, DEVICE, hello()) is None


async def test_a_device_that_is_not_active_is_asked_of_the_store(recent: RecentTowns) -> None:
    recent.saw(seen(device=replace(DEVICE_ROW, status="suspended")))

    assert recent.known(TOWN, DEVICE, hello()) is None


async def test_a_step_brings_its_rows_to_a_device_that_stands_before_it(recent: RecentTowns) -> None:
    recent.wrote(*step(8))
    known = recent.known(TOWN, DEVICE, hello())
    assert known is not None
    page = await known.feed_page("town", 7, 10, 1_000)

    assert page.lines == [b'{"t":"rows","b":"town","e":"product","put":[["%b",8,{}]],"gone":[]}' % DEVICE.encode()]
    assert (await known.bucket_states(["town"]))["town"].total == BucketSum(rows=2, total=8)


@pytest.mark.parametrize("entity", ["device", "user", "town"])
async def test_a_step_that_may_change_what_a_device_is_allowed_makes_its_record_be_read_again(
    recent: RecentTowns, entity: str
) -> None:
    recent.wrote(*step(8, "order"))
    assert recent.known(TOWN, DEVICE, hello()) is not None
    recent.wrote(*step(9, entity))

    assert recent.known(TOWN, DEVICE, hello()) is None


async def test_a_step_after_one_that_is_not_known_makes_all_be_forgotten(recent: RecentTowns) -> None:
    recent.wrote(*step(9))

    assert recent.known(TOWN, DEVICE, hello(cursors={"town": 9}, witness={"version": 9, "journal": "j" * 43})) is None


async def test_under_the_lock_another_head_makes_all_be_forgotten(recent: RecentTowns) -> None:
    recent.stands(HEAD)
    assert recent.known(TOWN, DEVICE, hello()) is not None
    recent.stands(replace(HEAD, journal=bytes([1] * 32)))

    assert recent.known(TOWN, DEVICE, hello()) is None


async def test_who_reads_a_commit_before_it_is_remembered_does_not_take_the_past_away(recent: RecentTowns) -> None:
    made, entry = step(8)
    recent.stands(HEAD)
    recent.saw(seen(made.head))
    recent.wrote(made, entry)

    assert recent.known(TOWN, DEVICE, hello()) is not None


async def test_what_is_kept_of_a_town_is_bounded_and_the_oldest_gives_way(recent: RecentTowns) -> None:
    for version in (8, 9, 10):
        recent.wrote(*step(version, body=b'"%b"' % (b"x" * 700)))
    behind = {"cursors": {"town": 8}, "witness": {"version": 8, "journal": "j" * 43}}

    assert recent.known(TOWN, DEVICE, hello()) is None
    assert recent.known(TOWN, DEVICE, hello(**behind)) is not None


async def test_pages_are_shared_and_few(recent: RecentTowns) -> None:
    for version in range(8, 20):
        recent.wrote(*step(version, body=b"{}"))
    behind = {"cursors": {"town": 14}, "witness": {"version": 14, "journal": "j" * 43}}
    known = recent.known(TOWN, DEVICE, hello(**behind))
    assert known is not None

    assert await known.feed_page("town", 15, 100, 1_000) is await known.feed_page("town", 15, 100, 1_000)
    for rows_max in range(100):
        await known.feed_page("town", 15, rows_max, 1_000)
    assert len(known.pages) <= PAGES_MAX


async def test_what_is_kept_of_all_towns_is_bounded_and_who_was_asked_for_longest_ago_gives_way(
    recent: RecentTowns,
) -> None:
    towns = [f"{OTHER_TOWN[:-1]}{number}" for number in range(4)]
    for town_id in towns:
        recent.saw(seen(replace(HEAD, town=town_id)))
    assert recent.known(towns[0], DEVICE, hello()) is not None
    for town_id in towns:
        recent.wrote(*step(8, town=town_id, body=b'"%b"' % (b"x" * 1_500)))

    assert [recent.known(town_id, DEVICE, hello()) is not None for town_id in towns] == [True, False, True, True]


async def test_who_asks_while_a_look_is_under_way_waits_for_the_next_and_shares_it(
    recent: RecentTowns, town: _Town
) -> None:
    town.gate.clear()
    first = asyncio.create_task(recent.current(TOWN, DEVICE, hello()))
    await town.looked.wait()
    late = [asyncio.create_task(recent.current(TOWN, DEVICE, hello())) for _ in range(5)]
    town.gate.set()

    assert None not in [await one for one in (first, *late)]
    assert town.looks == 2


async def test_a_store_that_cannot_be_read_is_told_to_who_asks(recent: RecentTowns, town: _Town) -> None:
    town.fault = Unavailable()
    with pytest.raises(Unavailable):
        await recent.current(TOWN, DEVICE, hello())
    town.fault = None

    assert await recent.current(TOWN, DEVICE, hello()) is not None
