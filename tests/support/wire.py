"""A wire in front of a server that blocking tests can hold back and cut; it runs in a thread of its own.

What is held back waits and then passes; what is cut ends on both sides. `cut_commits` ends a connection where it hurts:
before a COMMIT reaches PostgreSQL, which then undoes the transaction, or before its answer is back, so that whoever
asked cannot know.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

HOST = "127.0.0.1"
CHUNK_BYTES = 1 << 16
COMMIT = b"COMMIT\0"


class Wire:
    """Both ways of every connection to one port; its settings may be changed from any thread."""

    def __init__(self, target_port: int) -> None:
        self.delay_seconds = 0.0
        """Every piece of an answer comes so much later; a mobile network, or a server that swaps."""
        self.commits = 0
        """How many have passed or been cut."""
        self.cuts = 0
        self.port = 0
        self._target_port = target_port
        self._cut_every = 0
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def cut_commits(self, every: int) -> None:
        """End the connection at each so-manieth COMMIT, before and after it in turn; 0 ends that."""
        self._cut_every = every

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        self._started.wait()

    def stop(self) -> None:
        """End every connection and the thread."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._listen())

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._ended.wait()
        server.close()
        for writer in self._serving.values():
            writer.close()
        await asyncio.gather(*self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = writer
        try:
            with suppress(OSError):
                up_reader, up_writer = await asyncio.open_connection(HOST, self._target_port)
                await self._join(reader, writer, up_reader, up_writer)
        finally:
            writer.close()
            del self._serving[task]

    async def _join(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
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
            up_writer.close()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_cut: asyncio.Event) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if COMMIT in data:
                self.commits += 1
                if self._cut_every and self.commits % self._cut_every == 0:
                    self.cuts += 1
                    if self.cuts % 2:
                        return
                    is_cut.set()
            writer.write(data)
            await writer.drain()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_cut: asyncio.Event) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if is_cut.is_set():
                return
            await asyncio.sleep(self.delay_seconds)
            writer.write(data)
            await writer.drain()


@contextmanager
def wire_to(url: str) -> Iterator[tuple[Wire, str]]:
    """The wire and the URL of the server through it, which must have a port; PostgreSQL's without TLS."""
    parts = urlsplit(url)
    assert parts.port is not None
    wire = Wire(parts.port)
    wire.start()
    credentials = parts.netloc.rpartition("@")[0]
    query = "sslmode=disable" if parts.scheme == "postgresql" else parts.query
    try:
        yield wire, urlunsplit(parts._replace(netloc=f"{credentials}@{HOST}:{wire.port}", query=query))
    finally:
        wire.stop()
