"""Money is exact: text to minor units and back, and nothing else is money."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.kernel.errors import InvalidMoney
from sync.kernel.money import minor_digits, to_amount, to_minor

CURRENCIES = st.sampled_from(["KES", "GBP", "EUR", "UGX", "JPY", "KWD"])


@given(st.integers(min_value=0, max_value=10**11), CURRENCIES)
def test_minor_units_survive_the_way_to_text_and_back(minor: int, currency: str) -> None:
    amount = to_amount(minor, currency)

    assert to_minor(amount, currency) == minor
    assert Decimal(amount) == Decimal(minor).scaleb(-minor_digits(currency))


@given(st.integers(min_value=1, max_value=10**11), CURRENCIES)
def test_a_negative_amount_keeps_its_sign(minor: int, currency: str) -> None:
    assert to_amount(-minor, currency) == "-" + to_amount(minor, currency)


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [("0", "GBP", 0), ("12.5", "GBP", 1250), ("12.50", "GBP", 1250), ("7", "UGX", 7), ("1.005", "KWD", 1005)],
)
def test_missing_places_are_noughts(amount: str, currency: str, minor: int) -> None:
    assert to_minor(amount, currency) == minor


@pytest.mark.parametrize(
    "amount",
    [
        "",
        "-1",
        "+1",
        "1.",
        ".5",
        "1,00",
        "01",
        "00",
        "1e3",
        "NaN",
        "Infinity",
        " 1",
        "1 ",
        "1\n",
        "\u0661",
        "1.00000",
        "9999999999999",
        "1.005",
        "0x1",
    ],
)
def test_what_is_no_amount_is_refused(amount: str) -> None:
    with pytest.raises(InvalidMoney):
        to_minor(amount, "GBP")


@pytest.mark.parametrize("currency", ["", "gbp", "GB", "XXX", "XAU", "BTC", "GBP ", "G" * 1000])
def test_a_currency_is_one_that_is_in_use(currency: str) -> None:
    with pytest.raises(InvalidMoney) as refusal:
        to_minor("1", currency)
    assert len(refusal.value.message) < 100


def test_a_currency_without_places_takes_none() -> None:
    with pytest.raises(InvalidMoney, match="UGX has 0 decimal places, the amount has 1"):
        to_minor("1.0", "UGX")
