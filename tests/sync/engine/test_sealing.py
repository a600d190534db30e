"""Sealing for the server: only the holder of the key opens it, whole, and for what it was sealed for."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sync.engine.chain import encode_bytes
from sync.engine.sealing import SealUnreadable, open_sealed, recipient_of, seal
from sync.kernel.errors import Malformed

KEY = X25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
PUBLIC = encode_bytes(KEY.public_key().public_bytes_raw())
EPHEMERAL = bytes(range(2, 34))
PLAIN = b"three pieces received"
SEALED = seal(PLAIN, PUBLIC, purpose="lines", ephemeral=EPHEMERAL)


def test_what_was_sealed_opens_with_its_key() -> None:
    assert open_sealed(SEALED, KEY, purpose="lines") == PLAIN
    assert recipient_of(SEALED) == PUBLIC
    assert PLAIN not in SEALED


def test_another_key_opens_nothing() -> None:
    with pytest.raises(SealUnreadable):
        open_sealed(SEALED, X25519PrivateKey.from_private_bytes(bytes(range(3, 35))), purpose="lines")


def test_what_was_sealed_for_one_purpose_opens_for_no_other() -> None:
    with pytest.raises(SealUnreadable):
        open_sealed(SEALED, KEY, purpose="photographs")


@pytest.mark.parametrize("place", range(0, len(SEALED), 7))
def test_a_changed_byte_is_noticed_wherever_it_is(place: int) -> None:
    changed = bytearray(SEALED)
    changed[place] ^= 1

    with pytest.raises(SealUnreadable):
        open_sealed(bytes(changed), KEY, purpose="lines")


@pytest.mark.parametrize("length", [0, 20, 84, len(SEALED) - 1])
def test_what_is_cut_does_not_open(length: int) -> None:
    with pytest.raises(SealUnreadable):
        open_sealed(SEALED[:length], KEY, purpose="lines")


def test_nothing_is_sealed_to_a_point_that_everybody_shares() -> None:
    with pytest.raises(Malformed, match="sealing key"):
        seal(PLAIN, encode_bytes(bytes(32)), purpose="lines", ephemeral=EPHEMERAL)
