"""Passwords: what counts as one, and Argon2id hashes of them as PHC strings.

Costs a core for some tens of milliseconds and 19 MiB: call it in a thread. Parameters: OWASP Password Storage Cheat
Sheet (19 MiB, one lane), with three passes where two would do.
"""

from __future__ import annotations

import unicodedata
from typing import ClassVar, Final

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from sync.kernel.errors import TallystickError

PASSWORD_CHARACTERS_MIN = 12
PASSWORD_CHARACTERS_MAX = 200
SALT_BYTES = 16
_HASH_BYTES = 32
_MEMORY_KIB = 19456
_PASSES = 3
_LANES = 1

NOBODYS_HASH: Final = "$argon2id$v=19$m=19456,t=3,p=1$" + "A" * 22 + "$" + "A" * 43
"""What the password of nobody is compared with, so that an unknown e-mail costs what a known one does."""


class PasswordUnusable(TallystickError):
    """A password has 12 to 200 characters and is not the e-mail address."""

    code: ClassVar[str] = "password_unusable"


def check_password(password: str, email: str) -> None:
    """Raise `PasswordUnusable` for what is no password."""
    if not PASSWORD_CHARACTERS_MIN <= len(password) <= PASSWORD_CHARACTERS_MAX or _bytes(password) == _bytes(email):
        raise PasswordUnusable


def hash_password(password: str, salt: bytes) -> str:
    """`$argon2id$v=19$m=19456,t=3,p=1$<salt>$<hash>` of `password` with 16 random bytes of salt."""
    assert len(salt) == SALT_BYTES, len(salt)
    hasher = Argon2id(salt=salt, length=_HASH_BYTES, iterations=_PASSES, lanes=_LANES, memory_cost=_MEMORY_KIB)
    return hasher.derive_phc_encoded(_bytes(password))


def is_password(password: str, phc: str) -> bool:
    """Whether `password` is the one behind `phc`."""
    try:
        Argon2id.verify_phc_encoded(_bytes(password), phc)
    except InvalidKey:
        return False
    return True


def _bytes(text: str) -> bytes:
    # The same letters may be typed as different code points: NFKC, as NIST SP 800-63B asks for.
    return unicodedata.normalize("NFKC", text).encode()
