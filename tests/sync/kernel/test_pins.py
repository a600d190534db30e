"""PIN hashes."""

from __future__ import annotations

import pytest

from sync.kernel.pins import hash_pin, verify_pin

SALT = bytes(range(16))


def test_only_the_pin_itself_verifies() -> None:
    phc = hash_pin("2580", SALT)
    assert phc.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert verify_pin("2580", phc)
    assert not verify_pin("2581", phc)
    assert not verify_pin("", phc)


@pytest.mark.parametrize(
    "phc",
    [
        "",
        "2580",
        "$argon2id$v=19$m=19456,t=2,p=1$",
        "$argon2id$v=19$m=19456,t=2,p=1$AAAA$!!!!",
        "$argon2id$v=19$m=4194304,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$AAAA",
        "$argon2i$v=19$m=19456,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$AAAA",
    ],
)
def test_what_is_no_such_hash_verifies_nothing(phc: str) -> None:
    assert not verify_pin("2580", phc)
