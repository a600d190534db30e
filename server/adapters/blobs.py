"""Files that are found by their hash, in a folder of this machine or one that several share.

A file is written beside its place, brought to the disk, and renamed: it is there whole or not at all, whatever happens.
What a writer that died has left has a name of its own and is found by `stored`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from server.application.ports import Unavailable
from server.application.snapshot_ports import Blob, StoredBlob

PIECE_BYTES = 256 * 1024
_UNFINISHED = ".unfinished-"
_FOLDER = re.compile(r"[0-9a-z-]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class FilesystemBlobs:
    """The `Blobs` port over a directory, which is made when it is first written to."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def write(self, folder: str, chunks: AsyncIterator[bytes]) -> Blob:
        """Keep these bytes under their hash."""
        place = self._folder(folder)
        digest, size = hashlib.sha256(), 0
        with _translated():
            await asyncio.to_thread(place.mkdir, parents=True, exist_ok=True)
            number, name = await asyncio.to_thread(tempfile.mkstemp, prefix=_UNFINISHED, dir=place)
        unfinished = Path(name)
        try:
            with os.fdopen(number, "wb") as file:
                async for chunk in chunks:
                    digest.update(chunk)
                    size += len(chunk)
                    with _translated():
                        await asyncio.to_thread(file.write, chunk)
                with _translated():
                    await asyncio.to_thread(_bring_to_disk, file)
            with _translated():
                await asyncio.to_thread(_rename, unfinished, place / digest.hexdigest())
        except BaseException:
            await asyncio.shield(asyncio.to_thread(unfinished.unlink, missing_ok=True))
            raise
        return Blob(sha256=digest.hexdigest(), size=size)

    async def size(self, folder: str, sha256: str) -> int | None:
        """How long the file is, None when it is not there."""
        path = self._path(folder, sha256)
        with _translated():
            try:
                return (await asyncio.to_thread(path.stat)).st_size
            except FileNotFoundError:
                return None

    async def read(self, folder: str, sha256: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `stop`, in pieces."""
        path = self._path(folder, sha256)
        with _translated():
            file = await asyncio.to_thread(path.open, "rb")
            with file:
                file.seek(start)
                while start < stop and (piece := await asyncio.to_thread(file.read, min(PIECE_BYTES, stop - start))):
                    start += len(piece)
                    yield piece

    async def remove(self, folder: str, sha256: str) -> None:
        """Have it be gone; also what is left unfinished is removed by its name."""
        place = self._folder(folder)
        path = place / sha256 if sha256.startswith(_UNFINISHED) and "/" not in sha256 else self._path(folder, sha256)
        with _translated():
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def stored(self, folder: str) -> Sequence[StoredBlob]:
        """Every file of a folder, also what is unfinished."""
        place = self._folder(folder)
        with _translated():
            return await asyncio.to_thread(lambda: list(_stored(place)))

    def _folder(self, folder: str) -> Path:
        assert _FOLDER.fullmatch(folder), folder
        return self._directory / folder

    def _path(self, folder: str, sha256: str) -> Path:
        assert _SHA256.fullmatch(sha256), sha256
        return self._folder(folder) / sha256


@contextmanager
def _translated() -> Iterator[None]:
    """Turn faults of the disk into that of the port."""
    try:
        yield
    except OSError as fault:
        raise Unavailable(f"the files of snapshots cannot be used ({fault.strerror})") from fault


def _stored(place: Path) -> Iterator[StoredBlob]:
    for path in place.glob("*"):
        with suppress(FileNotFoundError):  # removed by somebody else meanwhile
            yield StoredBlob(sha256=path.name, written_ms=path.stat().st_mtime_ns // 1_000_000)


def _bring_to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _rename(unfinished: Path, finished: Path) -> None:
    """The name is on the disk when this returns."""
    unfinished.replace(finished)
    folder = os.open(finished.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
