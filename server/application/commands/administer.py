"""What an admin does to a town from outside a device: people, warehouses, and devices that are lost or gone.

Each is one change set of the town's own server device; a refusal of the rules comes out as `OfficeRefused`.
"""

from __future__ import annotations

from collections.abc import Sequence
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


async def add_user(
    *, town_id: str, name: str, login: str, roles: Sequence[str], pin: str | None, appliers: Appliers, system: System
) -> str:
    """Make a person of this town and return the id. `roles` are those of `identity.ROLES`.

    Raises `PinUnusable`, pydantic's `ValidationError`, `OfficeRefused`, and what the store raises.
    """
    pin_hash = None
    if pin is not None:
        if not (pin.isascii() and pin.isdigit() and PIN_DIGITS_MIN <= len(pin) <= PIN_DIGITS_MAX):
            raise PinUnusable
        pin_hash = hash_pin(pin, system.random(SALT_BYTES))
    user_id = make_id(system.now_ms(), system.random(RANDOM_BYTES))
    named = _ROLES.validate_python(list(roles))
    await _author(appliers, town_id, AddUser(id=user_id, name=name, login=login, user_roles=named, pin_hash=pin_hash))
    return user_id


async def open_warehouse(*, town_id: str, name: str, appliers: Appliers, system: System) -> str:
    """Make a place of this town where stock is kept and return the id. Raises as `add_user` does."""
    warehouse_id = make_id(system.now_ms(), system.random(RANDOM_BYTES))
    await _author(appliers, town_id, OpenWarehouse(id=warehouse_id, name=name))
    return warehouse_id


async def end_device(
    *, town_id: str, device_id: str, how: Literal["suspend", "revoke"], reason: str, appliers: Appliers
) -> None:
    """Suspend a device until somebody decides, or revoke it for ever. Raises as `add_user` does."""
    kind = SuspendDevice if how == "suspend" else RevokeDevice
    await _author(appliers, town_id, kind(device=device_id, reason=reason))


async def _author(appliers: Appliers, town_id: str, operation: Operation) -> None:
    verdict = orjson.loads(await appliers.author(town_id, server_device_id(town_id), [operation]))
    if verdict["status"] != Status.ACCEPTED:
        raise OfficeRefused(" ".join(note["text"] for note in verdict.get("notes", ())) or None)
