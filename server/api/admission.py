"""Who comes in: one exchange of a device at a time, so many of a town, and not more than this process can hold.

An exchange has its place from before its body is read until its answer is on its way to the last byte, so one device
cannot have the memory and the processor of many, nor one town those of all, and what is refused costs next to nothing.
Who finds no place waits a moment in a line, and is then told when to come back, by how long exchanges take just now.
The line is in the order in which devices first asked, refusals included: whoever was sent away is ahead of whoever
came since, so no device starves. Assumes that the device is authentic. Each API process counts for itself.
"""

from __future__ import annotations

import asyncio
import math
import time
from bisect import insort
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from sync.kernel.errors import TallystickError

EXCHANGES_MAX = 128
"""Exchanges under way in this process. Many of them wait: for a slow body, for the database, for a slow reader."""

TOWN_EXCHANGES_MAX = 32
"""Exchanges of one town under way in this process: enough to fill a group commit, a quarter of all places."""

LINE_MAX = 256
"""Exchanges that wait for a place; each is a connection whose body is not read."""

PATIENCE_SECONDS = 2
"""How long one exchange waits for a place, or for the one before it, of the same device, to end."""

RETRY_SECONDS_MAX = 30
"""Nobody is told to stay away for longer."""

REFUSED_SECONDS_MAX = 120
"""A device that was sent away and does not come back in this time has lost its place in the order."""

REFUSED_MAX = 10_000
"""Devices that were sent away and are remembered."""

ANSWER_IDLE_SECONDS = 30
"""An answer of which nothing is taken for so long is cut; 64 KiB at 2.2 KB/s, less than the slowest mobile network."""

_FIRST_GUESS_SECONDS = 0.1  # what an exchange takes, until one was measured
_NEWEST_WEIGHT = 0.1  # of the last exchange in the smoothed time


class ExchangeUnderWay(TallystickError):
    """Another exchange of this device is under way; come back in a moment."""

    code: ClassVar[str] = "exchange_under_way"
    retry_after_seconds: ClassVar[int] = 1


class ServerBusy(TallystickError):
    """There are as many exchanges under way as the server or the town can hold; come back when you are told to."""

    code: ClassVar[str] = "busy"

    def __init__(self, *, retry_after_seconds: int) -> None:
        super().__init__()
        self.retry_after_seconds = retry_after_seconds


