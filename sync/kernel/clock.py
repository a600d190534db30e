"""Times as text and the hybrid logical clock: device time, then a counter, never going back on one device.

Source: Kulkarni et al., "Logical Physical Clocks", 2014; here only the local half, since the server's order decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sync.kernel.errors import InvalidClockReading

COUNTER_MAX = 0xFFFF
UNIX_MS_MAX = 253402300799999  # 9999-12-31T23:59:59.999Z
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"
TIME_PATTERN = f"^{_TIME}$"
_TIME_TEXT = re.compile(_TIME)
_HLC = re.compile(rf"^({_TIME})-([0-9A-F]{{4}})$")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def format_time(unix_ms: int) -> str:
    """Milliseconds since 1970 -> `2026-11-21T08:15:02.114Z`."""
    if not 0 <= unix_ms <= UNIX_MS_MAX:
        raise InvalidClockReading
    return (_EPOCH + timedelta(milliseconds=unix_ms)).strftime("%Y-%m-%dT%H:%M:%S.") + f"{unix_ms % 1000:03d}Z"


def parse_time(text: str) -> int:
    """`2026-11-21T08:15:02.114Z` -> milliseconds since 1970; raise `InvalidClockReading`."""
    if not _TIME_TEXT.fullmatch(text):
        raise InvalidClockReading
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidClockReading from None
    if moment < _EPOCH:
        raise InvalidClockReading
    return (moment - _EPOCH) // timedelta(milliseconds=1)


@dataclass(frozen=True, kw_only=True, order=True, slots=True)
class Hlc:
    """A reading of the hybrid logical clock; ordered, and its text sorts the same way."""

    unix_ms: int
    counter: int

    @classmethod
    def parse(cls, text: str) -> Hlc:
        """Read `2026-11-21T08:15:02.114Z-0003` (counter in upper-case hexadecimal)."""
        match = _HLC.fullmatch(text)
        if not match:
            raise InvalidClockReading
        return cls(unix_ms=parse_time(match[1]), counter=int(match[2], 16))

    def tick(self, now_ms: int) -> Hlc:
        """The next reading at device time `now_ms`; a clock set back only moves the counter."""
        if now_ms > self.unix_ms:
            return Hlc(unix_ms=now_ms, counter=0)
        if self.counter < COUNTER_MAX:
            return Hlc(unix_ms=self.unix_ms, counter=self.counter + 1)
        return Hlc(unix_ms=self.unix_ms + 1, counter=0)

    def __str__(self) -> str:
        return f"{format_time(self.unix_ms)}-{self.counter:04X}"
