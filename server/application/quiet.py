"""Devices that find nothing new: as long as their town stands where it stood, the same question has the same answer.

What an exchange without change sets comes to follows from the town's head, from whether the town is halted, and from
what the device says. So an answer without rows is kept beside these, and given again after one look at the head, which
those who ask at the same time share. Hints would save the look, but they come late: whoever syncs after another device
has synced must see what that one sent.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from server.application.histories import Sight
from server.application.ports import DeviceRecord, Towns
from server.application.queries.exchange_page import Page
from sync.engine.town import TownHead
from sync.protocol.messages import Hello

KEPT_MAX = 10_000
"""Answers kept in this process, a few kilobytes each; who asked longest ago gives way."""

Standing = tuple[TownHead, bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What a device said when there was nothing new for it, what was seen of it then, and the end of its answer."""

    hello: Hello
    head: TownHead
    device: DeviceRecord
    sight: Sight
    page: Page


class QuietAnswers:
    """The last answer of each device that found nothing new. For one event loop."""

    def __init__(self, towns: Towns, *, kept_max: int = KEPT_MAX) -> None:
        self._towns = towns
        self._kept_max = kept_max
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._looking: dict[str, asyncio.Task[Standing]] = {}
        self._next: dict[str, asyncio.Task[Standing]] = {}

    async def find(self, hello: Hello, device_id: str) -> Kept | None:
        """The answer to the same question, when nothing in the device's town has changed since; raises `Unavailable`.

        Beside the device's clock, which decides nothing, the hello must be the same to the last field.
        """
        kept = self._kept.get(device_id)
        if kept is None or hello.model_copy(update={"clock": kept.hello.clock}) != kept.hello:
            return None
        if await self._standing(kept.head.town) != (kept.head, False):
            self._kept.pop(device_id, None)
            return None
        if device_id in self._kept:
            self._kept.move_to_end(device_id)
        return kept

    def keep(self, kept: Kept) -> None:
        """Remember an answer without rows, if the next question can be the same: the device is at the head already."""
        hello, head = kept.hello, kept.head
        if kept.page.is_quiet and hello.epoch == head.epoch and set(hello.cursors.values()) == {head.version}:
            self._kept[kept.device.device_id] = kept
            self._kept.move_to_end(kept.device.device_id)
            if len(self._kept) > self._kept_max:
                self._kept.popitem(last=False)

    async def _standing(self, town_id: str) -> Standing:
        """Where the town stands at some moment after the call, and whether it is halted.

        A look that is under way may have seen too little; the next one is shared by all who wait for it.
        """
        look = self._next.get(town_id)
        if look is None:
            look = self._next[town_id] = asyncio.create_task(self._look(town_id, self._looking.get(town_id)))
            look.add_done_callback(_heard)
        return await asyncio.shield(look)

    async def _look(self, town_id: str, before: asyncio.Task[Standing] | None) -> Standing:
        if before is not None:
            await asyncio.wait([before])
        look = self._looking[town_id] = self._next.pop(town_id)
        try:
            async with self._towns.reading(town_id) as reader:
                return reader.head, reader.is_halted
        finally:
            if self._looking.get(town_id) is look:
                del self._looking[town_id]


def _heard(look: asyncio.Task[Standing]) -> None:
    """A fault of a look is told to those who wait; when all of them have gone, nobody needs to hear it."""
    if not look.cancelled():
        look.exception()
