"""Who comes in: one exchange of a device at a time, and not more at once than this process can hold.

An exchange has its place from before its body is read until its answer is on its way to the last byte, so one device
cannot have the memory and the processor of many, and what is refused costs next to nothing. Assumes that the device is
authentic. Each API process counts for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import ClassVar

from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from sync.kernel.errors import TallystickError

EXCHANGES_MAX = 128
"""Exchanges under way in this process. Many of them wait: for a slow body, for the database, for a slow reader."""

PATIENCE_SECONDS = 2
"""How long one exchange waits for the one before it, of the same device, to end."""

ANSWER_IDLE_SECONDS = 30
"""An answer of which nothing is taken for so long is cut; 64 KiB at 2.2 KB/s, less than the slowest mobile network."""


class ExchangeUnderWay(TallystickError):
    """Another exchange of this device is under way; come back in a moment."""

    code: ClassVar[str] = "exchange_under_way"
    retry_after_seconds: ClassVar[int] = 1


class ServerBusy(TallystickError):
    """The server has as many exchanges under way as it can hold; come back in a moment."""

    code: ClassVar[str] = "busy"
    retry_after_seconds: ClassVar[int] = 2


class Exchanges:
    """The exchanges under way, by device."""

    def __init__(self, *, exchanges_max: int = EXCHANGES_MAX, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._exchanges_max = exchanges_max
        self._patience_seconds = patience_seconds
        self._places: dict[str, Place] = {}

    async def enter(self, device_id: str) -> Place:
        """A place, to be left in every case. Raises `ExchangeUnderWay`, `ServerBusy`.

        One may wait a moment for the device's last exchange to end: a client that hung up and asks again is quicker
        than the news that it hung up.
        """
        if device_id in self._places:
            await self._places[device_id].await_end(self._patience_seconds)
        if device_id in self._places:
            raise ExchangeUnderWay
        if len(self._places) >= self._exchanges_max:
            raise ServerBusy
        place = self._places[device_id] = Place(self._places, device_id)
        return place


class Place:
    """What one exchange holds; leaving it again does nothing, whoever may have come after."""

    def __init__(self, places: dict[str, Place], device_id: str) -> None:
        self._places = places
        self._device_id = device_id
        self._left = asyncio.Event()
        self._is_awaited = False

    def leave(self) -> None:
        """Let the next one in."""
        self._left.set()
        if self._places.get(self._device_id) is self:
            del self._places[self._device_id]

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


class AdmittedAnswer(StreamingResponse):
    """An answer that holds a place until its last byte is handed over, or cannot be."""

    def __init__(
        self, blocks: AsyncIterator[bytes], *, place: Place, media_type: str, headers: Mapping[str, str]
    ) -> None:
        super().__init__(blocks, media_type=media_type, headers=headers)
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; raises what ends it early."""

        async def timely_send(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                self._place.leave()  # before the client hears the end, and asks again at once
            async with asyncio.timeout(ANSWER_IDLE_SECONDS):
                await send(message)

        try:
            await super().__call__(scope, receive, timely_send)
        finally:
            self._place.leave()
