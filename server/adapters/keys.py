"""The installation's keys: Ed25519, in a file of PKCS #8 PEM blocks that only its owner may read, the newest first.

The first block signs. Those behind it have signed before: what they have signed stays good, what was sealed under them
opens, and they vouch for the ones after them. Every key brings an X25519 key of its own to which devices seal.

A missing file is made only where the operator did not name one: a wrong path must not give the installation a second
identity that no device knows. Tokens and certificates are compact JWS (RFC 7515) with EdDSA (RFC 8037).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from sync.engine.chain import encode_bytes, sign
from sync.engine.keyring import key_message
from sync.engine.sealing import SealUnreadable, open_sealed, recipient_of
from sync.kernel.errors import TallystickError
from sync.protocol import limits
from sync.protocol.messages import ServerKey

KID_LETTERS = 16
SECRET_BYTES = 32
SEALING = "sealing to the server"
_BLOCK = re.compile(rb"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----\n?", re.DOTALL)


class ServerKeyUnusable(TallystickError):
    """The server's signing key cannot be read."""

    code: ClassVar[str] = "server_key_unusable"


class KeySigner:
    """The `Signer` port over private keys in memory: `key` signs, `older` have signed before, newest first."""

    def __init__(self, key: Ed25519PrivateKey, older: Sequence[Ed25519PrivateKey] = ()) -> None:
        self._ring = [_RingKey(one) for one in (key, *older)]

    @property
    def kid(self) -> str:
        """Names the key: the first 16 hexadecimal digits of the SHA-256 of the raw public key."""
        return self._ring[0].kid

    @property
    def public_key(self) -> str:
        """Raw Ed25519 public key in base64url."""
        return self._ring[0].public_key

    @property
    def older_keys(self) -> tuple[str, ...]:
        """The raw public keys that have signed before, in base64url."""
        return tuple(one.public_key for one in self._ring[1:])

    @cached_property
    def published(self) -> tuple[ServerKey, ...]:
        """Every key, oldest first, each with the endorsement of the one before it."""
        oldest_first = self._ring[::-1]
        befores = [None, *oldest_first[:-1]]
        return tuple(one.publish(before) for before, one in zip(befores, oldest_first, strict=True))

    def sign(self, message: bytes) -> str:
        """An Ed25519 signature in base64url."""
        return sign(self._ring[0].key, message)

    def jws(self, claims: Mapping[str, Any], kind: str) -> str:
        """A compact JWS of the claims; the same claims give the same text."""
        return jwt.encode(dict(claims), self._ring[0].key, algorithm="EdDSA", headers={"typ": kind, "kid": self.kid})

    def secrets_for(self, purpose: str) -> dict[str, bytes]:
        """32 secret bytes by key id, which only that key gives, others for each purpose; the signing key's first."""
        return {one.kid: one.secret_for(purpose) for one in self._ring}

    def open_sealed(self, sealed: bytes, purpose: str) -> bytes:
        """What was sealed to any of these keys. Raises `SealUnreadable`."""
        recipient = recipient_of(sealed)
        for one in self._ring:
            if one.sealing_public == recipient:
                return open_sealed(sealed, one.sealing, purpose=purpose)
        raise SealUnreadable("this was sealed for another installation, or under a key that this one does not have")


class _RingKey:
    """One key of the ring, and what is made of it."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        raw = key.public_key().public_bytes_raw()
        self.key = key
        self.public_key = encode_bytes(raw)
        self.kid = hashlib.sha256(raw).hexdigest()[:KID_LETTERS]

    @cached_property
    def sealing(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self.secret_for(SEALING))

    @cached_property
    def sealing_public(self) -> str:
        return encode_bytes(self.sealing.public_key().public_bytes_raw())

    def secret_for(self, purpose: str) -> bytes:
        """HKDF, RFC 5869."""
        made_of = HKDF(algorithm=SHA256(), length=SECRET_BYTES, salt=None, info=f"tallystick {purpose}".encode())
        return made_of.derive(self.key.private_bytes_raw())

    def publish(self, before: _RingKey | None) -> ServerKey:
        message = key_message(self.kid, self.public_key, self.sealing_public)
        return ServerKey(
            kid=self.kid,
            public_key=self.public_key,
            sealing_key=self.sealing_public,
            sig=sign(self.key, message),
            endorsed_by=before.kid if before else None,
            endorsement=sign(before.key, message) if before else None,
        )


def open_signer(path: Path, *, may_create: bool) -> KeySigner:
    """The signer with the keys at `path`; with `may_create` a missing file is made. Raises `ServerKeyUnusable`."""
    try:
        if may_create and not path.exists():
            _create(path)
        content = path.read_bytes()
        blocks = _BLOCK.findall(content) or [content]
        keys = [load_pem_private_key(block, password=None) for block in blocks]
    except FileNotFoundError:
        raise ServerKeyUnusable(f"there is no signing key at {path}: put it there, it cannot be made anew") from None
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as fault:
        raise ServerKeyUnusable(f"the signing key at {path} cannot be read ({type(fault).__name__})") from fault
    ours = [key for key in keys if isinstance(key, Ed25519PrivateKey)]
    if len(ours) != len(keys):
        raise ServerKeyUnusable(f"the key at {path} is not an Ed25519 key")
    return KeySigner(ours[0], ours[1:])


def rotate(path: Path) -> KeySigner:
    """Put a new signing key before those at `path`, whole or not at all, and give the signer that it makes.

    Raises `ServerKeyUnusable`, also when the file cannot be written or holds `SERVER_KEYS_MAX` keys.
    """
    ring = open_signer(path, may_create=False)
    if len(ring.published) >= limits.SERVER_KEYS_MAX:
        raise ServerKeyUnusable(f"the file {path} holds {limits.SERVER_KEYS_MAX} keys, and takes no more")
    try:
        _draft(path, _new_pem() + path.read_bytes()).replace(path)
        _sync_folder(path.parent)
    except OSError as fault:
        raise ServerKeyUnusable(f"the new key cannot be written to {path}: {fault.strerror}") from fault
    return open_signer(path, may_create=False)


def _new_pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _create(path: Path) -> None:
    """Make a key whole or not at all; of several processes that start at once, one key wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(path, _new_pem())
    try:
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # unlike a rename, a link never replaces the key of a faster process
    finally:
        draft.unlink()
    _sync_folder(path.parent)


def _draft(path: Path, content: bytes) -> Path:
    """A file beside `path`, of mode 0600 and on the disk."""
    descriptor, draft = tempfile.mkstemp(prefix=path.name, dir=path.parent)  # 0600, and a name of its own
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        Path(draft).unlink()
        raise
    return Path(draft)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
