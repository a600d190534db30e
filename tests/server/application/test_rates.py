"""How often somebody may ask: what a process counts by itself, what all count together, and what holds without."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.application.ports import Unavailable
from server.application.rates import ADVANCE_SHARE, QUIET_SHARE, RateLimits
from server.domain.rates import (
    WINDOW_SECONDS,
    Asked,
    Rate,
    RateLimited,
    Rates,
    full_at_after,
    wait_seconds,
)

NONE = Rates(device_per_minute=0, address_per_minute=0, town_per_minute=0)


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Together:
    """The place where all processes count; it keeps what it was asked, and may be away."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.steps: list[list[float]] = []
        self.room_seconds = float(WINDOW_SECONDS)
        self.wait = 0.0
        self.is_away = False

    async def take(self, asked: Sequence[Asked]) -> float:
        self.asked.append([one.key for one in asked])
        self.steps.append([one.rate.step_seconds for one in asked])
        if self.is_away:
            raise Unavailable
        step = max(self.steps[-1])
        if step > self.room_seconds:
            return max(self.wait, 1.0)
        self.room_seconds -= step
        return self.wait


async def taken(limits: RateLimits, times: int, device: str = "device", town: str = "town") -> int:
    """How many of so many requests of a device are taken."""
    count = 0
    for _ in range(times):
        try:
            await limits.take_device(device, town)
        except RateLimited:
            continue
        count += 1
    return count


async def test_a_minutes_worth_may_come_at_once_and_what_is_beyond_hears_when_to_come_back() -> None:
    limits = RateLimits(Rates(device_per_minute=30), monotonic=Clock())

    assert await taken(limits, 30) == 30
    with pytest.raises(RateLimited) as caught:
        await limits.take_device("device", "town")

    assert (caught.value.code, caught.value.retry_after_seconds) == ("rate_limited", 2)


async def test_whoever_waits_as_long_as_told_is_taken_and_not_a_moment_before() -> None:
    clock = Clock()
    limits = RateLimits(Rates(device_per_minute=30), monotonic=clock)
    await taken(limits, 30)

    clock.now += 1.9
    assert await taken(limits, 1) == 0
    clock.now += 0.1
    assert await taken(limits, 2) == 1


async def test_a_request_that_is_refused_uses_nothing_up() -> None:
    clock = Clock()
    limits = RateLimits(Rates(device_per_minute=30), monotonic=clock)
    await taken(limits, 30 + 100)

    clock.now += 2
    assert await taken(limits, 1) == 1


async def test_one_device_is_not_counted_for_another_but_for_the_town_they_share() -> None:
    limits = RateLimits(Rates(device_per_minute=30, town_per_minute=50), monotonic=Clock())

    assert await taken(limits, 40, device="first") == 30
    assert await taken(limits, 40, device="second") == 20
    assert await taken(limits, 40, device="third", town="another") == 30


async def test_what_the_town_refuses_is_not_counted_for_the_device() -> None:
    clock = Clock()
    limits = RateLimits(Rates(device_per_minute=10, town_per_minute=60), monotonic=clock)
    await taken(limits, 10, device="one")
    for number in range(5):
        await taken(limits, 10, device=f"other {number}")

    assert await taken(limits, 10, device="fresh") == 0
    clock.now += 10

    assert await taken(limits, 20, device="fresh") == 10


async def test_a_rate_of_zero_is_no_limit() -> None:
    together = Together()

    assert await taken(RateLimits(NONE, shared=together, monotonic=Clock()), 100_000) == 100_000
    assert together.asked == []


async def test_a_quiet_device_costs_no_question_and_a_busy_one_is_counted_together_a_few_requests_at_once() -> None:
    together, quiet, advance = Together(), 320 // QUIET_SHARE, 320 // ADVANCE_SHARE
    limits = RateLimits(Rates(device_per_minute=320, town_per_minute=0), shared=together, monotonic=Clock())

    await taken(limits, quiet)
    assert together.asked == []
    await taken(limits, 3 * advance)

    assert together.asked == [["device:device"]] * 3
    assert together.steps == [[advance * WINDOW_SECONDS / 320]] * 3


async def test_what_is_left_of_a_minute_is_taken_one_request_at_a_time() -> None:
    together, advance = Together(), 320 // ADVANCE_SHARE
    limits = RateLimits(Rates(device_per_minute=320, town_per_minute=0), shared=together, monotonic=Clock())
    await taken(limits, 320 // QUIET_SHARE)
    together.room_seconds = (advance - 1) * WINDOW_SECONDS / 320

    assert await taken(limits, advance) == advance - 1


async def test_what_all_have_counted_together_holds() -> None:
    together = Together()
    limits = RateLimits(Rates(device_per_minute=16), shared=together, monotonic=Clock())
    await taken(limits, 1)
    together.wait = 7.2

    with pytest.raises(RateLimited) as caught:
        await limits.take_device("device", "town")

    assert caught.value.retry_after_seconds == 8


async def test_nobody_is_refused_because_the_place_to_count_together_is_away() -> None:
    together = Together()
    together.is_away = True
    limits = RateLimits(Rates(device_per_minute=32), shared=together, monotonic=Clock())

    assert await taken(limits, 40) == 32


async def test_the_memory_for_buckets_is_bounded_and_the_busiest_stay() -> None:
    clock = Clock()
    limits = RateLimits(Rates(device_per_minute=30, town_per_minute=0), monotonic=clock, buckets_max=100)
    for number in range(1_000):
        await limits.take_device(f"passing {number}", "town")
        assert len(limits._full_at) <= 100
    clock.now += WINDOW_SECONDS
    await taken(limits, 30)
    for number in range(30):
        await limits.take_device(f"later {number}", "town")

    assert await taken(limits, 1) == 0


@given(
    per_minute=st.integers(1, 600),
    pauses=st.lists(st.floats(0, 90), min_size=1, max_size=200),
)
def test_in_no_stretch_of_time_more_is_taken_than_the_rate_allows(per_minute: int, pauses: list[float]) -> None:
    rate, now, full_at = Rate(name="any", per_minute=per_minute), 0.0, 0.0
    at: list[float] = []
    for pause in pauses:
        now += pause / per_minute
        if wait_seconds(full_at, now, rate) <= 0:
            full_at = full_at_after(full_at, now, rate)
            at.append(now)

    for first in range(len(at)):
        for last in range(first, len(at)):
            allowed = per_minute + (at[last] - at[first]) / rate.step_seconds
            assert last - first + 1 <= allowed + 1e-6
