"""The replica key: 32 random bytes, sealed in `<replica>.key` by a passphrase, or kept in the platform's keystore.

The key file is written before the replica and never rewritten, so a crash leaves at worst a key without a replica.
Its parameters are read back from it, within limits, so that they can be raised for new replicas.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from client_sdk.errors import KeyMissing, NoKeystore, ReplicaReadOnly, ReplicaWiped, WrongPassphrase
from sync.engine.chain import decode_bytes, encode_bytes
from sync.kernel.errors import Malformed

KEY_BYTES = 32
SALT_BYTES = 16
NONCE_BYTES = 12
_TAG_BYTES = 16
_MEMORY_KIB = 64 * 1024
_MEMORY_KIB_MAX = 1024 * 1024
_PASSES = 3
_PASSES_MAX = 16
_SERVICE = "tallystick"
_SEAL = b"tallystick/replica-key/1"


def key_path(path: Path) -> Path:
    """Where the key of the replica at `path` is kept."""
    return path.with_name(path.name + ".key")


def make_key(path: Path, passphrase: str | None, random: Callable[[int], bytes]) -> bytes:
    """A new replica key, kept durably before it is returned. Raises `NoKeystore`, `ReplicaReadOnly`."""
    key = random(KEY_BYTES)
    if passphrase is None:
        name = encode_bytes(random(SALT_BYTES))
        _keystore(lambda keyring: keyring.set_password(_SERVICE, name, encode_bytes(key)))
        kept: dict[str, Any] = {"v": 1, "keystore": name}
    else:
        salt, nonce = random(SALT_BYTES), random(NONCE_BYTES)
        cost = {"memory_kib": _MEMORY_KIB, "passes": _PASSES, "salt": encode_bytes(salt)}
        sealed = ChaCha20Poly1305(_derive(passphrase, cost)).encrypt(nonce, key, _SEAL)
        kept = {"v": 1, "argon2id": cost, "nonce": encode_bytes(nonce), "sealed": encode_bytes(sealed)}
    try:
        _write_durably(key_path(path), orjson.dumps(kept))
    except OSError as problem:
        raise ReplicaReadOnly(f"the key file cannot be written: {problem.strerror}") from problem
    return key


def read_key(path: Path, passphrase: str | None) -> bytes:
    """The key of the replica at `path`. Raises `KeyMissing`, `NoKeystore`, `ReplicaWiped`, `WrongPassphrase`."""
    try:
        kept = orjson.loads(key_path(path).read_bytes())
        if "wiped" in kept:
            raise ReplicaWiped
        if "keystore" in kept:
            name = str(kept["keystore"])
            text = _keystore(lambda keyring: keyring.get_password(_SERVICE, name))
            if text is None:
                raise KeyMissing("the platform's keystore has lost the replica's key")
            return decode_bytes(text, KEY_BYTES)
        nonce, sealed = decode_bytes(kept["nonce"], NONCE_BYTES), decode_bytes(kept["sealed"], KEY_BYTES + _TAG_BYTES)
        if passphrase is None:
            raise WrongPassphrase("this replica is opened by a passphrase; give it")
        return ChaCha20Poly1305(_derive(passphrase, kept["argon2id"])).decrypt(nonce, sealed, _SEAL)
    except InvalidTag:
        raise WrongPassphrase from None
    except (OSError, KeyError, TypeError, ValueError, AttributeError, Malformed) as problem:
        raise KeyMissing from problem


def erase(path: Path, at: str, reached: Callable[[str], None]) -> None:
    """Destroy the replica at `path`: its key by one atomic step, which leaves a note in its place, and then its file.

    Done again it goes on where it was broken off. Raises `NoKeystore`, `ReplicaReadOnly`.
    """
    reached("wipe.before_key")
    try:
        kept = _kept(path)
        if "wiped" not in kept:
            named = {"keystore": kept["keystore"]} if "keystore" in kept else {}
            _write_durably(key_path(path), orjson.dumps({"v": 1, "wiped": at, **named}))
        if "keystore" in kept:
            _keystore(lambda keyring: _forget(keyring, str(kept["keystore"])))
        reached("wipe.after_key")
        for name in (path.name, path.name + "-wal", path.name + "-shm"):
            path.with_name(name).unlink(missing_ok=True)
    except OSError as problem:
        raise ReplicaReadOnly(f"the replica cannot be removed: {problem.strerror}") from problem


def is_wiped(path: Path) -> bool:
    """Whether the replica at `path` has destroyed its key."""
    return "wiped" in _kept(path)


def _kept(path: Path) -> dict[str, Any]:
    try:
        kept = orjson.loads(key_path(path).read_bytes())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _forget(keyring: Any, name: str) -> None:
    if keyring.get_password(_SERVICE, name) is not None:
        keyring.delete_password(_SERVICE, name)


def _derive(passphrase: str, cost: dict[str, Any]) -> bytes:
    memory_kib, passes = int(cost["memory_kib"]), int(cost["passes"])
    if memory_kib > _MEMORY_KIB_MAX or passes > _PASSES_MAX:
        raise KeyMissing("the key file asks for more work than any version of the SDK does")
    salt = decode_bytes(cost["salt"], SALT_BYTES)
    hasher = Argon2id(salt=salt, length=KEY_BYTES, iterations=passes, lanes=1, memory_cost=memory_kib)
    return hasher.derive(passphrase.encode())


def _keystore(call: Callable[[Any], str | None]) -> str | None:
    import keyring  # noqa: PLC0415  slow to import, and only some replicas need it
    from keyring.errors import KeyringError  # noqa: PLC0415  as above

    try:
        return call(keyring)
    except KeyringError as problem:
        raise NoKeystore from problem


def _write_durably(path: Path, content: bytes) -> None:
    """Write `path` whole or not at all, readable by its owner only, and on the disk when this returns."""
    draft = path.with_name(path.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.replace(path)
    with contextlib.suppress(OSError):  # a folder cannot be opened everywhere
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
