"""How a customer finds an order again without an account: a code that only this server can make, and a number to say.

A code is the order's id and 128 bits of a keyed hash over town and order, so nothing has to be stored for it and a
guess is as good as none. Whoever has the code may follow the order; a number opens nothing. Source: RFC 2104.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Final

from server.domain.access import NotFound
from sync.kernel.errors import Malformed
from sync.kernel.ids import parse_id

PURPOSE: Final = "tracking codes"
"""What the secrets are made for, from the server's keys."""

PROOF_BYTES: Final = 16
_ID_BYTES = 16
_CODE = re.compile(r"[A-Za-z0-9_-]{43}")
_NUMBER_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: none looks like another
_NUMBER_LENGTH = 10


def tracking_code(secret: bytes, town_id: str, order_id: str) -> str:
    """43 letters that open this order of this town to whoever shows them."""
    raw = bytes.fromhex(order_id.replace("-", ""))
    proof = hmac.digest(secret, f"{town_id} {order_id}".encode(), hashlib.sha256)[:PROOF_BYTES]
    return base64.urlsafe_b64encode(raw + proof).rstrip(b"=").decode()


def tracked_order(secrets: Sequence[bytes], town_id: str, code: str) -> str:
    """The id of the order that a code opens, made with any of the secrets; raises `NotFound` for any other text."""
    if not _CODE.fullmatch(code):
        raise NotFound
    digits = base64.urlsafe_b64decode(code + "=")[:_ID_BYTES].hex()
    try:
        order_id = parse_id("-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])))
    except Malformed:
        raise NotFound from None
    good = (tracking_code(secret, town_id, order_id) for secret in secrets)
    if not any(hmac.compare_digest(code, one) for one in good):
        raise NotFound
    return order_id


def order_number(order_id: str) -> str:
    """A number that can be said on the telephone, the same for the same order: 50 bits of a hash of its id."""
    digest = int.from_bytes(hashlib.sha256(order_id.encode()).digest())
    letters = [_NUMBER_LETTERS[digest >> 5 * place & 31] for place in range(_NUMBER_LENGTH)]
    return f"W-{''.join(letters[:5])}-{''.join(letters[5:])}"
