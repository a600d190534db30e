"""Devices as the server knows them before any rule runs: certificates, who may be enrolled, and enrolment codes.

Pure: time and randomness are passed in. A certificate is a claim by the installation's key, made once and then kept as
text, because the hash of that text is where the device's chain begins.
"""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar, Final

from sync.engine.receipts import CERTIFICATE_SECONDS
from sync.kernel.errors import TallystickError
from sync.kernel.ids import derived_id
from sync.kernel.receipts import receipt_prefix

ENROLMENT_MINUTES = 15
CODE_RANDOM_BYTES = 10
_CODE_LETTERS = 16
_GROUP = 4

# Crockford's base 32, https://www.crockford.com/base32.html: no I, L, O, U; what people type for 1 and 0 is read.
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS = str.maketrans({"I": "1", "L": "1", "O": "0", "-": None, " ": None})

_NEEDS: Final = {
    "driver": ("user",),
    "warehouse_staff": ("warehouse",),
    "counter_clerk": (),
    "school_office": ("school",),
}


class EnrolmentRefused(TallystickError):
    """The enrolment code is wrong, used up or expired; ask an admin for a new one."""

    code: ClassVar[str] = "enrolment_refused"


class KeyAlreadyUsed(TallystickError):
    """This key pair belongs to another device; make a new key pair and enrol again."""

    code: ClassVar[str] = "key_already_used"


class NotEnrolable(TallystickError):
    """A device cannot be enrolled like this."""

    code: ClassVar[str] = "not_enrolable"


def server_device_id(town_id: str) -> str:
    """The id of the device in whose name the server itself writes to a town."""
    return derived_id("server_device", town_id)


def check_enrolable(role: str, user_id: str | None, warehouse_id: str | None, school_id: str | None = None) -> None:
    """Raise `NotEnrolable` unless a device of this role is given to the user, warehouse or school that it needs."""
    if role not in _NEEDS:
        raise NotEnrolable(f"a device is enrolled as one of {', '.join(sorted(_NEEDS))}")
    given = {"user": user_id, "warehouse": warehouse_id, "school": school_id}
    for needed in _NEEDS[role]:
        if given[needed] is None:
            raise NotEnrolable(f"a {role} device needs a {needed}: name the {needed} it is for")


def certificate_claims(
    *, town_id: str, device_id: str, role: str, user_id: str | None, public_key: str, now_seconds: int
) -> dict[str, Any]:
    """What the certificate of an enrolled device says; RFC 7519 has the short names."""
    return {
        **_claims(town_id, device_id, role, public_key),
        "user": user_id,
        "iat": now_seconds,
        "nbf": now_seconds,
        "exp": now_seconds + CERTIFICATE_SECONDS,
    }


def server_certificate_claims(town_id: str, public_key: str) -> dict[str, Any]:
    """What the certificate of a town's server device says; no time in it, so that making it again gives the same."""
    return _claims(town_id, server_device_id(town_id), "server", public_key)


def write_code(random: bytes) -> str:
    """10 random bytes as an enrolment code of 80 bits: `K7Q2-M4XB-09TR-5WZD`."""
    assert len(random) == CODE_RANDOM_BYTES, len(random)
    letters = _written(int.from_bytes(random), _CODE_LETTERS)
    return "-".join(letters[at : at + _GROUP] for at in range(0, _CODE_LETTERS, _GROUP))


def hash_code(code: str) -> bytes:
    """The hash under which a code is kept, however it was typed. Raises `EnrolmentRefused` for what is no code."""
    letters = code.upper().translate(_READ_AS)
    if len(letters) != _CODE_LETTERS or not set(letters) <= set(_ALPHABET):
        raise EnrolmentRefused
    return hashlib.sha256(letters.encode()).digest()


def _claims(town_id: str, device_id: str, role: str, public_key: str) -> dict[str, Any]:
    return {
        "sub": device_id,
        "town": town_id,
        "role": role,
        "key": public_key,
        "prefix": receipt_prefix(device_id),
    }


def _written(number: int, letters: int) -> str:
    return "".join(_ALPHABET[(number >> (5 * place)) & 31] for place in reversed(range(letters)))
