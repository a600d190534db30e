"""The replica key, sealed by a passphrase or kept in the platform's keystore."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keyring
import orjson
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as NoKeyring

from client_sdk.adapters.keys import key_path, make_key, read_key
from client_sdk.errors import KeyMissing, NoKeystore, ReplicaReadOnly, WrongPassphrase
from tests.support.fake_system import FakeSystem


class Keystore(KeyringBackend):
    """A keystore that forgets when the test ends."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: dict[tuple[str, str], str] = {}

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))


@pytest.fixture
def keystore() -> Iterator[Keystore]:
    before, made = keyring.get_keyring(), Keystore()
    keyring.set_keyring(made)
    yield made
    keyring.set_keyring(before)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "toy.db"


def test_the_passphrase_gives_the_same_key_again(path: Path) -> None:
    key = make_key(path, "correct horse", FakeSystem().random)
    assert (len(key), read_key(path, "correct horse")) == (32, key)
    assert key.hex() not in key_path(path).read_text()


@pytest.mark.usefixtures("dear_guards")
def test_to_try_a_passphrase_takes_64_mib(path: Path) -> None:
    made = make_key(path, "2580", FakeSystem().random)

    assert orjson.loads(key_path(path).read_bytes())["argon2id"]["memory_kib"] == 64 * 1024
    assert read_key(path, "2580") == made


def test_another_passphrase_gives_none(path: Path) -> None:
    make_key(path, "correct horse", FakeSystem().random)
    for wrong in ("Correct horse", "", None):
        with pytest.raises(WrongPassphrase):
            read_key(path, wrong)


def test_without_a_passphrase_the_keystore_keeps_the_key(path: Path, keystore: Keystore) -> None:
    key = make_key(path, None, FakeSystem().random)
    assert read_key(path, None) == key
    assert len(keystore.kept) == 1
    keystore.kept.clear()
    with pytest.raises(KeyMissing):
        read_key(path, None)


def test_without_a_keystore_a_passphrase_is_asked_for(path: Path, keystore: Keystore) -> None:
    assert keystore.kept == {}
    keyring.set_keyring(NoKeyring())  # type: ignore[no-untyped-call]
    with pytest.raises(NoKeystore):
        make_key(path, None, FakeSystem().random)
    assert not key_path(path).exists()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReplicaReadOnly):
        make_key(tmp_path / "nowhere" / "toy.db", "correct horse", FakeSystem().random)
