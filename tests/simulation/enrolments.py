"""Codes and keys of a world's database: a round trip for each statement, and they go back with it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from server.adapters.memory import MemoryEnrolments

if TYPE_CHECKING:
    from server.application.ports import Enrolment
    from tests.simulation.database import Connection


@dataclass(frozen=True, kw_only=True, slots=True)
class Copied:
    """The codes and the keys of one town."""

    codes: Mapping[bytes, Any]
    keys: Mapping[str, tuple[str, str]]


class WorldEnrolments(MemoryEnrolments):
    """The store in memory, of which a town's part can be copied and put back."""

    def back_up(self, town_id: str) -> Copied:
        """A copy, as of now."""
        codes = {key: copy.copy(kept) for key, kept in self._codes.items() if kept.enrolment.town_id == town_id}
        return Copied(codes=codes, keys={key: bound for key, bound in self._keys.items() if bound[0] == town_id})

    def put_back(self, town_id: str, copied: Copied) -> None:
        """The copy takes the place of what there is."""
        others = {key: kept for key, kept in self._codes.items() if kept.enrolment.town_id != town_id}
        self._codes = others | {key: copy.copy(kept) for key, kept in copied.codes.items()}
        self._keys = {key: bound for key, bound in self._keys.items() if bound[0] != town_id} | dict(copied.keys)


class ProcessEnrolments:
    """What enrolling asks of the `Enrolments` port, in one process."""

    def __init__(self, connection: Connection) -> None:
        self._asked = connection.asked
        self._inner = connection.database.enrolments

    async def add(self, enrolment: Enrolment) -> None:
        """As the port."""
        await self._asked(self._inner.add(enrolment))

    async def take(self, code_hash: bytes, public_key: str, now: str) -> Enrolment | None:
        """As the port."""
        return await self._asked(self._inner.take(code_hash, public_key, now))

    async def device_of_key(self, public_key: str) -> tuple[str, str] | None:
        """As the port."""
        return await self._asked(self._inner.device_of_key(public_key))

    async def bind_key(self, public_key: str, town_id: str, device_id: str) -> tuple[str, str]:
        """As the port."""
        return await self._asked(self._inner.bind_key(public_key, town_id, device_id))

    async def use_jti(self, jti: str, expires_at: str) -> bool:
        """As the port."""
        return await self._asked(self._inner.use_jti(jti, expires_at))

    async def forget(self, requests_before: str, enrolments_before: str) -> int:
        """As the port."""
        return await self._asked(self._inner.forget(requests_before, enrolments_before))
