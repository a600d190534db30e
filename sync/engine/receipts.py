"""Receipts: a code that fits on a slip of 80 mm and says by itself who took how much money, where in which chain.

A code holds the device's certificate in compact form and what the device has signed: number, place and hash of the
line, time, sums. Whoever has the installation's public key can check it without a network. Of the certificate only its
values and the server's signature travel; the text that was signed is made of them again, byte by byte.

What a code cannot say: whether the payment was voided or paid back since. The server is asked for that.

Layout (version 1): version, certificate (`_write_certificate`), number, place, hash, time in milliseconds, sums,
signature. How they become letters is in `sync.engine.receipt_bytes`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sync.engine.chain import (
    HASH_BYTES,
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    decode_bytes,
    encode_bytes,
    parse_public_key,
)
from sync.engine.receipt_bytes import (
    TIME_BYTES,
    Reader,
    ReceiptUnreadable,
    currency_bytes,
    from_letters,
    id_bytes,
    to_letters,
    whole,
)
from sync.kernel.errors import Malformed, TallystickError
from sync.kernel.money import to_amount
from sync.kernel.receipts import receipt_label, receipt_prefix

CERTIFICATE_TYPE: Final = "tallystick-device+jwt"
"""The `typ` of a certificate's JWS header: no other token of the server can be mistaken for one."""

CERTIFICATE_SECONDS: Final = 10 * 365 * 24 * 3600
"""How long a certificate speaks for a device; a lost device is revoked, it does not wait for this."""

SUMS_MAX: Final = 100
"""Currencies on one receipt: one for each operation that a change set may have."""

ROLES: Final = ("driver", "warehouse_staff", "counter_clerk", "school_office", "dispatcher", "admin")
"""What a device may be enrolled as, by the number in a code. Only ever added to."""

CERTIFICATES_KEPT: Final = 16
"""Certificates of devices whose compact form a process remembers; a device has one."""

_VERSION = 1
_KID_BYTES, _SECONDS_BYTES = 8, 4
_HAS_USER = 0x80
_IN_URL = re.compile(r"^HTTPS?://[^/]+/(?:[^/]+/)*", re.IGNORECASE)


class ReceiptKeyUnknown(TallystickError):
    """The receipt is of an installation whose key is not known here."""

    code = "receipt_key_unknown"


class ReceiptForeign(TallystickError):
    """The receipt is genuine, and of another town."""

    code = "receipt_foreign"


class ReceiptForged(TallystickError):
    """The device on the receipt was never certified by the installation that it names: it is forged."""

    code = "receipt_forged"


class ReceiptAltered(TallystickError):
    """What the receipt says is not what its device has signed: it was altered."""

    code = "receipt_altered"


class ReceiptReused(TallystickError):
    """The number of this receipt was given out twice by its device: for two different acts."""

    code = "receipt_reused"


class CertificateUnfit(Malformed):
    """The device's certificate is not of the kind that fits into a receipt; its receipts have a number and no code."""

    code = "certificate_unfit"


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What a receipt says: `number` counts the device's receipts, `seq` and `hash` are the line's place and hash.

    `at` is the device's own time; `sums` are what was taken, by currency in minor units.
    """

    town_id: str
    device_id: str
    user_id: str | None
    role: str
    number: int
    seq: int
    hash: str
    at: str
    sums: tuple[tuple[str, int], ...]
    kid: str

    @property
    def label(self) -> str:
        """The number as it is printed: `K7Q2M4-000017`."""
        return receipt_label(self.device_id, self.number)

    @property
    def amounts(self) -> tuple[str, ...]:
        """`("12.50 GBP",)`."""
        return tuple(f"{to_amount(minor, currency)} {currency}" for currency, minor in self.sums)


def issue(
    certificate: str,
    key: Ed25519PrivateKey,
    *,
    number: int,
    seq: int,
    digest: bytes,
    at_ms: int,
    sums: Mapping[str, int],
) -> str:
    """The code of one receipt, signed with the device's key; the same input gives the same code.

    `digest` is the hash of the line at `seq`, `sums` what was taken by currency in minor units, 1 to `SUMS_MAX` of
    them. Raises `CertificateUnfit`.
    """
    assert 1 <= len(sums) <= SUMS_MAX, len(sums)
    said = bytes([_VERSION]) + _write_certificate(certificate) + whole(number) + whole(seq) + digest
    said += at_ms.to_bytes(TIME_BYTES) + bytes([len(sums)])
    for currency, minor in sorted(sums.items()):
        said += currency_bytes(currency) + whole(minor)
    return to_letters(said + key.sign(_message(said)))


def verify_receipt(code: str, keys: Iterable[str], town_id: str | None = None) -> Receipt:
    """What a code says, once everything in it holds under one of the installation's public `keys` (base64url).

    `code` may be the URL that a QR code holds. Raises `ReceiptUnreadable`, `ReceiptKeyUnknown` when the key that it
    names is not given, `ReceiptForged`, `ReceiptAltered`, and `ReceiptForeign` when it is not of `town_id`.
    """
    raw = from_letters(_IN_URL.sub("", code.strip()).upper())
    reader = Reader(raw)
    if reader.byte() != _VERSION:
        raise ReceiptUnreadable
    certificate = _read_certificate(reader)
    receipt = _read_said(reader, certificate)
    said, signature = raw[: reader.at], reader.take(SIGNATURE_BYTES)
    reader.end()
    _check(certificate, keys)
    try:
        parse_public_key(encode_bytes(certificate.key)).verify(signature, _message(said))
    except (InvalidSignature, Malformed):
        raise ReceiptAltered from None
    if town_id is not None and receipt.town_id != town_id:
        raise ReceiptForeign
    return receipt


def check_numbers(receipts: Iterable[Receipt]) -> None:
    """Raise `ReceiptReused` when two of these have one number and are of different places in the device's chain."""
    places: dict[tuple[str, int], tuple[int, str]] = {}
    for receipt in receipts:
        place = (receipt.seq, receipt.hash)
        if places.setdefault((receipt.device_id, receipt.number), place) != place:
            raise ReceiptReused(f"the number {receipt.label} was given out for two different acts")


