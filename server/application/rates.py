"""Whether one more request is taken: counted in this process always, and with all processes when somebody is busy.

Each subject has a small allowance in every process that nobody else hears of, a sixteenth of its rate: a device that
behaves costs no round trip. Beyond it requests are counted where all processes count, a few at once: those that come
next have their count already. When that place is away or slow, each process holds the whole rate by itself: nobody is
refused because of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from server.application.ports import Unavailable
from server.application.rate_ports import SharedRates
from server.domain.rates import Asked, Rate, RateLimited, Rates, full_at_after, wait_seconds

QUIET_SHARE: Final = 16
"""The part of a rate that a process lets pass by itself: n processes let through (1 + n/16) of it at most."""

ADVANCE_SHARE: Final = 64
"""The part of a rate that a busy subject takes at once from what all count together; it is lost if it is not used."""

BUCKETS_MAX: Final = 50_000
"""Buckets in the memory of one process, some 10 MB; beyond it full ones go, then the oldest."""


class RateLimits:
    """The rates of this installation, and what this process has counted. For one event loop."""

    def __init__(
        self,
        rates: Rates | None = None,
        *,
        shared: SharedRates | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        buckets_max: int = BUCKETS_MAX,
    ) -> None:
        chosen = rates or Rates()
        self._device = Rate(name="device", per_minute=chosen.device_per_minute)
        self._address = Rate(name="address", per_minute=chosen.address_per_minute)
        self._town = Rate(name="town", per_minute=chosen.town_per_minute)
        self._checkout_address = Rate(name="checkout address", per_minute=chosen.checkout_address_per_minute)
        self._checkout_town = Rate(name="checkout town", per_minute=chosen.checkout_town_per_minute)
        self._shared = shared
        self._monotonic = monotonic
        self._buckets_max = buckets_max
        self._full_at: dict[str, float] = {}
        self._advances: dict[str, int] = {}

    async def take_address(self, subject: str) -> None:
        """Count a request of this network address. Raises `RateLimited`."""
        await self._take([Asked(rate=self._address, subject=subject)])

    async def take_device(self, device_id: str, town_id: str) -> None:
        """Count a request of this device, for it and for its town. Raises `RateLimited`."""
        await self._take(
            [Asked(rate=self._device, subject=device_id), Asked(rate=self._town, subject=town_id)],
        )

    async def take_customer(self, address: str | None, town_id: str) -> None:
        """Count an order, or the calling off of one, for this town and where it comes from. Raises `RateLimited`."""
        asked = [Asked(rate=self._checkout_town, subject=town_id)]
        if address is not None:
            asked.append(Asked(rate=self._checkout_address, subject=f"{town_id} {address}"))
        await self._take(asked)

    async def _take(self, wanted: Sequence[Asked]) -> None:
        asked = [one for one in wanted if one.rate.per_minute > 0]
        now = self._monotonic()
        self._check(max((self._wait_seconds(one, now) for one in asked), default=0))
        busy = [one for one in asked if not self._is_quiet(one, now)]
        if busy and self._shared is not None:
            with suppress(Unavailable):  # then what was counted here is what holds
                await self._take_together(self._shared, busy)
        for one in asked:
            self._note(one.key, full_at_after(self._full_at.get(one.key, now), now, one.rate), now)

    async def _take_together(self, shared: SharedRates, busy: Sequence[Asked]) -> None:
        """Use up what was taken in advance; who has nothing of that takes some more, or one when there is no more."""
        lacking = [one for one in busy if not self._use_advance(one)]
        if not lacking:
            return
        sizes = [max(1, int(one.rate.per_minute // ADVANCE_SHARE)) for one in lacking]
        wait = await shared.take([_together(one, size) for one, size in zip(lacking, sizes, strict=True)])
        if wait > 0 and max(sizes) > 1:
            sizes = [1] * len(lacking)
            wait = await shared.take(lacking)
        self._check(wait)
        if len(self._advances) > self._buckets_max:
            self._advances.clear()
        for one, size in zip(lacking, sizes, strict=True):
            self._advances[one.key] = self._advances.get(one.key, 0) + size - 1

    def _use_advance(self, one: Asked) -> bool:
        left = self._advances.get(one.key, 0)
        if left:
            self._advances[one.key] = left - 1
        return left > 0

    def _check(self, seconds: float) -> None:
        if seconds > 0:
            raise RateLimited(wait_seconds=seconds)

    def _wait_seconds(self, asked: Asked, now: float) -> float:
        return wait_seconds(self._full_at.get(asked.key, now), now, asked.rate)

    def _is_quiet(self, asked: Asked, now: float) -> bool:
        """Whether the request is within what this process lets pass by itself; it is counted there if so."""
        quiet = replace(asked.rate, name=f"quiet {asked.rate.name}", per_minute=asked.rate.per_minute / QUIET_SHARE)
        one = Asked(rate=quiet, subject=asked.subject)
        if self._wait_seconds(one, now) > 0:
            return False
        self._note(one.key, full_at_after(self._full_at.get(one.key, now), now, quiet), now)
        return True

    def _note(self, key: str, full_at: float, now: float) -> None:
        if key not in self._full_at and len(self._full_at) >= self._buckets_max:
            self._full_at = {kept: at for kept, at in self._full_at.items() if at > now}
            for oldest in list(self._full_at)[: max(0, len(self._full_at) - self._buckets_max // 2)]:
                del self._full_at[oldest]
        self._full_at[key] = full_at


def _together(one: Asked, size: int) -> Asked:
    """So many requests at once, out of the same bucket."""
    return replace(one, rate=replace(one.rate, per_minute=one.rate.per_minute / size))
