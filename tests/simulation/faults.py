"""Faults: which there are, how often each strikes in a world, and which are held back to find the few that matter.

Every kind has its own source of chance, so that a fault that is held back changes nothing of when the others would
strike. Faults are numbered as they strike; a limit lets only the first so many happen, which is how `--shrink` works.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Final

KINDS: Final[Mapping[str, float]] = {
    # The network, for each request and answer.
    "net.request_lost": 0.15,
    "net.answer_lost": 0.15,
    "net.cut": 0.2,
    "net.doubled": 0.15,
    "net.late_copy": 0.1,
    "net.slow": 0.3,
    "net.portal": 0.1,
    "net.partition": 0.1,
    # Devices: for each named step, each wait, each write, each day.
    "device.killed_at_step": 0.01,
    "device.killed": 0.05,
    "device.torn_write": 0.02,
    "device.disk_full": 0.03,
    "device.disk_failed": 0.02,
    "device.bit_rot": 0.05,
    "device.clock_jump": 0.06,
    "device.restored": 0.04,
    "device.cloned": 0.03,
    "device.two_processes": 0.1,
    # Servers: for each await, each named step, each transaction.
    "server.killed": 0.006,
    "server.killed_at_step": 0.02,
    "server.rule_raises": 0.1,
    "database.unavailable": 0.03,
    "database.slow": 0.1,
    "database.lost_before_commit": 0.03,
    "database.lost_after_commit": 0.05,
    "database.failover": 0.03,
    "database.restored": 0.015,
    "redis.hint_lost": 0.4,
    "worker.killed": 0.05,
    "newer.client": 0.1,
    # The provider of mobile money: for each call, each thing asked for, each callback.
    "provider.down": 0.3,
    "provider.slow": 0.2,
    "provider.answer_lost": 0.3,
    "provider.late": 0.4,
    "provider.never": 0.3,
    "provider.wrong_amount": 0.3,
    "provider.failed_then_confirmed": 0.4,
    "provider.confirmed_then_failed": 0.4,
    "provider.confirmed_twice": 0.4,
    "provider.taken_back": 0.4,
    "provider.reference_reused": 0.3,
    "provider.callback_lost": 0.6,
    "provider.callback_doubled": 0.4,
    # Redis: for each call, each of the keeper's rounds.
    "redis.away": 0.3,
    "redis.answer_lost": 0.2,
    "redis.slow": 0.2,
    "redis.flushed": 0.1,
    # Files: for each that is asked for, each piece of one that comes.
    "blob.gone": 0.15,
    "blob.altered": 0.15,
    "blob.torn": 0.2,
}
"""Every kind of fault and the highest chance it is given, each time that it could strike."""


class Faults:
    """What goes wrong in one world; `tell` hears of each fault that happens."""

    def __init__(
        self, seed: str, rates: Mapping[str, float], tell: Callable[[str, str], None], *, limit: int | None = None
    ) -> None:
        self._random = {kind: Random(f"{seed}/{kind}") for kind in KINDS}
        self._rates = rates
        self._tell = tell
        self._limit = limit
        self._is_healed = False
        self.struck = 0
        self.counts: Counter[str] = Counter()

    def strikes(self, kind: str, what: str = "") -> bool:
        """Whether this goes wrong now."""
        rate = self._rates.get(kind, 0.0)
        if not rate or self._is_healed or self._random[kind].random() >= rate:
            return False
        self.struck += 1
        if self._limit is not None and self.struck > self._limit:
            return False
        self.counts[kind] += 1
        self._tell(kind, what)
        return True

    def source(self, kind: str) -> Random:
        """Chance for how exactly a fault of this kind goes."""
        return self._random[kind]

    def heal(self) -> None:
        """Nothing goes wrong from now on."""
        self._is_healed = True
