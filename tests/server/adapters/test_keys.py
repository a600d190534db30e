"""The server's signing key on disk."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from server.adapters.keys import ServerKeyUnusable, open_signer
from sync.engine.chain import is_signed, parse_public_key


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
