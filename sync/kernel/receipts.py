"""The numbers of receipts, as people read them: the prefix of a device, a hyphen, and the device's own counter."""

from __future__ import annotations

import hashlib

PREFIX_LETTERS = 6
NUMBER_DIGITS = 6

# Crockford's base 32, https://www.crockford.com/base32.html: no I, L, O, U.
_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def receipt_prefix(device_id: str) -> str:
    """What the receipts of this device begin with: letters that a person can read out, the same for ever."""
    number = int.from_bytes(hashlib.sha256(device_id.encode()).digest()[:8])
    return "".join(_LETTERS[(number >> (5 * place)) & 31] for place in reversed(range(PREFIX_LETTERS)))


def receipt_label(device_id: str, number: int) -> str:
    """`K7Q2M4-000017`; a counter beyond its digits just takes more of them."""
    return f"{receipt_prefix(device_id)}-{number:0{NUMBER_DIGITS}}"
