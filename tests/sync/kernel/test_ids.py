"""Ids are canonical, and a natural key gives the same id everywhere."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.kernel.errors import InvalidId
from sync.kernel.ids import RANDOM_BYTES, derived_id, make_id, parse_id

MOMENTS = st.integers(min_value=0, max_value=2**48 - 1)
RANDOM = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)


@given(MOMENTS, RANDOM)
def test_a_made_id_is_canonical_and_says_when_it_was_made(unix_ms: int, random: bytes) -> None:
    made = make_id(unix_ms, random)

    assert parse_id(made) == made == str(uuid.UUID(made))
    assert (uuid.UUID(made).version, uuid.UUID(made).int >> 80) == (7, unix_ms)


@given(MOMENTS, MOMENTS, RANDOM, RANDOM)
def test_made_ids_sort_by_time(first_ms: int, second_ms: int, first: bytes, second: bytes) -> None:
    if first_ms != second_ms:
        assert (make_id(first_ms, first) < make_id(second_ms, second)) == (first_ms < second_ms)
    assert (make_id(first_ms, first) == make_id(first_ms, second)) == (_used(first) == _used(second))


def _used(random: bytes) -> bytes:
    """What of the random bytes is in the id: 74 bits."""
    return bytes([random[0] & 0x0F, random[1], random[2] & 0x3F]) + random[3:]


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\0", codec="utf-8"), max_size=20), min_size=1))
def test_a_derived_id_follows_from_its_parts_alone(parts: list[str]) -> None:
    derived = derived_id(*parts)

    assert (parse_id(derived), uuid.UUID(derived).version) == (derived, 8)
    assert derived == derived_id(*parts)
    assert derived != derived_id(*parts, "")
    assert derived != derived_id(*parts[:-1], parts[-1] + "x")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "01a1fd1e-8c00-7000-8000-00000000000",
        "01a1fd1e-8c00-7000-8000-0000000000011",
        "01A1FD1E-8C00-7000-8000-000000000001",
        "01a1fd1e8c0070008000000000000001",
        "{01a1fd1e-8c00-7000-8000-000000000001}",
        "01a1fd1e-8c00-4000-8000-000000000001",
        "01a1fd1e-8c00-7000-c000-000000000001",
        "01a1fd1e-8c00-7000-8000-00000000000g",
        "01a1fd1e-8c00-7000-8000-00000000000\u0661",
        "01a1fd1e-8c00-7000-8000-000000000001\n",
        " 01a1fd1e-8c00-7000-8000-000000000001",
        "00000000-0000-0000-0000-000000000000",
    ],
)
def test_anything_else_is_no_id(text: str) -> None:
    with pytest.raises(InvalidId):
        parse_id(text)
