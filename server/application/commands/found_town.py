"""Found a town: its head, its server device, and the first change set, which that device authors about itself."""

from __future__ import annotations

from typing import ClassVar

import orjson

from server.application.certificates import server_certificate
from server.application.commands.apply_change_sets import Appliers
from server.application.ports import Founding, Signer, System
from server.domain.devices import server_device_id
from sync.kernel.changeset import Status
from sync.kernel.errors import TallystickError
from sync.kernel.ids import RANDOM_BYTES, make_id
from sync.kernel.money import minor_digits
from sync.modules.identity import EnrolDevice, FoundTown

_SERVER_DEVICE_NAME = "server"


class TownNotFounded(TallystickError):
    """The rules refuse the new town."""

    code: ClassVar[str] = "town_not_founded"


async def found_town(
    *, name: str, currency: str, time_zone: str, appliers: Appliers, signer: Signer, system: System
) -> str:
    """Make a town and return its id. `currency` is ISO 4217, `time_zone` a name of the IANA database.

    Raises `InvalidMoney` for an unknown currency, pydantic's `ValidationError` for another field, `TownNotFounded`,
    and what the store raises.
    """
    minor_digits(currency)
    town_id = make_id(system.now_ms(), system.random(RANDOM_BYTES))
    device_id = server_device_id(town_id)
    begin = FoundTown(id=town_id, name=name, currency=currency, time_zone=time_zone)
    enrol = EnrolDevice(
        id=device_id,
        name=_SERVER_DEVICE_NAME,
        role="server",
        public_key=signer.public_key,
        certificate=server_certificate(signer, town_id),
    )
    founding = Founding(name=name, epoch=make_id(system.now_ms(), system.random(RANDOM_BYTES)))
    verdict = orjson.loads(await appliers.found(town_id, founding, device_id, [begin, enrol]))
    if verdict["status"] != Status.ACCEPTED:
        raise TownNotFounded(" ".join(note["text"] for note in verdict.get("notes", ())) or None)
    return town_id
