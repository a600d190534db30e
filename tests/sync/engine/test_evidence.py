"""What is proven about when a line was written, and what a device gains by saying something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.engine.evidence import ANCHOR_SLACK_MS, bounds_of, own_bounds, version_row
from sync.kernel.changeset import ChangeSet, Fields, Replaced, RowKey
from sync.kernel.clock import format_time
from sync.kernel.evidence import FIRST_MOMENT, OFF_CHAIN, Bounds, Moment, Order, order_of
from sync.kernel.ids import derived_id
from tests.support.town_in_memory import START_MS

TOWN, DEVICE, EPOCH, OTHER_EPOCH = (derived_id("test", name) for name in ("town", "device", "epoch", "other epoch"))
HOUR_MS = 3_600_000
ENROLLED, SEEN, DECIDED = (START_MS + hours * HOUR_MS for hours in (-48, 0, 8))
DIGEST = bytes(range(32))
HASH = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
ROWS: Mapping[RowKey, Fields] = {
    ("device", DEVICE): {"enrolled_at": format_time(ENROLLED)},
    **{key: stored.fields for key, stored in [version_row(7, format_time(SEEN), DIGEST)]},
}
LINE = ChangeSet(
    town=TOWN,
    device=DEVICE,
    seq=1,
    prev="",
    actor=DEVICE,
    base=7,
    epoch=EPOCH,
    at=f"{format_time(SEEN + HOUR_MS)}-0000",
    ops=(),
)


def bounds(**said: Any) -> Bounds:
    """The bounds of a line that says so, decided eight hours after version 7 by a town that is at version 9."""
    line = replace(LINE, **said)
    return bounds_of(line, epoch=EPOCH, version=9, decided_at=format_time(DECIDED), read=lambda *key: ROWS.get(key))


def between(earliest_ms: int, latest_ms: int, after_version: int = 7) -> Bounds:
    return Bounds(
        earliest=format_time(earliest_ms), latest=format_time(latest_ms), after_version=after_version, is_suspect=False
    )


def anchored(server_ms: int, elapsed_ms: int) -> dict[str, Any]:
    return {"server": format_time(server_ms), "mono_ms": elapsed_ms, "boot": "b"}


def test_a_line_lies_between_what_its_device_had_seen_and_what_decides_it() -> None:
    assert bounds() == between(SEEN, DECIDED)
    assert bounds(base=1, seen={"version": 7, "journal": HASH}) == between(SEEN, DECIDED)


def test_the_hash_proves_what_was_seen_in_another_epoch_too() -> None:
    assert bounds(epoch=OTHER_EPOCH, seen={"version": 7, "journal": HASH}) == between(SEEN, DECIDED)
    assert bounds(epoch=OTHER_EPOCH) == between(ENROLLED, DECIDED, 0)


@pytest.mark.parametrize(
    "said",
    [
        {"base": 10},
        {"base": 0},
        {"seen": {"version": 7, "journal": "B" * 43}},
        {"seen": {"version": 2**53 - 1, "journal": HASH}},
    ],
    ids=["a version to come", "nothing seen", "another hash", "a hash of the future"],
)
def test_what_cannot_have_been_seen_proves_nothing(said: dict[str, Any]) -> None:
    assert bounds(**said) == between(ENROLLED, DECIDED, 0)


def test_the_anchor_narrows_by_the_drift_of_a_clock_and_the_time_an_answer_takes() -> None:
    slack_ms = ANCHOR_SLACK_MS + HOUR_MS * 200 // 1_000_000
    now_ms = SEEN + HOUR_MS

    assert bounds(anchor=anchored(SEEN, HOUR_MS)) == between(now_ms - slack_ms, now_ms + slack_ms)


@pytest.mark.parametrize("server_ms", [0, SEEN - 24 * HOUR_MS, DECIDED + HOUR_MS, 253402300799999])
def test_an_anchor_that_does_not_fit_is_not_taken(server_ms: int) -> None:
    assert bounds(anchor=anchored(server_ms, 1000)) == between(SEEN, DECIDED)


@given(server_ms=st.integers(0, 253402300799999), elapsed_ms=st.integers(0, 2**53 - 1))
def test_an_anchor_never_widens(server_ms: int, elapsed_ms: int) -> None:
    found = bounds(anchor=anchored(server_ms, elapsed_ms))

    assert format_time(SEEN) <= found.earliest <= found.latest <= format_time(DECIDED)


@pytest.mark.parametrize(
    ("at_ms", "is_suspect"),
    [
        (SEEN - 300_000, False),
        (SEEN - 300_001, True),
        (DECIDED + 300_000, False),
        (DECIDED + 300_001, True),
        (0, True),
        (253402300799999, True),
    ],
)
def test_a_clock_is_suspect_beyond_the_tolerance_on_either_side(at_ms: int, *, is_suspect: bool) -> None:
    assert bounds(at=f"{format_time(at_ms)}-0000").is_suspect is is_suspect


def test_an_anchor_shows_a_wrong_clock_within_the_day() -> None:
    assert bounds(anchor=anchored(SEEN, 2 * HOUR_MS)).is_suspect


def test_of_a_device_that_nothing_is_known_of_anything_may_be_true() -> None:
    found = bounds_of(LINE, epoch=EPOCH, version=3, decided_at=format_time(DECIDED), read=lambda *_: None)

    assert found == Bounds(earliest=FIRST_MOMENT, latest=format_time(DECIDED))


def test_the_town_itself_acts_now_unless_it_repeats_what_a_device_had_done() -> None:
    again = replace(LINE, replaces=Replaced(device=DEVICE, seq=1, hash=HASH))
    now = format_time(DECIDED)

    assert own_bounds(LINE, 9, now) == Bounds(earliest=now, latest=now, after_version=9)
    assert own_bounds(again, 9, now) == Bounds(earliest=FIRST_MOMENT, latest=now, after_version=OFF_CHAIN)


def test_a_line_that_was_written_anew_is_of_its_own_time_and_has_no_place_in_the_chain() -> None:
    again = Replaced(device=DEVICE, seq=1, hash=HASH)

    assert bounds(replaces=again) == between(SEEN, DECIDED, after_version=OFF_CHAIN)


def moment(device: str, seq: int, *, version: int = 9, after: int = 0, from_hour: int = 0, to_hour: int = 8) -> Moment:
    earliest, latest = (format_time(START_MS + hour * HOUR_MS) for hour in (from_hour, to_hour))
    return Moment(device=device, seq=seq, version=version, after_version=after, earliest=earliest, latest=latest)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (moment("a", 1), moment("a", 2), Order.BEFORE),
        (moment("a", 1), moment("a", 1), Order.UNKNOWN),
        (moment("a", 1), moment("a", 2, after=OFF_CHAIN), Order.UNKNOWN),
        (moment("a", 1, version=4), moment("b", 9, after=4), Order.BEFORE),
        (moment("a", 1, version=5), moment("b", 9, after=4), Order.UNKNOWN),
        (moment("a", 1, to_hour=3), moment("b", 9, from_hour=4), Order.BEFORE),
        (moment("a", 1, to_hour=4), moment("b", 9, from_hour=4), Order.UNKNOWN),
    ],
    ids=["one chain", "one line", "written anew", "seen", "not seen", "earlier", "touching"],
)
def test_the_order_of_two_acts(one: Moment, other: Moment, expected: Order) -> None:
    reverse = {Order.BEFORE: Order.AFTER, Order.UNKNOWN: Order.UNKNOWN}[expected]

    assert (order_of(one, other), order_of(other, one)) == (expected, reverse)
