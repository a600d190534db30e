"""A proxy in front of PostgreSQL or Redis that cuts the wire between a command (a COMMIT) and its answer.

It lets everything through until it is armed. Then the next COMMIT reaches the server, and when the server has answered
it the connection is closed without that answer: whoever sent it cannot know what became of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

HOST = "127.0.0.1"
CHUNK_BYTES = 1 << 16
COMMIT = b"COMMIT\0"


class CuttingProxy:
    """`arm` cuts one command; while it `is_down` nobody comes in."""

    def __init__(self, target_port: int) -> None:
        self.cuts = 0
        self.is_down = False
        self._target_port = target_port
        self._armed_for: bytes | None = None
        self._goes_down = False
        self._serving: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}

    def arm(self, command: bytes = COMMIT, *, goes_down: bool = False) -> None:
        """Cut the wire at the next one of these, and then let nobody in if it `goes_down`."""
        self._armed_for, self._goes_down = command, goes_down

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, both ways, until either side ends it or it is cut."""
        if self.is_down:
            writer.close()
            return
        up_reader, up_writer = await asyncio.open_connection(HOST, self._target_port)
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = writer, up_writer
        is_cut = asyncio.Event()
        ways = [
            asyncio.create_task(self._up(reader, up_writer, is_cut)),
            asyncio.create_task(self._down(up_reader, writer, is_cut)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.close()
            up_writer.close()
            del self._serving[task]

    def hang_up(self) -> list[asyncio.Task[None]]:
        """End every connection; the tasks that are about to end."""
        for writers in self._serving.values():
            for writer in writers:
                writer.close()
        return list(self._serving)

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_cut: asyncio.Event) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if self._armed_for and self._armed_for in data:
                self._armed_for = None
                is_cut.set()
            writer.write(data)
            await writer.drain()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_cut: asyncio.Event) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if is_cut.is_set():  # the server has answered the command: it took effect, and nobody will hear of it
                self.cuts += 1
                self.is_down = self._goes_down
                if self.is_down:
                    self.hang_up()
                return
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def cutting_proxy(database_url: str) -> AsyncIterator[tuple[CuttingProxy, str]]:
    """The proxy and the URL of the database through it."""
    parts = urlsplit(database_url)
    assert parts.port is not None
    proxy = CuttingProxy(parts.port)
    server = await asyncio.start_server(proxy.serve, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    credentials = parts.netloc.rpartition("@")[0]
    async with server:
        yield proxy, urlunsplit(parts._replace(netloc=f"{credentials}@{HOST}:{port}", query="sslmode=disable"))
        await asyncio.gather(*proxy.hang_up(), return_exceptions=True)
