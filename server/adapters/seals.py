"""Small secrets, sealed before they go into the database: ChaCha20-Poly1305 under a key made from the server's own.

Whoever has the database and not the key file has none of them.
"""

from __future__ import annotations

from typing import ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from server.adapters.keys import KeySigner
from server.application.ports import System
from sync.kernel.errors import TallystickError

PURPOSE = "second factor"
_NONCE_BYTES = 12


class SealBroken(TallystickError):
    """A sealed secret does not open: it was made under another server key, or it was changed."""

    code: ClassVar[str] = "seal_broken"


class KeySealer:
    """The `Sealer` port; a sealed secret is the key id, a nonce, and the secret under both and its owner."""

    def __init__(self, signer: KeySigner, system: System) -> None:
        secrets = signer.secrets_for(PURPOSE)
        self._kid = signer.kid.encode()
        self._ciphers = {kid.encode(): ChaCha20Poly1305(secret) for kid, secret in secrets.items()}
        self._system = system

    def seal(self, secret: bytes, owner: str) -> bytes:
        """`secret`, to be opened for this owner only."""
        nonce = self._system.random(_NONCE_BYTES)
        return self._kid + nonce + self._ciphers[self._kid].encrypt(nonce, secret, owner.encode())

    def open(self, sealed: bytes, owner: str) -> bytes:
        """What was sealed, under this server's key of now or an older one. Raises `SealBroken`."""
        size = len(self._kid)
        kid, nonce, rest = sealed[:size], sealed[size : size + _NONCE_BYTES], sealed[size + _NONCE_BYTES :]
        if kid not in self._ciphers:
            raise SealBroken
        try:
            return self._ciphers[kid].decrypt(nonce, rest, owner.encode())
        except (InvalidTag, ValueError):
            raise SealBroken from None
