"""Answers that take long: cut when nobody reads them, and, when they are live, bounded for each device and in all."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from server.api.admission import ANSWER_IDLE_SECONDS
from server.application.live_ports import Ear
from server.application.ports import Unavailable

STREAMS_MAX = 2_000
"""Live streams in this process; each is a connection and a few kilobytes."""

DEVICE_STREAMS_MAX = 2
"""Live streams of one device; the oldest gives way to a new one, for it may be dead without anybody knowing."""

FULL_RETRY_SECONDS = 30


class TimelyResponse(StreamingResponse):
    """A streamed answer that is cut when nothing of it is taken for a while."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""

        async def timely_send(message: Message) -> None:
            async with asyncio.timeout(ANSWER_IDLE_SECONDS):
                await send(message)

        await super().__call__(scope, receive, timely_send)


class StreamsFull(Unavailable):
    """This server has as many live streams open as it can hold; poll, and try again later."""

    code: ClassVar[str] = "live_full"

    def __init__(self) -> None:
        super().__init__(retry_after_seconds=FULL_RETRY_SECONDS)


class Streams:
    """The streams that are open, by device, oldest first."""

    def __init__(self, *, streams_max: int = STREAMS_MAX) -> None:
        self._streams_max = streams_max
        self._ears: dict[str, deque[Ear]] = {}
        self._count = 0

    @contextmanager
    def admitted(self, device_id: str, ear: Ear) -> Iterator[None]:
        """A place for one stream until the block ends. Raises `StreamsFull`."""
        own = self._ears.get(device_id, deque())
        if self._count >= self._streams_max and not own:
            raise StreamsFull
        if len(own) >= DEVICE_STREAMS_MAX:
            own.popleft().end()
        self._ears[device_id] = own
        own.append(ear)
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            if ear in own:
                own.remove(ear)
            if not own and self._ears.get(device_id) is own:
                del self._ears[device_id]
