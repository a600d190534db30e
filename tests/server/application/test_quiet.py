"""Quiet answers: the same question and town, the same answer; and a look at the head that came after the question."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from server.application.histories import Sight
from server.application.ports import DeviceRecord, Unavailable
from server.application.queries.exchange_page import Page
from server.application.quiet import Kept, QuietAnswers
from sync.engine.chain import ChainHead
from sync.engine.town import TownHead
from sync.protocol.messages import Hello

TOWN = "01970a6e-3c00-7a53-9d2e-5a1f6a3f6d13"
DEVICE = "01970a6e-3c00-7a53-9d2e-5a1f6a3f6d14"
EPOCH = "01970a6e-3c00-7a53-9d2e-5a1f6a3f6d15"
HEAD = TownHead(town=TOWN, epoch=EPOCH, version=7, journal=bytes(32))
PAGE = Page(lines=[b"{}"], is_last=True, is_quiet=True)


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


def kept(**other: Any) -> Kept:
    device = DeviceRecord(
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
    made = Kept(hello=hello(), head=HEAD, device=device, sight=Sight(head_version=7), page=PAGE)
    return replace(made, **other)


@pytest.fixture
def town() -> _Town:
    made = _Town()
    made.gate.set()
    return made


@pytest.fixture
def answers(town: _Town) -> QuietAnswers:
    return QuietAnswers(cast("Any", town), kept_max=2)


async def test_the_same_question_has_the_same_answer_whatever_the_clock_says(answers: QuietAnswers) -> None:
    answers.keep(kept())

    assert await answers.find(hello(clock="2026-11-21T09:00:00.000Z"), DEVICE) == kept()


@pytest.mark.parametrize(
    "other",
    [
        {"cursors": {"town": 6}},
        {"head": {"seq": 3, "hash": "h" * 43, "sig": "t" * 86}},
        {"epoch": None},
        {"witness": None},
        {"pending": 1},
    ],
)
async def test_another_question_is_answered_anew(answers: QuietAnswers, other: dict[str, Any]) -> None:
    answers.keep(kept())

    assert await answers.find(hello(**other), DEVICE) is None


@pytest.mark.parametrize("change", [{"head": replace(HEAD, version=8)}, {"is_halted": True}])
async def test_a_town_that_has_moved_or_is_halted_is_asked_anew(
    answers: QuietAnswers, town: _Town, change: dict[str, Any]
) -> None:
    answers.keep(kept())
    vars(town).update(change)

    assert await answers.find(hello(), DEVICE) is None
    vars(town).update(head=HEAD, is_halted=False)
    assert await answers.find(hello(), DEVICE) is None, "it was forgotten"


@pytest.mark.parametrize(
    "other", [{"page": replace(PAGE, is_quiet=False)}, {"head": replace(HEAD, version=8)}, {"hello": hello(epoch=None)}]
)
async def test_what_cannot_be_asked_again_is_not_kept(answers: QuietAnswers, other: dict[str, Any]) -> None:
    answers.keep(kept(**other))

    assert await answers.find(kept(**other).hello, DEVICE) is None


async def test_who_asked_longest_ago_gives_way(answers: QuietAnswers) -> None:
    for number in range(3):
        one = kept()
        answers.keep(replace(one, device=replace(one.device, device_id=str(number))))

    assert [await answers.find(hello(), str(number)) is not None for number in range(3)] == [False, True, True]


async def test_who_asks_while_a_look_is_under_way_waits_for_the_next_and_shares_it(
    answers: QuietAnswers, town: _Town
) -> None:
    answers.keep(kept())
    town.gate.clear()
    first = asyncio.create_task(answers.find(hello(), DEVICE))
    await town.looked.wait()
    late = [asyncio.create_task(answers.find(hello(), DEVICE)) for _ in range(5)]
    town.gate.set()

    assert [await one for one in (first, *late)] == [kept()] * 6
    assert town.looks == 2


async def test_a_store_that_cannot_be_read_is_told_to_who_asks(answers: QuietAnswers, town: _Town) -> None:
    answers.keep(kept())
    town.fault = Unavailable()
    with pytest.raises(Unavailable):
        await answers.find(hello(), DEVICE)
    town.fault = None

    assert await answers.find(hello(), DEVICE) == kept()
