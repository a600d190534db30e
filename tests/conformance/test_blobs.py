"""What every adapter of the `Blobs` port keeps: a file is there whole under its hash, or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.adapters.blobs import FilesystemBlobs
from server.adapters.memory import MemorySystem
from server.adapters.memory_blobs import MemoryBlobs
from server.application.ports import Unavailable
from server.application.snapshot_ports import Blob, Blobs

FOLDER, OTHER_FOLDER = "018f", "018f-2"


@pytest.fixture(params=["memory", "filesystem"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return MemoryBlobs(MemorySystem()) if request.param == "memory" else FilesystemBlobs(tmp_path / "blobs")


async def given(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def whole(blobs: Blobs, blob: Blob, start: int = 0, stop: int | None = None) -> bytes:
    stop = blob.size if stop is None else stop
    return b"".join([piece async for piece in blobs.read(FOLDER, blob.sha256, start, stop)])


async def test_a_file_is_found_by_the_hash_of_its_bytes(blobs: Blobs) -> None:
    blob = await blobs.write(FOLDER, given(b"one ", b"", b"two"))

    assert blob == Blob(sha256=hashlib.sha256(b"one two").hexdigest(), size=7)
    assert (await blobs.size(FOLDER, blob.sha256), await whole(blobs, blob)) == (7, b"one two")


async def test_any_part_of_it_can_be_read(blobs: Blobs) -> None:
    held = bytes(range(256)) * 3_000
    blob = await blobs.write(FOLDER, given(held))

    for start, stop in ((0, 0), (0, 1), (1, 700_000), (767_999, 768_000), (5, 10**9), (10**9, 10**9 + 1)):
        assert await whole(blobs, blob, start, stop) == held[start:stop]


async def test_the_same_bytes_again_are_the_same_file(blobs: Blobs) -> None:
    assert await blobs.write(FOLDER, given(b"x")) == await blobs.write(FOLDER, given(b"x"))
    assert len(await blobs.stored(FOLDER)) == 1


async def test_what_is_not_there_has_no_size_and_cannot_be_read(blobs: Blobs) -> None:
    absent = Blob(sha256="0" * 64, size=1)

    assert await blobs.size(FOLDER, absent.sha256) is None
    with pytest.raises(Unavailable):
        await whole(blobs, absent)


async def test_folders_do_not_see_each_other(blobs: Blobs) -> None:
    blob = await blobs.write(FOLDER, given(b"x"))

    assert await blobs.size(OTHER_FOLDER, blob.sha256) is None
    assert list(await blobs.stored(OTHER_FOLDER)) == []


async def test_what_is_removed_is_gone_and_may_be_removed_again(blobs: Blobs) -> None:
    blob = await blobs.write(FOLDER, given(b"x"))
    for _ in range(2):
        await blobs.remove(FOLDER, blob.sha256)

    assert (await blobs.size(FOLDER, blob.sha256), list(await blobs.stored(FOLDER))) == (None, [])


async def test_a_source_that_fails_leaves_nothing(blobs: Blobs) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"half of it"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await blobs.write(FOLDER, failing())

    assert list(await blobs.stored(FOLDER)) == []


async def test_what_a_writer_that_died_has_left_is_found_and_can_be_removed(tmp_path: Path) -> None:
    blobs = FilesystemBlobs(tmp_path)
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / ".unfinished-abc").write_bytes(b"half of it")

    (left,) = await blobs.stored(FOLDER)
    await blobs.remove(FOLDER, left.sha256)

    assert list(await blobs.stored(FOLDER)) == []


async def test_a_disk_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_bytes(b"a file where the directory should be")

    with pytest.raises(Unavailable):
        await FilesystemBlobs(tmp_path / "blobs").write(FOLDER, given(b"x"))
