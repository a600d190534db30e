"""The installation's signing key: Ed25519, in a PKCS #8 PEM file that only its owner may read.

A missing file is made only where the operator did not name one: a wrong path must not give the installation a second
identity that no device knows. Tokens and certificates are compact JWS (RFC 7515) with EdDSA (RFC 8037).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from sync.engine.chain import encode_bytes, sign
from sync.kernel.errors import TallystickError

KID_LETTERS = 16
SECRET_BYTES = 32


class ServerKeyUnusable(TallystickError):
    """The server's signing key cannot be read."""

    code: ClassVar[str] = "server_key_unusable"


class KeySigner:
    """The `Signer` port over a private key in memory."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        raw = key.public_key().public_bytes_raw()
        self._key = key
        self._public_key = encode_bytes(raw)
        self._kid = hashlib.sha256(raw).hexdigest()[:KID_LETTERS]

    @property
    def kid(self) -> str:
        """Names the key: the first 16 hexadecimal digits of the SHA-256 of the raw public key."""
        return self._kid

    @property
    def public_key(self) -> str:
        """Raw Ed25519 public key in base64url."""
        return self._public_key

    def sign(self, message: bytes) -> str:
        """An Ed25519 signature in base64url."""
        return sign(self._key, message)

    def jws(self, claims: Mapping[str, Any], kind: str) -> str:
        """A compact JWS of the claims; the same claims give the same text."""
        return jwt.encode(dict(claims), self._key, algorithm="EdDSA", headers={"typ": kind, "kid": self._kid})

    def secret_for(self, purpose: str) -> bytes:
        """32 secret bytes that only this key gives, others for each purpose (HKDF, RFC 5869)."""
        made_of = HKDF(algorithm=SHA256(), length=SECRET_BYTES, salt=None, info=f"tallystick {purpose}".encode())
        return made_of.derive(self._key.private_bytes_raw())


def open_signer(path: Path, *, may_create: bool) -> KeySigner:
    """The signer with the key at `path`; with `may_create` a missing file is made. Raises `ServerKeyUnusable`."""
    try:
        if may_create and not path.exists():
            _create(path)
        key = load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        raise ServerKeyUnusable(f"there is no signing key at {path}: put it there, it cannot be made anew") from None
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as fault:
        raise ServerKeyUnusable(f"the signing key at {path} cannot be read ({type(fault).__name__})") from fault
    if not isinstance(key, Ed25519PrivateKey):
        raise ServerKeyUnusable(f"the key at {path} is not an Ed25519 key")
    return KeySigner(key)


def _create(path: Path) -> None:
    """Make a key whole or not at all; of several processes that start at once, one key wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    descriptor, draft = tempfile.mkstemp(prefix=path.name, dir=path.parent)  # 0600, and a name of its own
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # unlike a rename, a link never replaces the key of a faster process
    finally:
        Path(draft).unlink()
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
