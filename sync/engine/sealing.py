"""Sealing for the server: a device makes what only the holder of the server's sealing key can read, with no network.

An ephemeral X25519 key (RFC 7748) with the recipient's gives a secret, HKDF-SHA256 (RFC 5869) makes of it the key of
one ChaCha20-Poly1305 box (RFC 8439). That key seals once, so its nonce is zero. Purpose, recipient and ephemeral key
are bound into both. Sealing says nothing about who sealed: what is inside is signed by itself.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sync.engine.chain import decode_bytes, encode_bytes
from sync.kernel.errors import Malformed

KEY_BYTES = 32
_MARK = b"tallystick/sealed/1\n"
_HEAD_BYTES = len(_MARK) + 2 * KEY_BYTES
_NONCE = bytes(12)


class SealUnreadable(Malformed):
    """This was not sealed for this installation, or it was changed or cut since."""

    code = "seal_unreadable"


def seal(plain: bytes, recipient: str, *, purpose: str, ephemeral: bytes) -> bytes:
    """`plain` for the holder of the X25519 public key `recipient` (base64url); `ephemeral` are 32 fresh random bytes.

    Raises `Malformed` for a recipient that is no key.
    """
    theirs = decode_bytes(recipient, KEY_BYTES)
    ours = X25519PrivateKey.from_private_bytes(ephemeral)
    head = _MARK + theirs + ours.public_key().public_bytes_raw()
    try:
        secret = ours.exchange(X25519PublicKey.from_public_bytes(theirs))
    except ValueError:  # a point of small order
        raise Malformed("the sealing key is none") from None
    return head + _cipher(secret, head, purpose).encrypt(_NONCE, plain, head)


def recipient_of(sealed: bytes) -> str:
    """The public sealing key that this was made for. Raises `SealUnreadable` for what was never sealed."""
    if len(sealed) < _HEAD_BYTES or not sealed.startswith(_MARK):
        raise SealUnreadable
    return encode_bytes(sealed[len(_MARK) : len(_MARK) + KEY_BYTES])


def open_sealed(sealed: bytes, key: X25519PrivateKey, *, purpose: str) -> bytes:
    """What was sealed for `key` and this purpose. Raises `SealUnreadable`."""
    recipient_of(sealed)
    head, box = sealed[:_HEAD_BYTES], sealed[_HEAD_BYTES:]
    try:
        secret = key.exchange(X25519PublicKey.from_public_bytes(head[-KEY_BYTES:]))
        return _cipher(secret, head, purpose).decrypt(_NONCE, box, head)
    except (InvalidTag, ValueError):
        raise SealUnreadable from None


def _cipher(secret: bytes, head: bytes, purpose: str) -> ChaCha20Poly1305:
    derived = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=head + purpose.encode())
    return ChaCha20Poly1305(derived.derive(secret))
