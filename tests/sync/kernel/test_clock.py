"""Clock readings: text and milliseconds are the same, and a device's clock never goes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.kernel.clock import COUNTER_MAX, UNIX_MS_MAX, Hlc, format_time, parse_time
from sync.kernel.errors import InvalidClockReading

MOMENTS = st.integers(min_value=0, max_value=UNIX_MS_MAX)
READINGS = st.builds(
    Hlc, unix_ms=st.integers(min_value=0, max_value=UNIX_MS_MAX - 1), counter=st.integers(0, COUNTER_MAX)
)


@given(MOMENTS)
def test_a_time_survives_the_way_to_text_and_back(unix_ms: int) -> None:
    assert parse_time(format_time(unix_ms)) == unix_ms


@given(READINGS, READINGS)
def test_readings_sort_as_their_text_does(one: Hlc, other: Hlc) -> None:
    assert (one < other) == (str(one) < str(other))
    assert Hlc.parse(str(one)) == one


@given(READINGS, MOMENTS)
def test_the_clock_goes_on_whatever_the_device_believes(before: Hlc, now_ms: int) -> None:
    after = before.tick(now_ms)

    assert after > before
    assert after.unix_ms == max(before.unix_ms + (before.counter == COUNTER_MAX and now_ms <= before.unix_ms), now_ms)


@pytest.mark.parametrize("unix_ms", [-1, UNIX_MS_MAX + 1])
def test_times_outside_four_digit_years_since_1970_are_refused(unix_ms: int) -> None:
    with pytest.raises(InvalidClockReading):
        format_time(unix_ms)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-21T08:15:02Z",
        "2026-11-21T08:15:02.114",
        "2026-11-21T08:15:02.114+00:00",
        "2026-11-21t08:15:02.114z",
        "2026-11-21 08:15:02.114Z",
        "2026-11-21T08:15:02.114Z\n",
        "2026-13-01T00:00:00.000Z",
        "2026-02-29T00:00:00.000Z",
        "2026-11-21T24:00:00.000Z",
        "2026-11-21T23:59:60.000Z",
        "0000-01-01T00:00:00.000Z",
        "1969-12-31T23:59:59.999Z",
        "10000-01-01T00:00:00.000Z",
        "\u0662026-11-21T08:15:02.114Z",
        "2026-11-21T08:15:02.11\u0664Z",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidClockReading):
        parse_time(text)
    with pytest.raises(InvalidClockReading):
        Hlc.parse(f"{text}-0000")


@pytest.mark.parametrize("counter", ["", "000", "00000", "00ff", "000G", "-001", "0000\n"])
def test_a_counter_is_four_upper_case_hexadecimal_digits(counter: str) -> None:
    with pytest.raises(InvalidClockReading):
        Hlc.parse(f"2026-11-21T08:15:02.114Z-{counter}")
