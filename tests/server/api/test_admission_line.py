"""The line before the exchanges: in the order in which devices first asked, bounded, and nobody in it starves."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from server.api.admission import RETRY_SECONDS_MAX, Exchanges, ExchangeUnderWay, Place, ServerBusy

LONG_SECONDS = 20

REFUSALS_MAX = 30
"""Of five exchanges of a device that comes back only now and then."""


class Clock:
    """Time that a test moves; each look at it is a little later, so that no two moments are the same."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now


def impatient(clock: Clock, **sizes: int) -> Exchanges:
    return Exchanges(patience_seconds=0, monotonic=clock, **sizes)


def patient(**sizes: int) -> Exchanges:
    return Exchanges(patience_seconds=LONG_SECONDS, monotonic=Clock(), **sizes)


async def refused(exchanges: Exchanges, device: str, town: str = "town") -> int:
    """The seconds that this device is told to stay away."""
    with pytest.raises(ServerBusy) as caught:
        await exchanges.enter(device, town)
    return caught.value.retry_after_seconds


@contextmanager
def in_line(exchanges: Exchanges, *devices: str, town: str = "town") -> Iterator[list[asyncio.Task[Place]]]:
    """Tasks that ask, one after the other."""
    tasks = [asyncio.create_task(exchanges.enter(device, town)) for device in devices]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()


async def turns(count: int = 10) -> None:
    """Let others have their turn so often; by default, until everything has happened that can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_town_with_all_its_exchanges_under_way_leaves_places_for_others() -> None:
    exchanges = impatient(Clock(), exchanges_max=3, town_exchanges_max=2)
    for device in ("a", "b"):
        await exchanges.enter(device, "town")

    await refused(exchanges, "c")
    elsewhere = await exchanges.enter("d", "another")

    assert elsewhere.town_id == "another"
    await refused(exchanges, "e", "third")  # now the process is full


async def test_a_free_place_goes_to_whoever_has_waited_longest() -> None:
    exchanges = patient(exchanges_max=1)
    held = await exchanges.enter("a", "town")
    with in_line(exchanges, "b", "c") as (second, third):
        await turns()
        held.leave()
        await turns()

        assert (second.done(), third.done()) == (True, False)


async def test_a_place_that_the_first_in_line_may_not_have_goes_to_the_next_one_of_another_town() -> None:
    exchanges = patient(exchanges_max=2, town_exchanges_max=1)
    await exchanges.enter("a", "full")
    other = await exchanges.enter("b", "elsewhere")
    with in_line(exchanges, "c", town="full") as (kept,), in_line(exchanges, "d", town="third") as (let_in,):
        await turns()
        other.leave()
        await turns()

        assert (kept.done(), let_in.done()) == (False, True)


async def test_whoever_was_sent_away_is_ahead_of_whoever_came_since() -> None:
    clock = Clock()
    exchanges = Exchanges(exchanges_max=1, line_max=1, patience_seconds=LONG_SECONDS, monotonic=clock)
    held = await exchanges.enter("a", "town")
    with in_line(exchanges, "first") as (first,):
        await turns()
        await refused(exchanges, "second")  # the line is full
        held.leave()
        held = await first
        with in_line(exchanges, "third") as (third,):
            await turns()
            with in_line(exchanges, "second") as (second,):
                await turns()
                assert isinstance(third.exception(), ServerBusy)  # it gives way in the line, too
                held.leave()

                assert (await asyncio.wait_for(second, LONG_SECONDS)).device_id == "second"


async def test_whoever_does_not_come_back_has_no_claim_for_ever() -> None:
    clock = Clock()
    exchanges = impatient(clock, exchanges_max=1)
    held = await exchanges.enter("a", "town")
    await refused(exchanges, "gone")
    clock.now += 1_000
    exchanges._patience_seconds = LONG_SECONDS
    with in_line(exchanges, "waiting", "gone") as (waiting, gone):
        await turns()
        held.leave()
        await turns()

        assert (waiting.done(), gone.done()) == (True, False)


async def test_another_exchange_of_a_device_takes_the_position_of_the_one_in_line() -> None:
    exchanges = patient(exchanges_max=1)
    held = await exchanges.enter("a", "town")
    with in_line(exchanges, "b", "c", "b") as (stale, other, fresh):
        await turns()
        assert isinstance(stale.exception(), ExchangeUnderWay)
        held.leave()
        await turns()

        assert (fresh.done(), other.done()) == (True, False)


async def test_whoever_goes_away_while_waiting_or_just_as_its_turn_comes_holds_nothing() -> None:
    exchanges = patient(exchanges_max=1)
    held = await exchanges.enter("a", "town")
    with in_line(exchanges, "b", "c") as (waiting, chosen):
        await turns()
        waiting.cancel()
        await turns()
        held.leave()
        chosen.cancel()  # before it has heard that it is its turn
        await turns()
        assert chosen.cancelled()

    assert (await asyncio.wait_for(exchanges.enter("d", "town"), LONG_SECONDS)).device_id == "d"


async def test_the_time_to_stay_away_follows_from_how_long_exchanges_take_and_how_many_are_ahead() -> None:
    clock = Clock()
    exchanges = impatient(clock, exchanges_max=2)
    told = []
    for seconds in (0.2, 4.0, 400.0):
        for _ in range(100):
            place = await exchanges.enter("a", "town")
            clock.now += seconds
            place.leave()
        held = [await exchanges.enter(device, "town") for device in ("a", "b")]
        told.append(await refused(exchanges, "c"))
        for each in held:
            each.leave()

    assert told == [1, 4, RETRY_SECONDS_MAX]


@pytest.mark.parametrize("seed", range(3))
async def test_of_200_devices_in_10_towns_none_starves_however_often_others_ask(seed: int) -> None:
    """Half of them are greedy: they ask without end and again at once; the others come back only now and then."""
    rng = random.Random(seed)
    exchanges = patient(exchanges_max=8, town_exchanges_max=2, line_max=12)
    in_town: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    modest = {f"device {number}" for number in range(1, 200, 2)}
    hungry = set(modest)

    async def exchange(name: str, town: str) -> None:
        place = await exchanges.enter(name, town)
        in_town[town] += 1
        assert in_town[town] <= 2
        await turns(rng.randrange(1, 6))
        in_town[town] -= 1
        place.leave()

    async def device(name: str, town: str) -> None:
        exchanges_left = 5
        while exchanges_left and hungry:
            try:
                await exchange(name, town)
            except ServerBusy:
                refusals[name] += 1
                assert name not in modest or refusals[name] <= REFUSALS_MAX
                await turns(rng.randrange(200) if name in modest else 1)
            else:
                exchanges_left -= name in modest
        hungry.discard(name)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(device(f"device {number}", f"town {number % 10}"))

    assert not hungry
    assert sum(refusals[name] for name in modest) > 100  # it was a storm
