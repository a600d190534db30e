"""Ports in memory, for tests and for people who try the server without a database. Towns are in `memory_towns`."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.adapters.keys import KeySigner
from server.application.ports import Enrolment


@dataclass(slots=True)
class _Kept:
    enrolment: Enrolment
    taken_by: str | None = None


class MemoryEnrolments:
    """The `Enrolments` port; atomic because nothing in it waits."""

    def __init__(self) -> None:
        self._codes: dict[bytes, _Kept] = {}
        self._keys: dict[str, tuple[str, str]] = {}
        self._jtis: dict[str, str] = {}

    async def add(self, enrolment: Enrolment) -> None:
        """Keep a code that an admin made."""
        self._codes[enrolment.code_hash] = _Kept(enrolment)

    async def take(self, code_hash: bytes, public_key: str, now: str) -> Enrolment | None:
        """Use the code up for this key; the key that took it may take it again, even when the time is over."""
        kept = self._codes.get(code_hash)
        if kept is None:
            return None
        if kept.taken_by is None and now < kept.enrolment.expires_at:
            kept.taken_by = public_key
        return kept.enrolment if kept.taken_by == public_key else None

    async def device_of_key(self, public_key: str) -> tuple[str, str] | None:
        """(town id, device id) of the device that ever had this key."""
        return self._keys.get(public_key)

    async def bind_key(self, public_key: str, town_id: str, device_id: str) -> tuple[str, str]:
        """Reserve the key for this device for ever; an earlier binding wins."""
        return self._keys.setdefault(public_key, (town_id, device_id))

    async def use_jti(self, jti: str, expires_at: str) -> bool:
        """Remember a token request id; False when it was used before."""
        if jti in self._jtis:
            return False
        self._jtis[jti] = expires_at
        return True

    async def forget(self, requests_before: str, enrolments_before: str) -> int:
        """Drop what expired before these times; returns how many."""
        requests = [jti for jti, expires_at in self._jtis.items() if expires_at < requests_before]
        codes = [code for code, kept in self._codes.items() if kept.enrolment.expires_at < enrolments_before]
        for jti in requests:
            del self._jtis[jti]
        for code in codes:
            del self._codes[code]
        return len(requests) + len(codes)


@dataclass(slots=True)
class MemorySystem:
    """A `System` whose time stands still until it is moved and whose randomness comes from a seed."""

    unix_ms: int = 1_795_248_000_000  # 2026-11-21T08:00:00Z
    seed: int = 1
    reached_steps: list[str] = field(default_factory=list)
    _source: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._source = random.Random(self.seed)  # noqa: S311 - repeatable on purpose, guards nothing

    def now_ms(self) -> int:
        """Milliseconds since 1970, as last set."""
        return self.unix_ms

    def advance(self, seconds: float) -> None:
        """Move time."""
        self.unix_ms += round(seconds * 1000)

    def random(self, size: int) -> bytes:
        """The next `size` bytes of the seed."""
        return self._source.randbytes(size)

    def reached(self, failpoint: str) -> None:
        """Remember that the step was reached."""
        self.reached_steps.append(failpoint)


class SilentBell:
    """A `Bell` that nobody listens to."""

    def __init__(self) -> None:
        self.rung: list[str] = []

    async def ring(self, town_id: str) -> None:
        """Remember who was rung for."""
        self.rung.append(town_id)


def memory_signer(seed: int = 1) -> KeySigner:
    """A signer with a key made from a seed, the same each time."""
    return KeySigner(Ed25519PrivateKey.from_private_bytes(seed.to_bytes(32)))
