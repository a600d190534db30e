"""Enrolment: an admin's code and a device's key become a device of a town.

Every step can be repeated: a code is bound to the key that took it, a key to one device for ever, and the answer is
always what the device's row says. A device whose answer was lost asks again, with the same code or a new one of the
same kind, and gets the same certificate.
"""

from __future__ import annotations

import structlog

from server.application.certificates import device_certificate
from server.application.commands.apply_change_sets import Appliers
from server.application.ports import Enrolment, Enrolments, Signer, System, Towns
from server.domain.devices import (
    CODE_RANDOM_BYTES,
    ENROLMENT_MINUTES,
    EnrolmentRefused,
    KeyAlreadyUsed,
    NotEnrolable,
    check_enrolable,
    hash_code,
    server_device_id,
    write_code,
)
from sync.engine.chain import is_signed, parse_public_key
from sync.kernel.changeset import Fields
from sync.kernel.clock import format_time
from sync.kernel.errors import Malformed
from sync.kernel.ids import RANDOM_BYTES, make_id, parse_id
from sync.modules.identity import EnrolDevice, can_hold_device
from sync.protocol.messages import EnrolAnswer, EnrolRequest, TownMark, enrol_message

_log = structlog.stdlib.get_logger(__name__)


async def make_enrolment(
    *,
    town_id: str,
    role: str,
    user_id: str | None,
    warehouse_id: str | None,
    school_id: str | None = None,
    enrolments: Enrolments,
    towns: Towns,
    system: System,
) -> tuple[str, Enrolment]:
    """A new code for one device of a town, good for 15 minutes, and what is kept of it.

    The code is in the answer and nowhere else. Raises `NotEnrolable` when the role cannot be enrolled, the user,
    warehouse or school it needs is not there, or the user does not work here in that role.
    """
    check_enrolable(role, user_id, warehouse_id, school_id)
    named = {"user": user_id, "warehouse": warehouse_id, "school": school_id}
    keys = [(entity, parse_id(row_id)) for entity, row_id in named.items() if row_id is not None]
    async with towns.writing(town_id) as writer:  # not for writing: rows are read by key only under the lock
        rows = await writer.load(keys)
    for entity, row_id in keys:
        stored = rows[entity, row_id]
        if stored is None:
            raise NotEnrolable(f"this town has no {entity} {row_id}")
        if entity == "user" and not can_hold_device(stored.fields, role):
            raise NotEnrolable(f"{stored.fields['name']} does not work in this town as {role}")
    code = write_code(system.random(CODE_RANDOM_BYTES))
    enrolment = Enrolment(
        code_hash=hash_code(code),
        town_id=town_id,
        role=role,
        user_id=user_id,
        warehouse_id=warehouse_id,
        school_id=school_id,
        expires_at=format_time(system.now_ms() + ENROLMENT_MINUTES * 60_000),
    )
    await enrolments.add(enrolment)
    return code, enrolment


async def enrol(
    request: EnrolRequest,
    *,
    enrolments: Enrolments,
    appliers: Appliers,
    towns: Towns,
    signer: Signer,
    system: System,
) -> EnrolAnswer:
    """The device that `request` asks for, made now or made before by the same code and key.

    Raises `EnrolmentRefused` (one sentence, whatever is wrong with code or proof), `KeyAlreadyUsed`, `WeakKey`,
    `Malformed`, and what the store raises.
    """
    enrolment, device_id = await _admit(request, enrolments, system)
    town, device = await _rows(towns, enrolment.town_id, device_id)
    if device is None:
        operation = _operation(request, enrolment, device_id, signer, system)
        verdict = await appliers.author(enrolment.town_id, server_device_id(enrolment.town_id), [operation])
        system.reached("enrol.after_author")
        town, device = await _rows(towns, enrolment.town_id, device_id)
        if device is None:
            _log.warning("enrolment_refused_by_rules", town_id=enrolment.town_id, verdict=verdict.decode())
            raise EnrolmentRefused
    given = (device["role"], device["user_id"], device["warehouse_id"], device["school_id"])
    named = (enrolment.role, enrolment.user_id, enrolment.warehouse_id, enrolment.school_id)
    if given != named or device["status"] == "revoked":
        raise KeyAlreadyUsed
    return EnrolAnswer(
        device_id=device_id,
        role=device["role"],
        user_id=device["user_id"],
        certificate=device["certificate"],
        server_keys=list(reversed(signer.published)),
        town=TownMark(id=enrolment.town_id, name=town["name"], currency=town["currency"]),
    )


async def _admit(request: EnrolRequest, enrolments: Enrolments, system: System) -> tuple[Enrolment, str]:
    """Check the proof, use the code up and reserve the key; the enrolment and the id of the key's device."""
    if not request.name.strip():
        raise Malformed("the device has no name")
    key = parse_public_key(request.public_key)
    if not is_signed(key, request.proof, enrol_message(request.code, request.public_key)):
        raise EnrolmentRefused
    code_hash = hash_code(request.code)
    enrolment = await enrolments.take(code_hash, request.public_key, format_time(system.now_ms()))
    if enrolment is None:
        raise EnrolmentRefused
    system.reached("enrol.after_take")
    made = make_id(system.now_ms(), system.random(RANDOM_BYTES))
    town_id, device_id = await enrolments.bind_key(request.public_key, enrolment.town_id, made)
    if town_id != enrolment.town_id:
        raise KeyAlreadyUsed
    return enrolment, device_id


def _operation(
    request: EnrolRequest, enrolment: Enrolment, device_id: str, signer: Signer, system: System
) -> EnrolDevice:
    certificate = device_certificate(
        signer, enrolment, device_id=device_id, public_key=request.public_key, now_seconds=system.now_ms() // 1000
    )
    return EnrolDevice.model_validate(
        {
            "id": device_id,
            "name": request.name,
            "role": enrolment.role,
            "user": enrolment.user_id,
            "warehouse": enrolment.warehouse_id,
            "school": enrolment.school_id,
            "public_key": request.public_key,
            "certificate": certificate,
        }
    )


async def _rows(towns: Towns, town_id: str, device_id: str) -> tuple[Fields, Fields | None]:
    """The town's row, and the device's if there is one; read under the town's lock, as enrolments are rare."""
    async with towns.writing(town_id) as writer:
        rows = await writer.load([("town", town_id), ("device", device_id)])
    town, device = rows["town", town_id], rows["device", device_id]
    assert town is not None, "a town has its row from its first version on"
    return town.fields, device.fields if device else None
