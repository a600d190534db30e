"""What an auditor knows without a server: which keys follow from a published one, certificates, and running totals."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any

import orjson

from sync.engine.chain import decode_bytes, is_signed, parse_public_key
from sync.engine.keyring import KeyForged, follow, sealing_key_of
from sync.engine.leases import MONEY
from sync.kernel.errors import Malformed
from sync.protocol.messages import ServerKey

_KEY_BYTES = 32
_KID_LETTERS = 16
Sums = Mapping[tuple[str, str], Decimal]
"""Money by (currency, "in" or "out")."""


def ring_of(keys: Sequence[ServerKey], trusted: str | None) -> Mapping[str, str]:
    """The public keys by id, oldest first, when each is endorsed by the one before and `trusted` is one of them.

    A key older than the trusted one is vouched for by nobody but itself. That suffices for a journal whose end a later
    one has signed: the end covers everything before it. Raises `KeyForged`.
    """
    if trusted is not None and trusted not in {key.public_key for key in keys}:
        raise KeyForged
    for key in keys:
        if key.kid != hashlib.sha256(decode_bytes(key.public_key, _KEY_BYTES)).hexdigest()[:_KID_LETTERS]:
            raise KeyForged
        sealing_key_of(key)
    for before, key in pairwise(keys):
        follow({before.kid: before.public_key}, [key])
    return {key.kid: key.public_key for key in keys}


def read_certificate(certificate: str, keys: Mapping[str, str]) -> Mapping[str, Any] | None:
    """The claims of a certificate (a compact JWS, RFC 7515), None when none of these keys has signed it."""
    signed, _, signature = certificate.rpartition(".")
    try:
        header, claims = (orjson.loads(_unpadded(part)) for part in signed.split("."))
        key = parse_public_key(keys[header["kid"]])
    except (ValueError, KeyError, TypeError, Malformed):
        return None
    is_good = header.get("alg") == "EdDSA" and is_signed(key, signature, signed.encode())
    return claims if is_good and isinstance(claims, dict) else None


class Amounts:
    """The running totals of one device: each line says what they are once it is done."""

    def __init__(self) -> None:
        self._sums: Sums | None = {}

    def lose_count(self) -> None:
        """A line is missing: the next totals are believed."""
        self._sums = None

    def take(self, line: Mapping[str, Any], *, is_read: bool) -> str:
        """What is wrong with the totals of the next line, or nothing.

        A line that the server could not read may have moved money that nobody can tell: then the next totals are
        believed.
        """
        before = self._sums
        try:
            said, moved = dict(_said(line)), dict(_moved(line))
        except (InvalidOperation, ValueError, KeyError, TypeError, AttributeError):
            self._sums = None
            return "its running totals cannot be read" if is_read else ""
        now = None if before is None else _sum(before, moved)
        self._sums = said or (now if is_read else None)
        if not is_read:
            return ""
        if not said or now is None:
            return ""
        wrong = [key for key in sorted(said.keys() | now.keys()) if said.get(key, 0) != now.get(key, 0)]
        told = [
            f"{said.get(key, 0)} {key[0]} {key[1]}, those before and this line give {now.get(key, 0)}" for key in wrong
        ]
        return f"its running totals say {'; '.join(told)}" if told else ""


def _sum(one: Sums, other: Sums) -> Sums:
    return {key: one.get(key, Decimal(0)) + other.get(key, Decimal(0)) for key in one.keys() | other.keys()}


def _said(line: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], Decimal]]:
    for currency, sums in (line.get("totals") or {}).items():
        for way, amount in sums.items():
            yield (str(currency), str(way)), Decimal(amount)


def _moved(line: Mapping[str, Any]) -> Sums:
    moved: dict[tuple[str, str], Decimal] = {}
    for operation in line.get("ops") or ():
        if way := MONEY.get(operation.get("op")):
            key = (operation["currency"], way)
            moved[key] = moved.get(key, Decimal(0)) + Decimal(operation["amount"])
    return moved


def _unpadded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
