"""The `Blobs` port in memory, for tests and for a server that keeps nothing."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence

from server.application.ports import System, Unavailable
from server.application.snapshot_ports import Blob, StoredBlob


class MemoryBlobs:
    """Bytes by folder and hash."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._files: dict[tuple[str, str], tuple[bytes, int]] = {}

    async def write(self, folder: str, chunks: AsyncIterator[bytes]) -> Blob:
        """Keep these bytes under their hash."""
        held = b"".join([chunk async for chunk in chunks])
        sha256 = hashlib.sha256(held).hexdigest()
        self._files[folder, sha256] = (held, self._system.now_ms())
        return Blob(sha256=sha256, size=len(held))

    async def size(self, folder: str, sha256: str) -> int | None:
        """How long the file is, None when it is not there."""
        held = self._files.get((folder, sha256))
        return len(held[0]) if held else None

    async def read(self, folder: str, sha256: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `stop`."""
        held = self._files.get((folder, sha256))
        if held is None:
            raise Unavailable("there is no such file")
        if piece := held[0][start:stop]:
            yield piece

    async def remove(self, folder: str, sha256: str) -> None:
        """Have it be gone."""
        self._files.pop((folder, sha256), None)

    async def stored(self, folder: str) -> Sequence[StoredBlob]:
        """Every file of a folder."""
        return [
            StoredBlob(sha256=sha256, written_ms=written_ms)
            for (where, sha256), (_, written_ms) in self._files.items()
            if where == folder
        ]
