"""Tracking codes: made and opened with a secret, for one order of one town."""

from __future__ import annotations

import base64

import pytest

from server.domain.access import NotFound
from server.domain.tracking import order_number, tracked_order, tracking_code
from sync.kernel.ids import derived_id

SECRET, OLD, TOWN = bytes(32), bytes(31) + b"o", derived_id("town")
ORDER = derived_id("order")


def test_a_code_opens_its_order_and_no_other() -> None:
    code = tracking_code(SECRET, TOWN, ORDER)

    assert tracked_order([SECRET], TOWN, code) == ORDER
    assert code != tracking_code(SECRET, TOWN, derived_id("another"))


def test_a_code_of_an_older_key_still_opens() -> None:
    assert tracked_order([SECRET, OLD], TOWN, tracking_code(OLD, TOWN, ORDER)) == ORDER


@pytest.mark.parametrize("place", range(43))
def test_a_code_with_another_letter_anywhere_opens_nothing(place: int) -> None:
    code = tracking_code(SECRET, TOWN, ORDER)
    others = [letter for letter in "AQgw-_09bcx" if letter != code[place]]

    for letter in others:
        with pytest.raises(NotFound):
            tracked_order([SECRET], TOWN, code[:place] + letter + code[place + 1 :])


def test_a_code_is_of_one_town_and_of_one_secret() -> None:
    code = tracking_code(SECRET, TOWN, ORDER)

    for secrets, town in (([SECRET], derived_id("elsewhere")), ([OLD], TOWN)):
        with pytest.raises(NotFound):
            tracked_order(secrets, town, code)


def test_a_code_proves_itself_with_128_bits() -> None:
    assert len(base64.urlsafe_b64decode(tracking_code(SECRET, TOWN, ORDER) + "=")) == 16 + 16


def test_a_number_is_short_and_the_same_for_the_same_order() -> None:
    assert order_number(ORDER) == order_number(ORDER) != order_number(derived_id("another"))
    assert len(order_number(ORDER)) == len("W-4F7K2-M9QRX")
