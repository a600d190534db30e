"""How often a device, a network address and a town may ask: the named rates, and the arithmetic of one bucket.

Pure: time is passed in, in seconds of any clock that does not go back. The arithmetic is the generic cell rate
algorithm (ITU-T I.371, annex A): a bucket is one number, the time at which it is full again, so that the moment at
which the next request is taken is known exactly. A request that is refused uses nothing up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Final

from sync.kernel.errors import TallystickError

DEVICE_REQUESTS_PER_MINUTE: Final = 300
"""What a device may ask with its token. One that is told of each change asks once in a second or two."""

ADDRESS_REQUESTS_PER_MINUTE: Final = 6_000
"""What one network address may ask: an office, or a mobile network that has all its customers behind one."""

TOWN_REQUESTS_PER_MINUTE: Final = 12_000
"""What the devices of a town together may ask. People of the office are not in it: they must be able to act."""

CHECKOUT_ADDRESS_REQUESTS_PER_MINUTE: Final = 60
"""What one network address may order and call off in a town: a mobile network has many customers behind one."""

CHECKOUT_TOWN_REQUESTS_PER_MINUTE: Final = 600
"""What customers may order and call off in a town together: each order takes a turn of the town and holds goods."""

ENROLMENT_DELAYS_SECONDS: Final = (0, 0, 0, 0, 30, 60, 120, 240, 480, 900)
"""How long an address may not try to enrol after its first, second ... wrong code; the last one stays."""

WINDOW_SECONDS: Final = 60
"""What a rate counts by; so many seconds' worth may also come at once."""

_DIGITS = 6  # a microsecond: sums of floats miss a whole minute by less


class RateLimited(TallystickError):
    """Too many requests; come back when you are told to, what is pending is kept."""

    code: ClassVar[str] = "rate_limited"

    def __init__(self, *, wait_seconds: float) -> None:
        self.retry_after_seconds = max(1, math.ceil(wait_seconds))
        super().__init__(f"too many requests; come back in {self.retry_after_seconds} seconds")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """So many requests in a minute, all of them at once if need be. `name` keeps the buckets of two rates apart."""

    name: str
    per_minute: float

    @property
    def step_seconds(self) -> float:
        """What one request takes out of the bucket."""
        return WINDOW_SECONDS / self.per_minute


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """The rates of an installation, in requests per minute; 0 is no limit."""

    device_per_minute: int = DEVICE_REQUESTS_PER_MINUTE
    address_per_minute: int = ADDRESS_REQUESTS_PER_MINUTE
    town_per_minute: int = TOWN_REQUESTS_PER_MINUTE
    checkout_address_per_minute: int = CHECKOUT_ADDRESS_REQUESTS_PER_MINUTE
    checkout_town_per_minute: int = CHECKOUT_TOWN_REQUESTS_PER_MINUTE


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One request as one rate sees it: whose bucket it comes out of."""

    rate: Rate
    subject: str

    @property
    def key(self) -> str:
        """Under what the bucket is kept."""
        return f"{self.rate.name}:{self.subject}"


def full_at_after(full_at: float, now: float, rate: Rate) -> float:
    """When the bucket is full again after one more request at `now`."""
    return max(full_at, now) + rate.step_seconds


def wait_seconds(full_at: float, now: float, rate: Rate) -> float:
    """How long until one more request is taken; 0 or less when it is taken now."""
    return round(full_at_after(full_at, now, rate) - WINDOW_SECONDS - now, _DIGITS)
