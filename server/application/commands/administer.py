"""What the office does to a town, and no device can: people, warehouses, limits, tours, devices that are lost or gone.

Each is one change set of the town's own server device; a refusal of the rules comes out as `OfficeRefused`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import orjson
from pydantic import TypeAdapter

from server.application.commands.apply_change_sets import Appliers
from server.application.ports import System
from server.domain.devices import server_device_id
from sync.kernel.changeset import Operation, Status
from sync.kernel.errors import TallystickError
from sync.kernel.ids import RANDOM_BYTES, make_id
from sync.kernel.pins import SALT_BYTES, hash_pin
from sync.modules.commerce.operations import OpenWarehouse
from sync.modules.identity import AddUser, RevokeDevice, Role, SuspendDevice

PIN_DIGITS_MIN = 4
PIN_DIGITS_MAX = 12
_ROLES: TypeAdapter[list[Role]] = TypeAdapter(list[Role])


class OfficeRefused(TallystickError):
    """The rules refuse this change."""

    code: ClassVar[str] = "refused"


class PinUnusable(TallystickError):
    """A PIN has 4 to 12 digits."""

    code: ClassVar[str] = "pin_unusable"


@dataclass(frozen=True, kw_only=True, slots=True)
class NewPerson:
    """Who is to work in a town: for one school, if one is named; `roles` are those of `identity.ROLES`."""

    name: str
    login: str
    roles: tuple[str, ...]
    pin: str | None = None
    school_id: str | None = None


async def add_user(person: NewPerson, *, town_id: str, appliers: Appliers, system: System) -> str:
    """Make a person of this town and return the id.

    Raises `PinUnusable`, pydantic's `ValidationError`, `OfficeRefused`, and what the store raises.
    """
    pin_hash = None if person.pin is None else hashed_pin(person.pin, system)
    user = AddUser(
        id=make_id(system.now_ms(), system.random(RANDOM_BYTES)),
        name=person.name,
        login=person.login,
        user_roles=_ROLES.validate_python(list(person.roles)),
        pin_hash=pin_hash,
        school=person.school_id,
    )
    await have_done(appliers, town_id, user)
    return user.id


def hashed_pin(pin: str, system: System) -> str:
    """What is kept of a PIN. Raises `PinUnusable`."""
    if not (pin.isascii() and pin.isdigit() and PIN_DIGITS_MIN <= len(pin) <= PIN_DIGITS_MAX):
        raise PinUnusable
    return hash_pin(pin, system.random(SALT_BYTES))


async def open_warehouse(*, town_id: str, name: str, appliers: Appliers, system: System) -> str:
    """Make a place of this town where stock is kept and return the id. Raises as `add_user` does."""
    warehouse_id = make_id(system.now_ms(), system.random(RANDOM_BYTES))
    await have_done(appliers, town_id, OpenWarehouse(id=warehouse_id, name=name))
    return warehouse_id


async def end_device(
    *,
    town_id: str,
    device_id: str,
    how: Literal["suspend", "revoke"],
    reason: str,
    lost_at: str | None = None,
    appliers: Appliers,
) -> None:
    """Suspend a device until somebody decides, or revoke it for ever; `lost_at` is since when it was lost, if known.

    Raises as `add_user` does.
    """
    suspend = SuspendDevice(device=device_id, reason=reason)
    revoke = RevokeDevice(device=device_id, reason=reason, lost_at=lost_at)
    await have_done(appliers, town_id, suspend if how == "suspend" else revoke)


async def have_done(appliers: Appliers, town_id: str, operation: Operation) -> str:
    """Have the town itself do this; what the rules had to say about it. Raises `OfficeRefused`, and as the store."""
    verdict = orjson.loads(await appliers.author(town_id, server_device_id(town_id), [operation]))
    told = " ".join(note["text"] for note in verdict.get("notes", ()))
    if not Status(verdict["status"]).has_effect:
        raise OfficeRefused(told or None)
    return told
