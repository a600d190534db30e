"""Money: a decimal string with an ISO 4217 currency on the wire, an integer of minor units in rows. Never a float."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import StringConstraints

from sync.kernel.errors import InvalidMoney

AMOUNT_PATTERN = r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,4})?$"
MINOR_MAX = 2**53 - 1
"""No sum in a row goes beyond what every JSON reader keeps exactly."""

Amount = Annotated[str, StringConstraints(pattern=AMOUNT_PATTERN)]
CurrencyCode = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]

# ISO 4217 (2024 amendment 177): every active national currency; minor digits are 2 unless listed below.
_CODES = frozenset(
    [
        "AED",
        "AFN",
        "ALL",
        "AMD",
        "ANG",
        "AOA",
        "ARS",
        "AUD",
        "AWG",
        "AZN",
        "BAM",
        "BBD",
        "BDT",
        "BGN",
        "BHD",
        "BIF",
        "BMD",
        "BND",
        "BOB",
        "BRL",
        "BSD",
        "BTN",
        "BWP",
        "BYN",
        "BZD",
        "CAD",
        "CDF",
        "CHF",
        "CLP",
        "CNY",
        "COP",
        "CRC",
        "CUP",
        "CVE",
        "CZK",
        "DJF",
        "DKK",
        "DOP",
        "DZD",
        "EGP",
        "ERN",
        "ETB",
        "EUR",
        "FJD",
        "FKP",
        "GBP",
        "GEL",
        "GHS",
        "GIP",
        "GMD",
        "GNF",
        "GTQ",
        "GYD",
        "HKD",
        "HNL",
        "HTG",
        "HUF",
        "IDR",
        "ILS",
        "INR",
        "IQD",
        "IRR",
        "ISK",
        "JMD",
        "JOD",
        "JPY",
        "KES",
        "KGS",
        "KHR",
        "KMF",
        "KPW",
        "KRW",
        "KWD",
        "KYD",
        "KZT",
        "LAK",
        "LBP",
        "LKR",
        "LRD",
        "LSL",
        "LYD",
        "MAD",
        "MDL",
        "MGA",
        "MKD",
        "MMK",
        "MNT",
        "MOP",
        "MRU",
        "MUR",
        "MVR",
        "MWK",
        "MXN",
        "MYR",
        "MZN",
        "NAD",
        "NGN",
        "NIO",
        "NOK",
        "NPR",
        "NZD",
        "OMR",
        "PAB",
        "PEN",
        "PGK",
        "PHP",
        "PKR",
        "PLN",
        "PYG",
        "QAR",
        "RON",
        "RSD",
        "RUB",
        "RWF",
        "SAR",
        "SBD",
        "SCR",
        "SDG",
        "SEK",
        "SGD",
        "SHP",
        "SLE",
        "SOS",
        "SRD",
        "SSP",
        "STN",
        "SVC",
        "SYP",
        "SZL",
        "THB",
        "TJS",
        "TMT",
        "TND",
        "TOP",
        "TRY",
        "TTD",
        "TWD",
        "TZS",
        "UAH",
        "UGX",
        "USD",
        "UYU",
        "UZS",
        "VED",
        "VES",
        "VND",
        "VUV",
        "WST",
        "XAF",
        "XCD",
        "XOF",
        "XPF",
        "YER",
        "ZAR",
        "ZMW",
        "ZWG",
    ]
)
_DIGITS = dict.fromkeys(
    ["BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"], 0
) | dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3)
_AMOUNT = re.compile(AMOUNT_PATTERN)


def minor_digits(currency: str) -> int:
    """How many decimal places `currency` has; raise `InvalidMoney` for a code that is not in ISO 4217."""
    if currency not in _CODES:
        raise InvalidMoney(f"currency {currency[:8]!r} is not an active ISO 4217 code")
    return _DIGITS.get(currency, 2)


def to_minor(amount: str, currency: str) -> int:
    """`"12.50"`, `"GBP"` -> 1250. Zero and up; raise `InvalidMoney` when malformed or with too many places."""
    digits = minor_digits(currency)
    if not _AMOUNT.fullmatch(amount):
        raise InvalidMoney
    whole, _, fraction = amount.partition(".")
    if len(fraction) > digits:
        raise InvalidMoney(f"{currency} has {digits} decimal places, the amount has {len(fraction)}")
    return int(whole + fraction.ljust(digits, "0"))


def to_amount(minor: int, currency: str) -> str:
    """1250, `"GBP"` -> `"12.50"`; negative amounts keep their sign."""
    digits = minor_digits(currency)
    sign, size = ("-", -minor) if minor < 0 else ("", minor)
    if not digits:
        return f"{sign}{size}"
    whole, fraction = divmod(size, 10**digits)
    return f"{sign}{whole}.{fraction:0{digits}}"
