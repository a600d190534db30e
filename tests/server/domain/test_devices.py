"""Enrolment codes, ids and certificates as pure functions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.devices import (
    CODE_RANDOM_BYTES,
    EnrolmentRefused,
    NotEnrolable,
    certificate_claims,
    check_enrolable,
    hash_code,
    server_certificate_claims,
    server_device_id,
    write_code,
)
from sync.kernel.ids import parse_id
from sync.kernel.receipts import receipt_prefix

TOWN = "01970000-0000-7000-8000-000000000001"
randomness = st.binary(min_size=CODE_RANDOM_BYTES, max_size=CODE_RANDOM_BYTES)


def test_a_code_is_written_in_four_groups() -> None:
    assert write_code(bytes(10)) == "0000-0000-0000-0000"
    assert write_code(b"\xff" * 10) == "ZZZZ-ZZZZ-ZZZZ-ZZZZ"
    assert write_code(bytes(range(10))) == "000G-40R4-0M30-E209"


@given(randomness, randomness)
def test_two_codes_are_the_same_only_when_their_80_bits_are(first: bytes, second: bytes) -> None:
    assert (write_code(first) == write_code(second)) == (first == second)
    assert (hash_code(write_code(first)) == hash_code(write_code(second))) == (first == second)


@given(randomness, st.sampled_from([str.lower, str.upper]), st.sampled_from(["-", " ", ""]))
def test_a_code_is_understood_however_it_is_typed(random: bytes, case: object, gap: str) -> None:
    code = write_code(random)
    typed = code.replace("-", gap).replace("0", "O").replace("1", "l")

    assert hash_code(case(typed)) == hash_code(code)  # type: ignore[operator]


@pytest.mark.parametrize(
    "text", ["", "0000", "0000-0000-0000-000", "0000-0000-0000-00000", "UUUU-0000-0000-0000", "é" * 16]
)
def test_what_is_no_code_is_refused(text: str) -> None:
    with pytest.raises(EnrolmentRefused):
        hash_code(text)


@pytest.mark.parametrize(
    ("role", "user", "warehouse"),
    [("server", None, None), ("admin", "u", "w"), ("driver", None, "w"), ("warehouse_staff", "u", None)],
)
def test_a_device_is_for_a_role_with_what_the_role_needs(role: str, user: str | None, warehouse: str | None) -> None:
    with pytest.raises(NotEnrolable):
        check_enrolable(role, user, warehouse)


def test_the_server_device_of_a_town_is_always_the_same() -> None:
    assert parse_id(server_device_id(TOWN)) == server_device_id(TOWN)
    assert server_certificate_claims(TOWN, "key") == {
        "sub": server_device_id(TOWN),
        "town": TOWN,
        "role": "server",
        "key": "key",
        "prefix": receipt_prefix(server_device_id(TOWN)),
    }


def test_a_certificate_says_who_the_device_is_and_from_when_on() -> None:
    claims = certificate_claims(
        town_id=TOWN, device_id="d", role="driver", user_id="u", public_key="key", now_seconds=1000
    )

    assert claims == {
        "sub": "d",
        "town": TOWN,
        "role": "driver",
        "key": "key",
        "prefix": receipt_prefix("d"),
        "user": "u",
        "iat": 1000,
        "nbf": 1000,
        "exp": 1000 + 10 * 365 * 24 * 3600,
    }
