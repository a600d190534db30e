"""Which lines have taken effect, also in a journal that somebody has altered."""

from __future__ import annotations

from sync.engine.chain import encode_bytes
from sync.engine.replay import BookedLines
from sync.engine.town import Submitted
from sync.kernel.changeset import Replaced
from sync.kernel.errors import Malformed
from sync.kernel.ids import derived_id

DEVICE = derived_id("device")


def line(seq: int) -> Submitted:
    return Submitted(device=DEVICE, seq=seq, line=b"", digest=bytes([seq % 256]) * 32, change_set=Malformed())


def has(booked: BookedLines, seq: int) -> bool:
    return booked.has(Replaced(device=DEVICE, seq=seq, hash=encode_bytes(line(seq).digest)))


def test_a_line_is_booked_by_its_place_and_its_hash() -> None:
    booked = BookedLines()
    for seq, has_effect in ((1, True), (2, False), (5, True)):
        booked.note(line(seq), has_effect=has_effect)

    assert [has(booked, seq) for seq in range(1, 7)] == [True, False, False, False, True, False]


def test_a_place_that_cannot_be_takes_no_memory_and_is_not_booked() -> None:
    booked = BookedLines()
    for seq in (1, 2**62, -1, 1):
        booked.note(line(seq), has_effect=True)

    assert [has(booked, seq) for seq in (1, 2**62)] == [True, False]
