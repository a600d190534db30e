"""Ids: canonical lower-case UUIDs, made where the thing is made (v7) or derived from a natural key (v8).

They are plain strings in Python and on the wire, `uuid` in PostgreSQL and TEXT in SQLite. Source: RFC 9562.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Annotated

from pydantic import StringConstraints

from sync.kernel.errors import InvalidId

ID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[78][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
RANDOM_BYTES = 10

DERIVED_KEPT = 16_384
"""Derived ids that are remembered: deciding one change set asks for the same ones over and over."""

Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
"""An id as a field of an operation; add `Ref("entity")` to say what it points to."""

_ID = re.compile(ID_PATTERN)
_VERSION_7 = 0x7000
_VERSION_8 = 0x8
_VARIANT = 0x80


def parse_id(text: str) -> str:
    """Return `text` when it is a canonical id; raise `InvalidId` otherwise."""
    if not _ID.fullmatch(text):
        raise InvalidId
    return text


def make_id(unix_ms: int, random: bytes) -> str:
    """A UUIDv7 of `unix_ms` (48 bits used) and `random` (10 bytes, given by the caller)."""
    head = _VERSION_7 | (int.from_bytes(random[:2]) & 0x0FFF)
    tail = bytes([_VARIANT | (random[2] & 0x3F)]) + random[3:RANDOM_BYTES]
    return _hyphenated((unix_ms & 0xFFFFFFFFFFFF).to_bytes(6) + head.to_bytes(2) + tail)


@lru_cache(maxsize=DERIVED_KEPT, typed=True)
def derived_id(*parts: str | int) -> str:
    """The UUIDv8 of a natural key: the same parts give the same id on every device and on the server."""
    digest = bytearray(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:16])
    digest[6] = (_VERSION_8 << 4) | (digest[6] & 0x0F)
    digest[8] = _VARIANT | (digest[8] & 0x3F)
    return _hyphenated(bytes(digest))


def _hyphenated(raw: bytes) -> str:
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
