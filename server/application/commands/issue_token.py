"""Access tokens: a device proves its key with an assertion of its own and gets 15 minutes (RFC 7523, section 2.2)."""

from __future__ import annotations

from dataclasses import dataclass

from server.application.batch import DeviceBarred, DeviceRevoked
from server.application.ports import DeviceRecord, Enrolments, Signer, System, Towns, TownUnknown
from server.domain.access import (
    ACCESS_SECONDS,
    ACCESS_TYPE,
    UNPROVEN,
    DeviceCaller,
    InvalidClient,
    WrongToken,
    access_claims,
    peek_assertion,
    read_assertion,
)
from sync.engine.chain import parse_public_key
from sync.kernel.clock import format_time
from sync.kernel.ids import RANDOM_BYTES, make_id


@dataclass(frozen=True, kw_only=True, slots=True)
class IssuedToken:
    """An access token and how long it is good for."""

    access_token: str
    expires_seconds: int


async def issue_token(
    assertion: str, *, public_url: str, towns: Towns, enrolments: Enrolments, signer: Signer, system: System
) -> IssuedToken:
    """A token for the device that signed `assertion`, which is good for one token only.

    Raises `InvalidClient` with the server's time, so that a device with a wrong clock can ask again with the right
    one; `DeviceBarred` and `DeviceRevoked`; what the store raises.
    """
    now_ms = system.now_ms()
    audience = f"{public_url}/v1/oauth/token"
    try:
        device = await _prove(assertion, audience, now_ms // 1000, towns, enrolments)
    except WrongToken as wrong:
        raise InvalidClient(str(wrong), server_time=format_time(now_ms)) from None
    is_barred = device.status == "suspended"
    if not is_barred:
        check_status(device)
    caller = DeviceCaller(device_id=device.device_id, town_id=device.town_id, role=device.role, is_barred=is_barred)
    jti = make_id(now_ms, system.random(RANDOM_BYTES))
    claims = access_claims(caller, audience=public_url, now_seconds=now_ms // 1000, jti=jti)
    return IssuedToken(access_token=signer.jws(claims, ACCESS_TYPE), expires_seconds=ACCESS_SECONDS)


async def find_device(towns: Towns, town_id: str, device_id: str) -> DeviceRecord | None:
    """The device as it stands, None when there is no such device or no such town."""
    try:
        async with towns.reading(town_id) as reader:
            return await reader.device(device_id)
    except TownUnknown:
        return None


def check_status(device: DeviceRecord) -> None:
    """Raise `DeviceBarred` or `DeviceRevoked` unless the device is active."""
    if device.status == "revoked":
        raise DeviceRevoked(town_id=device.town_id, device_id=device.device_id, last=device.head)
    if device.status != "active":
        raise DeviceBarred


async def _prove(assertion: str, audience: str, now_seconds: int, towns: Towns, enrolments: Enrolments) -> DeviceRecord:
    """The device that made the assertion, which is used up by this; raise `WrongToken`."""
    town_id, device_id = peek_assertion(assertion)
    device = await find_device(towns, town_id, device_id)
    if device is None:
        raise WrongToken(UNPROVEN)
    proven = read_assertion(
        assertion,
        device_id=device_id,
        town_id=town_id,
        key=parse_public_key(device.public_key),
        audience=audience,
        now_seconds=now_seconds,
    )
    if not await enrolments.use_jti(f"{device_id}:{proven.jti}", format_time(proven.expires_seconds * 1000)):
        raise WrongToken("the assertion was used before")
    return device
