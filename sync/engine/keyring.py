"""The server's keys over time: each is endorsed by the one before, so who trusts one of them can follow to the newest.

A key is published with its sealing key, its own signature over both, and the endorsement of the key before it. A device
pins what it was given at enrolment and adds to it only what a key that it trusts already has endorsed; it forgets none,
because what an old key has signed stays true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sync.engine.chain import is_signed, parse_public_key
from sync.kernel.errors import Malformed
from sync.protocol.messages import ServerKey


class KeyForged(Malformed):
    """The server's keys are not a chain from one that this device trusts; nothing was taken. Tell an admin."""

    code = "key_forged"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trusted:
    """The signing keys that a device trusts, by key id, and the sealing key of the newest."""

    keys: Mapping[str, str]
    sealing_key: str | None


def key_message(kid: str, public_key: str, sealing_key: str) -> bytes:
    """What a key signs about itself, and the key before it as endorsement."""
    return f"tallystick/server-key/1\n{kid}\n{public_key}\n{sealing_key}".encode()


def follow(trusted: Mapping[str, str], published: Sequence[ServerKey]) -> Trusted:
    """What to trust after hearing the `published` keys, oldest first.

    Keys older than any trusted one are passed over. Raises `KeyForged` when a key that comes after a trusted one is not
    endorsed by a trusted one, when a key id is another key than before, and when none leads to the newest.
    """
    keys = dict(trusted)
    for key in published:
        if key.kid in keys and keys[key.kid] != key.public_key:
            raise KeyForged
        if _is_endorsed(key, keys):
            keys[key.kid] = key.public_key
    newest = published[-1] if published else None
    if newest is None or newest.kid not in keys:
        raise KeyForged
    return Trusted(keys=keys, sealing_key=sealing_key_of(newest))


def sealing_key_of(key: ServerKey) -> str | None:
    """The sealing key that goes with a trusted key, if it says one; raise `KeyForged` when it has not signed it."""
    if key.sealing_key is None:
        return None
    if not _signed_by(key.public_key, key.sig, key):
        raise KeyForged
    return key.sealing_key


def _is_endorsed(key: ServerKey, trusted: Mapping[str, str]) -> bool:
    if key.kid in trusted:
        return True
    by = trusted.get(key.endorsed_by or "")
    return by is not None and _signed_by(by, key.endorsement, key) and _signed_by(key.public_key, key.sig, key)


def _signed_by(public_key: str, signature: str | None, key: ServerKey) -> bool:
    if signature is None or key.sealing_key is None:
        return False
    try:
        signer = parse_public_key(public_key)
    except Malformed:
        return False
    return is_signed(signer, signature, key_message(key.kid, key.public_key, key.sealing_key))
