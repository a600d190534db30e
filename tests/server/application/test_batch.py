"""What is decided together: an upload is cut by lines, operations and bytes, and a batch ends when it is full."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

import pytest

from server.application import batch
from server.application.batch import Upload, Waiting, chunks, take_batch
from sync.engine.town import Submitted
from sync.kernel.changeset import ChangeSet
from sync.kernel.errors import Malformed
from sync.kernel.ids import derived_id
from sync.modules.commerce import StartPick

DEVICE = derived_id("batch", "device")
OPERATION = StartPick(id=derived_id("batch", "op"), order=derived_id("batch", "order"))


def line(operations: int = 1, size_bytes: int = 100) -> Submitted:
    change_set = ChangeSet(
        town="", device=DEVICE, seq=1, prev="", actor="", base=0, epoch="", at="", ops=(OPERATION,) * operations
    )
    return Submitted(device=DEVICE, seq=1, line=bytes(size_bytes), digest=b"", change_set=change_set)


def waiting(*lines: Submitted) -> Waiting:
    work = Upload(town_id="", device_id=DEVICE, from_seq=1, lines=[], signature="")
    return Waiting(work=work, submitted=lines, answer=asyncio.get_running_loop().create_future())


def parts(lines: Sequence[Submitted]) -> list[int]:
    found = [lines[chunk] for chunk in chunks(lines)]
    assert [each for part in found for each in part] == list(lines)
    return [len(part) for part in found]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([line()], [1]),
        ([line()] * batch.CHUNK_LINES_MAX, [batch.CHUNK_LINES_MAX]),
        ([line()] * (2 * batch.CHUNK_LINES_MAX + 1), [batch.CHUNK_LINES_MAX, batch.CHUNK_LINES_MAX, 1]),
        ([line(100)] * 25, [10, 10, 5]),
        ([line(size_bytes=60 * 1024)] * 10, [4, 4, 2]),
        ([line(batch.CHUNK_OPERATIONS_MAX + 1)] * 2, [1, 1]),
        ([line(), line(batch.CHUNK_OPERATIONS_MAX), line()], [1, 1, 1]),
    ],
    ids=["one", "full of lines", "more lines", "operations", "bytes", "more than a chunk holds", "just too many"],
)
def test_an_upload_is_cut_where_a_part_would_be_too_large(lines: list[Submitted], expected: list[int]) -> None:
    assert parts(lines) == expected


def test_a_line_that_cannot_be_read_has_no_operations_and_still_counts_as_a_line() -> None:
    unreadable = Submitted(device=DEVICE, seq=1, line=b"{", digest=b"", change_set=Malformed())

    assert parts([unreadable] * (batch.CHUNK_LINES_MAX + 1)) == [batch.CHUNK_LINES_MAX, 1]


@pytest.mark.parametrize(
    ("each", "taken"),
    [
        ([line()] * 100, 3),
        ([line(1_000)], 2),
        ([line(size_bytes=32 * 1024)] * 4, 2),
    ],
    ids=["change sets", "operations", "bytes"],
)
async def test_a_batch_takes_what_is_waiting_until_it_is_full(each: list[Submitted], taken: int) -> None:
    queue = deque(waiting(*each) for _ in range(5))

    assert (len(take_batch(queue)), len(queue)) == (taken, 5 - taken)
