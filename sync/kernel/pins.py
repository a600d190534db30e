"""PINs: Argon2id hashes as PHC strings, made where a user is added and verified offline on every device.

Parameters: OWASP Password Storage Cheat Sheet, second choice (19 MiB, two passes, one lane), because a PIN is checked
on small devices too. The salt is given by the caller. A PIN hash only slows a thief of the file down, who is held
by the encryption of the replica first.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

SALT_BYTES = 16
_HASH_BYTES = 32
_MEMORY_KIB = 19456
_PASSES = 2
_LANES = 1


def hash_pin(pin: str, salt: bytes) -> str:
    """`$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>` of `pin` with 16 random bytes of salt."""
    assert len(salt) == SALT_BYTES, len(salt)
    hasher = Argon2id(salt=salt, length=_HASH_BYTES, iterations=_PASSES, lanes=_LANES, memory_cost=_MEMORY_KIB)
    return hasher.derive_phc_encoded(pin.encode())


def verify_pin(pin: str, phc: str) -> bool:
    """Whether `pin` is the one behind `phc`; False for a string that is no such hash or asks for other costs."""
    if not phc.startswith(f"$argon2id$v=19$m={_MEMORY_KIB},t={_PASSES},p={_LANES}$"):
        return False
    try:
        Argon2id.verify_phc_encoded(pin.encode(), phc)
    except (InvalidKey, ValueError):
        return False
    return True