def key_id(public_key: str) -> str:
    """What names a key of the server: the first 16 hexadecimal digits of the SHA-256 of its raw bytes."""
    return hashlib.sha256(decode_bytes(public_key, PUBLIC_KEY_BYTES)).hexdigest()[: 2 * _KID_BYTES]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Certificate:
    kid: str
    town_id: str
    device_id: str
    key: bytes
    role: str
    user_id: str | None
    issued_seconds: int
    signature: bytes

    def signed_text(self) -> bytes:
        """The header and claims of the JWS as the server has signed them; their order is part of the agreement."""
        header = {"alg": "EdDSA", "kid": self.kid, "typ": CERTIFICATE_TYPE}
        claims = {
            "sub": self.device_id,
            "town": self.town_id,
            "role": self.role,
            "key": encode_bytes(self.key),
            "prefix": receipt_prefix(self.device_id),
            "user": self.user_id,
            "iat": self.issued_seconds,
            "nbf": self.issued_seconds,
            "exp": self.issued_seconds + CERTIFICATE_SECONDS,
        }
        return b".".join(encode_bytes(_json(part)).encode() for part in (header, claims))


def _message(said: bytes) -> bytes:
    return b"tallystick/receipt/1\n" + said


def _check(certificate: _Certificate, keys: Iterable[str]) -> None:
    by = next((key for key in keys if key_id(key) == certificate.kid), None)
    if by is None:
        raise ReceiptKeyUnknown
    try:
        parse_public_key(by).verify(certificate.signature, certificate.signed_text())
    except InvalidSignature:
        raise ReceiptForged from None


@lru_cache(maxsize=CERTIFICATES_KEPT)
def _write_certificate(text: str) -> bytes:
    """The values of a certificate, once the whole text can be made of them again."""
    try:
        head, claims_part, signature = text.split(".")
        header, claims = _unjson(head), _unjson(claims_part)
        certificate = _Certificate(
            kid=header["kid"],
            town_id=claims["town"],
            device_id=claims["sub"],
            key=decode_bytes(claims["key"], PUBLIC_KEY_BYTES),
            role=claims["role"],
            user_id=claims["user"],
            issued_seconds=claims["iat"],
            signature=decode_bytes(signature, SIGNATURE_BYTES),
        )
        if certificate.signed_text() != f"{head}.{claims_part}".encode():
            raise CertificateUnfit
        user_id = certificate.user_id
        return b"".join(
            (
                bytes.fromhex(certificate.kid),
                id_bytes(certificate.town_id),
                id_bytes(certificate.device_id),
                certificate.key,
                bytes([ROLES.index(certificate.role) | (_HAS_USER if user_id else 0)]),
                id_bytes(user_id) if user_id else b"",
                certificate.issued_seconds.to_bytes(_SECONDS_BYTES),
                certificate.signature,
            )
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, Malformed):
        raise CertificateUnfit from None


def _read_certificate(reader: Reader) -> _Certificate:
    kid, town_id, device_id = reader.take(_KID_BYTES).hex(), reader.id(), reader.id()
    key, marks = reader.take(PUBLIC_KEY_BYTES), reader.byte()
    role = marks & ~_HAS_USER
    if role >= len(ROLES):
        raise ReceiptUnreadable("the receipt is of a newer version of the app")
    return _Certificate(
        kid=kid,
        town_id=town_id,
        device_id=device_id,
        key=key,
        role=ROLES[role],
        user_id=reader.id() if marks & _HAS_USER else None,
        issued_seconds=int.from_bytes(reader.take(_SECONDS_BYTES)),
        signature=reader.take(SIGNATURE_BYTES),
    )


def _read_said(reader: Reader, certificate: _Certificate) -> Receipt:
    number, seq, digest = reader.whole(), reader.whole(), reader.take(HASH_BYTES)
    at = reader.time()
    count = reader.byte()
    if not 1 <= count <= SUMS_MAX:
        raise ReceiptUnreadable
    return Receipt(
        town_id=certificate.town_id,
        device_id=certificate.device_id,
        user_id=certificate.user_id,
        role=certificate.role,
        number=number,
        seq=seq,
        hash=encode_bytes(digest),
        at=at,
        sums=tuple((reader.currency(), reader.whole()) for _ in range(count)),
        kid=certificate.kid,
    )


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _unjson(part: str) -> Any:
    try:
        return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except binascii.Error:
        raise CertificateUnfit from None
