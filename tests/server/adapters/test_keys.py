"""The server's signing key on disk."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from server.adapters.keys import ServerKeyUnusable, open_signer, rotate
from server.adapters.memory import MemorySystem
from server.adapters.seals import KeySealer, SealBroken
from sync.engine.chain import is_signed, parse_public_key
from sync.engine.keyring import follow
from sync.engine.sealing import SealUnreadable, seal
from sync.protocol import limits


def test_a_missing_key_is_made_for_its_owner_only_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "data" / "server.key"

    made = open_signer(path, may_create=True)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert open_signer(path, may_create=True).public_key == made.public_key
    assert [found.name for found in path.parent.iterdir()] == ["server.key"]


def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    path = tmp_path / "server.key"
    with ThreadPoolExecutor(8) as pool:
        kids = set(pool.map(lambda _: open_signer(path, may_create=True).kid, range(8)))

    assert len(kids) == 1


def test_a_key_that_the_operator_named_is_not_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "server.key"

    with pytest.raises(ServerKeyUnusable, match=r"server\.key"):
        open_signer(path, may_create=False)
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"not a key", b"\0" * 32])
def test_a_damaged_key_is_named_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "server.key"
    path.write_bytes(content)

    with pytest.raises(ServerKeyUnusable, match=r"server\.key"):
        open_signer(path, may_create=True)
    assert path.read_bytes() == content


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "server.key"
    path.write_bytes(generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    with pytest.raises(ServerKeyUnusable, match="Ed25519"):
        open_signer(path, may_create=True)


def test_signatures_and_tokens_are_by_the_published_key(tmp_path: Path) -> None:
    signer = open_signer(tmp_path / "server.key", may_create=True)
    key = parse_public_key(signer.public_key)
    token = signer.jws({"sub": "x"}, "test+jwt")

    assert is_signed(key, signer.sign(b"message"), b"message")
    assert jwt.decode(token, key, algorithms=["EdDSA"]) == {"sub": "x"}
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "typ": "test+jwt", "kid": signer.kid}
    assert signer.jws({"sub": "x"}, "test+jwt") == token


def test_after_a_rotation_the_new_key_signs_and_the_old_one_has_endorsed_it(tmp_path: Path) -> None:
    path = tmp_path / "server.key"
    first = open_signer(path, may_create=True)
    rotate(path)
    now = rotate(path)

    assert now.older_keys[-1] == first.public_key
    assert [key.public_key for key in now.published] == [*now.older_keys[::-1], now.public_key]
    assert open_signer(path, may_create=False).published == now.published
    trusted = follow({first.kid: first.public_key}, now.published)
    assert trusted.keys[now.kid] == now.public_key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in path.parent.iterdir()] == ["server.key"]


def test_what_was_sealed_to_an_older_key_opens_after_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "server.key"
    old = open_signer(path, may_create=True)
    sealing_key = old.published[-1].sealing_key
    assert sealing_key is not None
    box = seal(b"work", sealing_key, purpose="lines", ephemeral=bytes(range(1, 33)))
    secret = KeySealer(old, MemorySystem()).seal(b"second factor", "ada")

    now = rotate(path)

    assert now.open_sealed(box, "lines") == b"work"
    sealer = KeySealer(now, MemorySystem())
    assert sealer.open(secret, "ada") == b"second factor"
    assert sealer.open(sealer.seal(b"another", "ada"), "ada") == b"another"


def test_what_another_installation_sealed_is_said_to_be_foreign(tmp_path: Path) -> None:
    ours, theirs = (open_signer(tmp_path / name, may_create=True) for name in ("ours", "theirs"))
    sealing_key = theirs.published[-1].sealing_key
    assert sealing_key is not None
    box = seal(b"work", sealing_key, purpose="lines", ephemeral=bytes(range(1, 33)))

    with pytest.raises(SealUnreadable, match="another installation"):
        ours.open_sealed(box, "lines")
    with pytest.raises(SealBroken):
        KeySealer(ours, MemorySystem()).open(KeySealer(theirs, MemorySystem()).seal(b"x", "ada"), "ada")


def test_a_key_that_cannot_be_replaced_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "server.key"
    open_signer(path, may_create=True)
    before = path.read_bytes()
    monkeypatch.setattr(limits, "SERVER_KEYS_MAX", 1)

    with pytest.raises(ServerKeyUnusable, match="takes no more"):
        rotate(path)
    assert path.read_bytes() == before
