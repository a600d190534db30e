"""Signatures of a world, each made and checked once: the same again is looked up and not computed anew.

Ed25519 (RFC 8032) is a function: the same key and message give the same signature, and what a key has signed it
verifies. So nothing is skipped that could come out otherwise; what no key of the world has signed is checked as ever.
A seventh of a world's time went into it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.adapters.keys import KeySigner
from sync.engine import chain

_signed: dict[tuple[bytes, bytes], bytes] = {}
"""(raw public key, message) -> the signature, for the length of one world."""


class SigningKey:
    """A private key that signs each message once."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._public = key.public_key()
        self._raw = self._public.public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """The signature."""
        signature = _signed.get((self._raw, message))
        if signature is None:
            signature = _signed[self._raw, message] = self._key.sign(message)
        return signature

    def public_key(self) -> Ed25519PublicKey:
        """What verifies it."""
        return VerifyingKey(self._raw)


def remembering(key: Ed25519PrivateKey) -> Ed25519PrivateKey:
    """The key as one that signs each message once; a copy of a device has such a key already."""
    return key if isinstance(key, SigningKey) else cast("Ed25519PrivateKey", SigningKey(key))


class VerifyingKey(Ed25519PublicKey):
    """A public key that does not verify again what this world has signed with it."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    @classmethod
    def from_public_bytes(cls, raw: bytes) -> Self:
        """As the class that it stands for; every key of a world was made by it, so it is a good one."""
        return cls(raw)

    def verify(self, signature: bytes, message: bytes) -> None:  # type: ignore[override]  # nothing else is given
        """Raise `InvalidSignature` when it does not fit."""
        if _signed.get((self._raw, message)) != signature:
            self._real().verify(signature, message)

    def public_bytes(self, encoding: Encoding, format: PublicFormat) -> bytes:  # noqa: A002  as the class names it
        """As the class."""
        return self._real().public_bytes(encoding, format)

    def public_bytes_raw(self) -> bytes:
        """As the class."""
        return self._raw

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ed25519PublicKey) and other.public_bytes_raw() == self._raw

    def __hash__(self) -> int:
        return hash(self._raw)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self

    def _real(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(self._raw)


class WorldSigner(KeySigner):
    """The server's signer."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        super().__init__(key)
        self._signing = SigningKey(key)

    def sign(self, message: bytes) -> str:
        """In base64url."""
        return chain.encode_bytes(self._signing.sign(message))


@contextmanager
def remembered() -> Iterator[None]:
    """For the length of one world, keys that are read are such keys."""
    module: Any = chain
    real = module.Ed25519PublicKey
    _signed.clear()
    module.Ed25519PublicKey = VerifyingKey
    try:
        yield
    finally:
        module.Ed25519PublicKey = real
