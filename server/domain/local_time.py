"""When something was where the town is: its day, and its time to the minute. Pure; the books themselves are in UTC."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo


def day(at: str, zone: str) -> str:
    """The day that it was, like `2026-11-21`; `at` is a time of the books, `zone` a name of the IANA database."""
    return _there(at, zone).date().isoformat()


def moment(at: str | None, zone: str) -> str:
    """The time for people, with the name of what their clocks show, like `2026-11-21 11:15 EAT`; a dash for none."""
    return f"{_there(at, zone):%Y-%m-%d %H:%M %Z}" if at else "-"


def _there(at: str, zone: str) -> datetime:
    return datetime.fromisoformat(at).astimezone(ZoneInfo(zone))
