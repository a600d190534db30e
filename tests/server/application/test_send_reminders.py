"""When a reminder may leave: in the daytime of its town, and as long as it is so."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from server.application.commands.send_reminders import seconds_to_day, why_not
from server.application.reminder_ports import Seen
from tests.support.debts import reminder

SEEN = Seen(
    reminder=reminder(),
    time_zone="Europe/London",
    invoice_state="PENDING",
    remaining_minor=3000,
    is_followed=False,
    outcome=None,
)


def hours_to_day(at: str, time_zone: str) -> float:
    return seconds_to_day(round(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp() * 1000), time_zone) / 3600


@pytest.mark.parametrize(
    ("at", "time_zone", "hours"),
    [
        ("2026-11-22T00:00", "Europe/London", 8),
        ("2026-11-22T07:59", "Europe/London", 1 / 60),
        ("2026-11-22T08:00", "Europe/London", 0),
        ("2026-11-22T19:59", "Europe/London", 0),
        ("2026-11-22T20:00", "Europe/London", 12),
        ("2026-11-22T20:00", "Asia/Tokyo", 3),  # five in the morning
        ("2026-11-22T12:00", "America/Los_Angeles", 4),
        ("2026-03-28T20:00", "Europe/London", 11),  # the night in which the clocks go forward
        ("2026-10-24T19:00", "Europe/London", 13),  # and back; it is 20:00 there
    ],
)
def test_nobodys_telephone_rings_at_night(at: str, time_zone: str, hours: float) -> None:
    assert hours_to_day(at, time_zone) == pytest.approx(hours)


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (SEEN, ""),
        (replace(SEEN, invoice_state="PARTIALLY_PAID"), ""),
        (replace(SEEN, invoice_state="PAID", remaining_minor=0), "the invoice is PAID"),
        (replace(SEEN, invoice_state="CANCELLED"), "the invoice is CANCELLED"),
        (replace(SEEN, remaining_minor=2999), "what is owed has changed since"),
        (replace(SEEN, remaining_minor=3001), "what is owed has changed since"),
        (replace(SEEN, is_followed=True), "a later one was written"),
    ],
)
def test_what_is_not_so_any_more_is_not_sent(seen: Seen, why: str) -> None:
    assert why_not(seen, 3000) == why
