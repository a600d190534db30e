"""People as pure values: e-mail addresses, network addresses, the published vectors of RFC 6238, tokens."""

from __future__ import annotations

import pytest

from server.domain.passwords import NOBODYS_HASH, PasswordUnusable, check_password, hash_password, is_password
from server.domain.people import (
    EmailUnusable,
    address_subject,
    csrf_token,
    email_subject,
    read_email,
    token_hash,
    totp_step,
)

RFC_SECRET = b"12345678901234567890"
RFC_6238 = [
    (59, "287082"),
    (1111111109, "081804"),
    (1111111111, "050471"),
    (1234567890, "005924"),
    (2000000000, "279037"),
    (20000000000, "353130"),
]
"""RFC 6238, appendix B, SHA-1, the last six digits."""


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("ada@example.org", "ada@example.org"),
        (" Ada@Example.ORG\n", "ada@example.org"),
        ("zoe\u0308@example.org", "zo\u00eb@example.org"),
        ("admin@localhost", "admin@localhost"),
    ],
)
def test_an_address_is_kept_in_one_way_of_writing(typed: str, kept: str) -> None:
    assert read_email(typed) == kept


@pytest.mark.parametrize(
    "typed", ["", "ada", "@example.org", "ada@", "a b@example.org", "a@b@c", "a\0@b", "x" * 250 + "@b.c"]
)
def test_what_is_no_address_is_told_apart(typed: str) -> None:
    with pytest.raises(EmailUnusable):
        read_email(typed)


@pytest.mark.parametrize(("now_seconds", "code"), RFC_6238)
def test_the_codes_are_those_of_the_rfc(now_seconds: int, code: str) -> None:
    assert totp_step(RFC_SECRET, code, now_seconds) == now_seconds // 30
    assert totp_step(RFC_SECRET, code, now_seconds + 60) is None
    assert totp_step(RFC_SECRET, code[1:], now_seconds) is None


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("a socket", "another", False),
    ],
)
def test_tries_are_counted_for_whoever_has_the_network(one: str, other: str, is_same: bool) -> None:  # noqa: FBT001
    assert (address_subject(one) == address_subject(other)) is is_same


def test_what_is_made_of_one_thing_is_not_the_same_made_for_another() -> None:
    assert len({address_subject("x"), email_subject("x"), token_hash("x")}) == 3
    assert csrf_token("x") not in {"x", csrf_token("y")}


@pytest.mark.parametrize("password", ["short", "x" * 201, "somebody@example.org"])
def test_what_is_no_password_is_told_apart(password: str) -> None:
    with pytest.raises(PasswordUnusable):
        check_password(password, "somebody@example.org")


@pytest.mark.usefixtures("dear_guards")
def test_a_password_is_the_same_however_its_letters_are_composed() -> None:
    hashed = hash_password("a caf\u00e9 at the quay", bytes(16))

    assert hashed.startswith("$argon2id$v=19$m=19456,t=3,p=1$")
    assert is_password("a cafe\u0301 at the quay", hashed)
    assert not is_password("a cafe at the quay", hashed)
    assert not is_password("a caf\u00e9 at the quay", NOBODYS_HASH)