@dataclass(eq=False, kw_only=True, slots=True)
class _Waiting:
    """Who is in the line; `turn` gets the place, or None when somebody else has to have it.

    `is_replaced`: by another exchange of the same device.
    """

    device_id: str
    town_id: str
    since: float
    is_replaced: bool = False
    turn: asyncio.Future[Place | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Exchanges:
    """The exchanges under way, by device, and the line of those that wait. For one event loop."""

    def __init__(
        self,
        *,
        exchanges_max: int = EXCHANGES_MAX,
        town_exchanges_max: int = TOWN_EXCHANGES_MAX,
        line_max: int = LINE_MAX,
        patience_seconds: float = PATIENCE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._exchanges_max = exchanges_max
        self._town_exchanges_max = town_exchanges_max
        self._line_max = line_max
        self._patience_seconds = patience_seconds
        self._monotonic = monotonic
        self._places: dict[str, Place] = {}
        self._by_town: Counter[str] = Counter()
        self._line: list[_Waiting] = []
        self._refused: OrderedDict[str, tuple[float, float]] = OrderedDict()  # (first asked, last refused) by device
        self._seconds = _FIRST_GUESS_SECONDS

    async def enter(self, device_id: str, town_id: str) -> Place:
        """A place, to be left in every case. Raises `ExchangeUnderWay`, `ServerBusy`.

        One may wait a moment for the device's last exchange to end: a client that hung up and asks again is quicker
        than the news that it hung up. If that one still is in the line, this one takes its position.
        """
        if device_id in self._places:
            await self._places[device_id].await_end(self._patience_seconds)
        if device_id in self._places:
            raise ExchangeUnderWay
        now = self._monotonic()
        before = next((one for one in self._line if one.device_id == device_id), None)
        since = before.since if before else self._first_asked(device_id, now)
        if before:
            before.is_replaced = True
            self._send_away(before)
        waiting = _Waiting(device_id=device_id, town_id=town_id, since=since)
        insort(self._line, waiting, key=lambda one: one.since)
        self._let_in()
        if len(self._line) > self._line_max:
            self._send_away(self._line[-1])
        place = await self._turn_of(waiting)
        if place is None:
            raise ExchangeUnderWay if waiting.is_replaced else self._refusal(waiting)
        self._refused.pop(device_id, None)
        return place

    async def _turn_of(self, waiting: _Waiting) -> Place | None:
        """The place, or None when the time is over or somebody who has waited longer takes this position."""
        try:
            if not waiting.turn.done():
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._patience_seconds):
                        await asyncio.wait([waiting.turn])
            return waiting.turn.result() if waiting.turn.done() else None
        except asyncio.CancelledError:
            if waiting.turn.done() and (place := waiting.turn.result()):
                place.leave()
            raise
        finally:
            if waiting in self._line:
                self._line.remove(waiting)

    def _let_in(self) -> None:
        """Give every free place to the first in the line whose town may have one more."""
        for waiting in list(self._line):
            if len(self._places) >= self._exchanges_max:
                return
            if waiting.device_id in self._places or self._by_town[waiting.town_id] >= self._town_exchanges_max:
                continue
            self._line.remove(waiting)
            place = self._places[waiting.device_id] = Place(self._left, waiting.device_id, waiting.town_id)
            self._by_town[waiting.town_id] += 1
            place.entered_at = self._monotonic()
            waiting.turn.set_result(place)

    def _left(self, place: Place) -> None:
        del self._places[place.device_id]
        self._by_town[place.town_id] -= 1
        if not self._by_town[place.town_id]:
            del self._by_town[place.town_id]
        self._seconds += _NEWEST_WEIGHT * (self._monotonic() - place.entered_at - self._seconds)
        self._let_in()

    def _send_away(self, waiting: _Waiting) -> None:
        self._line.remove(waiting)
        waiting.turn.set_result(None)

    def _first_asked(self, device_id: str, now: float) -> float:
        since, refused_at = self._refused.get(device_id, (now, now))
        return since if now - refused_at <= REFUSED_SECONDS_MAX else now

    def _refusal(self, waiting: _Waiting) -> ServerBusy:
        """Remember that the device was here, and tell it when those ahead of it should be through."""
        self._refused[waiting.device_id] = (waiting.since, self._monotonic())
        self._refused.move_to_end(waiting.device_id)
        if len(self._refused) > REFUSED_MAX:
            self._refused.popitem(last=False)
        is_towns = self._by_town[waiting.town_id] >= self._town_exchanges_max
        places = self._town_exchanges_max if is_towns else self._exchanges_max
        ahead = sum(one.town_id == waiting.town_id or not is_towns for one in self._line) + places
        seconds = math.ceil(self._seconds * ahead / places)
        return ServerBusy(retry_after_seconds=min(max(1, seconds), RETRY_SECONDS_MAX))


class Place:
    """What one exchange holds; leaving it again does nothing, whoever may have come after."""

    def __init__(self, on_leave: Callable[[Place], None], device_id: str, town_id: str) -> None:
        self.device_id = device_id
        self.town_id = town_id
        self.entered_at = 0.0
        self._on_leave = on_leave
        self._left = asyncio.Event()
        self._is_awaited = False

    def leave(self) -> None:
        """Let the next one in."""
        if not self._left.is_set():
            self._left.set()
            self._on_leave(self)

    async def await_end(self, seconds_max: float) -> None:
        """Return when the place was left or the time is over; at once when somebody is waiting already."""
        if self._is_awaited:
            return
        self._is_awaited = True
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds_max):
                    await self._left.wait()
        finally:
            self._is_awaited = False


class AdmittedAnswer(Response):
    """An answer that holds a place until its last byte is handed over, or cannot be."""

    def __init__(self, answer: Response, *, place: Place) -> None:
        self._answer = answer
        self._place = place
        self.status_code = answer.status_code
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; raises what ends it early."""

        async def timely_send(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                self._place.leave()  # before the client hears the end, and asks again at once
            async with asyncio.timeout(ANSWER_IDLE_SECONDS):
                await send(message)

        try:
            await self._answer(scope, receive, timely_send)
        finally:
            self._place.leave()
